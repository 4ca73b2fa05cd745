"""Cross-validated ridge regression: how well one layer predicts the neurons of the other on examples it has not seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from simkit.arrays import Array, Namespace, detach, placement
from simkit.caching import cached_property
from simkit.errors import SpecError
from simkit.index import Index
from simkit.linalg import cross, ratio, robust_origin, root, total, widen
from simkit.properties import Facts, Invariances, implied
from simkit.representation import Representation
from simkit.spec import check_choice, check_number, check_whole

__all__ = ["RidgePredictivity"]

Measure: TypeAlias = Literal["r", "r2"]
Summary: TypeAlias = Literal["median", "mean"]


_LEVERAGE = 32  # of the residual of an example: less than so many roundings are none


class _Factors(NamedTuple):
    """Singular value decomposition T = U S V' of the training features of one fold, all constant for differentiation.

    Directions at rounding level, max(n, p) eps of the largest singular value, are none: their `squares` are 0.
    """

    u: Array  # (n, k) with k = min(n, p); zero in the columns of no direction
    v: Array  # (p, k)
    squares: Array  # of the singular values, (k,)
    present: Array  # (k,)


class _Ridge(NamedTuple):
    """Ridge regression on the training examples of one fold for one penalty.

    The predictions for the test examples are left @ (right @ targets), or left @ targets if there is no `right`.
    """

    left: Array
    right: Array | None
    alpha: Array
    factors: _Factors

    def predict(self, targets: Array) -> Array:
        """Predictions for the test examples, less the mean of the training examples."""
        return self.left @ (targets if self.right is None else self.right @ targets)


@dataclass(frozen=True, eq=False)
class _State:
    x: Array  # less a point amid the examples, in units of `scale`, in the accumulation precision
    scale: Array
    splits: tuple[tuple[np.ndarray, np.ndarray], ...]  # training and test examples of each fold
    alphas: tuple[float, ...]
    xp: Namespace

    @cached_property
    def folds(self) -> list[tuple[Array, Array]]:
        """Training and test features of each fold, less the mean of the training features."""
        parts = []
        for split in self.splits:
            train, test = (self.xp.take(self.x, self.xp.asarray(rows, **placement(self.x)), axis=0) for rows in split)
            mean = total(train, self.xp, axis=0) / train.shape[0]
            parts.append((train - mean, test - mean))
        return parts

    @cached_property
    def regressions(self) -> list[list[_Ridge]]:
        """Of each fold and penalty; needed of the predicting layer only."""
        regressions, roots = [], [math.sqrt(alpha) / self.scale for alpha in self.alphas]
        for train, test in self.folds:
            factors = _factors(train, self.xp)
            regressions.append([_ridge(train, test, factors, size, self.xp) for size in roots])
        return regressions


def _factors(train: Array, xp: Namespace) -> _Factors:
    u, s, vt = xp.linalg.svd(detach(train), full_matrices=False)
    present = s > max(train.shape) * float(xp.finfo(s.dtype).eps) * xp.max(s)
    return _Factors(xp.where(present[None, :], u, 0.0), vt.mT, xp.where(present, s * s, 0.0), present)


def _ridge(train: Array, test: Array, factors: _Factors, root_alpha: Array, xp: Namespace) -> _Ridge:
    """Ridge regression by the singular value decomposition of the training features.

    The coefficients are P y with P = (T'T + alpha I)^-1 T', the pseudoinverse of T if alpha is 0. P changes with T by
    dP = -P dT P + (I - PT) dT' (I - TP) / alpha, where (I - PT) (I - TP) / alpha stands for the limit if alpha is 0, and two
    directions that T does not have are left out if alpha is below rounding (Golub & Pereyra 1973). The factors are constant,
    and the difference of T and a constant T, which is 0, carries this gradient: also where singular values are equal or 0.
    """
    n, p = train.shape
    u, v, squares, present = factors
    eps = float(xp.finfo(squares.dtype).eps)
    # A larger penalty changes the predictions by a factor only; this one does not overflow.
    alpha = xp.minimum(root_alpha, xp.sqrt(xp.max(squares)) / eps) ** 2
    inverse = xp.where(present, 1.0 / xp.where(present, squares + alpha, 1.0), 0.0)
    shrunk = (inverse * xp.sqrt(squares))[:, None] * u.mT
    left = test @ v
    constant = detach(train)
    if constant is train:  # nothing is differentiated
        return _Ridge(left, shrunk, alpha, factors)
    change = train - constant
    turned = change @ v
    right = shrunk - shrunk @ (turned @ shrunk)
    # (I - TP) from the left, without the n x n matrix
    missing = turned.mT - (cross(turned, u) * (1 - alpha * inverse)[None, :]) @ u.mT
    right = right + inverse[:, None] * missing
    resolved = alpha > max(n, p) * eps * xp.max(squares)
    kappa = xp.where(resolved, 1.0 / xp.where(resolved, alpha, 1.0), 0.0)
    # Where the test examples have directions that the training examples have not.
    if p <= n:
        outside = xp.where(present[:, None], 0.0, turned.mT)
        return _Ridge(left, right + _dual(outside, u, inverse, kappa), alpha, factors)
    outside = (test - left @ xp.where(present[:, None], v.mT, 0.0)) @ change.mT
    return _Ridge(left @ right + _dual(outside, u, inverse, kappa), None, alpha, factors)


def _dual(a: Array, u: Array, inverse: Array, kappa: Array) -> Array:
    """A (TT' + alpha I)^-1, with `kappa` for 1 / alpha."""
    return kappa * a + ((a @ u) * (inverse - kappa)[None, :]) @ u.mT


@dataclass(frozen=True)
class RidgePredictivity(Index[_State]):
    """Cross-validated predictivity: correlation (or R^2) of the neurons of one layer with ridge predictions from the other.

    For each fold, B = (Y'Y + alpha I)^-1 Y'X from the other folds, centred on their means; the held-out examples give each
    neuron of X a correlation of prediction and value. The mean over folds, then the median over neurons, is the score. B is
    found by the singular value decomposition of Y, without singular values at rounding level (max(n, p) eps of the largest).

    ``compare(X, Y)`` predicts X **from** Y, like `LinearRegression`. What is called source and target elsewhere is Y and X
    here; ``predict="y"`` swaps them.

    Parameters
    ----------
    measure : {"r", "r2"}
        Of one neuron and fold: Pearson's correlation, 0 if the prediction is constant; or 1 - residual / total sum of
        squares about the mean of the held-out values, negative if worse than that mean.
    summary : {"median", "mean"}
        Over neurons. A neuron that does not vary in the held-out examples of a fold takes no part there.
    alpha : float or tuple of floats
        Ridge penalty, at least 0, in squared units of the predicting features, as in scikit-learn; 0 is least squares, of
        several solutions the one of smallest norm. Of several penalties, each fold takes the one whose leave-one-out error,
        summed over neurons, is smallest on its training examples; where least squares fits an example whatever its value is,
        that error is its limit for small penalties.
    folds : int
        Number of folds, at least 2.
    seed : int, optional
        The order in which the examples are dealt into folds, the same for each pair of layers. None keeps their order, in
        contiguous folds.
    predict : {"x", "y"}
        Which argument is predicted from the other.

    Notes
    -----
    Each fold needs three examples at least. Folds are made of single examples: if some belong together (frames of one film,
    tokens of one text), the score says how well a layer predicts close relatives of what it has seen.

    References
    ----------
    Hoerl & Kennard 1970; Schrimpf et al. 2018, Brain-Score; Conwell et al. 2024, A large-scale examination of inductive
    biases shaping high-level visual representation in brains and machines (ridge, cross-validated); Allen 1974, the
    relationship between variable selection and data augmentation and a method for prediction (leave-one-out error).
    """

    measure: Measure = "r"
    summary: Summary = "median"
    alpha: Any = 1.0
    folds: int = 5
    seed: int | None = 0
    predict: Literal["x", "y"] = "x"

    name: ClassVar[str] = "ridge_predictivity"
    reference: ClassVar[str] = "Schrimpf et al. 2018; Hoerl & Kennard 1970"

    def __post_init__(self) -> None:
        check_choice(self.name, "measure", self.measure, get_args(Measure))
        check_choice(self.name, "summary", self.summary, get_args(Summary))
        if isinstance(self.alpha, list | tuple):
            object.__setattr__(self, "alpha", tuple(self.alpha))
            if not self.alpha:
                raise SpecError(f"{self.name}: alpha is empty; expected a number >= 0 or several.")
        for alpha in self.alphas:
            check_number(self.name, "alpha", alpha, at_least=0)
        for parameter, least in (("folds", 2), ("seed", 0)):
            value = getattr(self, parameter)
            if parameter != "seed" or value is not None:
                check_whole(self.name, parameter, value, at_least=least)
        check_choice(self.name, "predict", self.predict, ("x", "y"))

    @property
    def alphas(self) -> tuple[float, ...]:
        """The penalties to choose from."""
        return self.alpha if isinstance(self.alpha, tuple) else (self.alpha,)

    @property
    def facts(self) -> Facts:
        """The penalty knows the scale of the predicting features, the neurons to be predicted are judged one by one."""
        penalised = any(self.alphas)
        predicted = implied("permutation", "isotropic_scaling", "translation")
        predicting = implied("orthogonal" if penalised else "invertible_linear", "translation")
        return Facts(
            symmetric=False,
            range=(-1.0 if self.measure == "r" else -math.inf, 1.0),
            invariances=Invariances(predicted, predicting) if self.predict == "x" else Invariances(predicting, predicted),
            statistic="examples",
            min_examples=3 * int(self.folds),
            generic="" if penalised else "without a penalty, each fold trains on more examples than the predicting features",
            exchangeable=False,  # examples are dealt into folds by their position
            without=frozenset({"compile"}),  # which does not follow NumPy's random numbers
        )

    def prepare(self, representation: Representation) -> _State:
        """The folds; what is computed of them depends on the side."""
        xp, n = representation.xp, representation.n
        x, scale = widen(representation.features, xp), widen(representation.scale, xp)
        order = np.arange(n) if self.seed is None else np.random.default_rng(int(self.seed)).permutation(n)
        parts = np.array_split(order, int(self.folds))
        splits = tuple((np.concatenate([*parts[:i], *parts[i + 1 :]]), part) for i, part in enumerate(parts))
        return _State((x - robust_origin(x, xp)) / scale, scale, splits, self.alphas, xp)

    def score(self, x: _State, y: _State) -> Array:
        """Summary over neurons of the mean over folds."""
        xp = x.xp
        target, source = (x, y) if self.predict == "x" else (y, x)
        judged = [
            self._judge(fitted, test, xp)
            for (train, test), regressions in zip(target.folds, source.regressions, strict=True)
            for fitted in [_predicted(train, regressions, xp)]
        ]
        values, counts = (xp.sum(xp.stack(part), axis=0) for part in zip(*judged, strict=True))
        varies = counts > 0
        return self._summarise(values / xp.where(varies, counts, 1.0), varies, xp)

    def _judge(self, fitted: Array, held_out: Array, xp: Namespace) -> tuple[Array, Array]:
        """The measure of each neuron, 0 for those that do not vary, and 1 or 0 for whether they vary."""
        value, length = _deviations(held_out, xp)
        varies = length > 0
        if self.measure == "r":
            guess, guess_length = _deviations(fitted, xp)
            lengths = root(length, xp) * root(guess_length, xp)
            share = total(value * guess, xp, axis=0) / xp.where(lengths > 0, lengths, 1.0)
        else:
            residual = held_out - fitted
            share = 1.0 - total(residual * residual, xp, axis=0) / xp.where(varies, length, 1.0)
        return xp.where(varies, share, 0.0), xp.astype(varies, share.dtype)

    def _summarise(self, values: Array, varies: Array, xp: Namespace) -> Array:
        count = xp.sum(xp.astype(varies, values.dtype))
        if self.summary == "mean":
            return ratio(xp.sum(xp.where(varies, values, 0.0)), count, xp)
        ordered = xp.sort(xp.where(varies, values, float("inf")))
        place = xp.astype(xp.arange(values.shape[0], **placement(values)), values.dtype)
        # The middle entry of those that vary, or both if their number is even.
        middle = xp.abs(2 * place - (count - 1)) <= 1
        middle = xp.logical_and(middle, place < count)
        return ratio(xp.sum(xp.where(middle, ordered, 0.0)), xp.sum(xp.astype(middle, values.dtype)), xp)


def _deviations(x: Array, xp: Namespace) -> tuple[Array, Array]:
    """Deviations from the column means, exactly zero in a constant column, and their sums of squares."""
    x = x - x[:1, :]
    x = x - total(x, xp, axis=0) / x.shape[0]
    return x, total(x * x, xp, axis=0)


def _predicted(targets: Array, regressions: list[_Ridge], xp: Namespace) -> Array:
    """Predictions for the test examples, by the penalty with the smallest leave-one-out error on the training examples."""
    if len(regressions) == 1:
        return regressions[0].predict(targets)
    known = detach(targets)
    best = error = None
    for ridge in regressions:
        predicted, squares = ridge.predict(targets), _left_out_error(known, ridge, xp)
        if best is None:
            best, error = predicted, squares
        else:
            better = squares < error
            best, error = xp.where(better, predicted, best), xp.where(better, squares, error)
    return best


def _left_out_error(targets: Array, ridge: _Ridge, xp: Namespace) -> Array:
    """Sum of squares of the residuals that examples have when they are left out.

    That of example i is [Ry]_i / R_ii with R = I - 11'/n - T (T'T + alpha I)^-1 T' (Allen 1974). In singular vectors R is
    C + alpha U (S^2 + alpha I)^-1 U', with C what neither the mean nor T reaches. If C has nothing of example i, alpha
    cancels: what is left is exact for small penalties, where R itself is rounding, and the limit for 0.
    """
    u, _, squares, present = ridge.factors
    n = targets.shape[0]
    inverse = xp.where(present, 1.0 / xp.where(present, squares + ridge.alpha, 1.0), 0.0)
    along = cross(u, targets)
    shares = u * u
    inside, own = u @ (inverse[:, None] * along), total(shares * inverse[None, :], xp, axis=1)
    beyond, free = targets - u @ along, (1.0 - 1.0 / n) - total(shares, xp, axis=1)
    fitted = free <= _LEVERAGE * n * float(xp.finfo(free.dtype).eps)
    some = xp.logical_or(xp.logical_not(fitted), own > 0)
    residual = xp.where(fitted[:, None], inside, beyond + ridge.alpha * inside)
    weight = xp.where(fitted, own, free + ridge.alpha * own)
    residual = residual / xp.where(some, weight, 1.0)[:, None]
    return total(residual * residual, xp)
