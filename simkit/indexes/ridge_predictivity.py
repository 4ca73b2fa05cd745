"""Cross-validated ridge regression: how well one layer predicts the neurons of the other on examples it has not seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from simkit.arrays import Array, Namespace, placement
from simkit.errors import SpecError
from simkit.index import Index
from simkit.linalg import cross, identity, ratio, root, total, widen
from simkit.properties import Facts, Invariances, implied
from simkit.representation import Representation
from simkit.spec import check_choice, check_number, check_whole

__all__ = ["RidgePredictivity"]

Measure: TypeAlias = Literal["r", "r2"]
Summary: TypeAlias = Literal["median", "mean"]


class _Ridge(NamedTuple):
    """Ridge regression on the training examples of one fold for one penalty: fitted values are left @ (right @ targets)."""

    train: Array
    test: Array
    right: Array


@dataclass(frozen=True, eq=False)
class _State:
    x: Array  # less its first example, in the accumulation precision
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
        return [[_ridge(train, test, alpha, self.xp) for alpha in self.alphas] for train, test in self.folds]


def _ridge(train: Array, test: Array, alpha: float, xp: Namespace) -> _Ridge:
    """By p x p or by n x n matrices, whichever are smaller."""
    n, p = train.shape
    if p <= n:
        return _Ridge(train, test, _inverse(cross(train, train), alpha, xp) @ train.mT)
    return _Ridge(train @ train.mT, test @ train.mT, _inverse(train @ train.mT, alpha, xp))


def _inverse(gram: Array, alpha: float, xp: Namespace) -> Array:
    """(G + alpha I)^-1."""
    half = xp.linalg.inv(xp.linalg.cholesky(gram + alpha * identity(gram.shape[0], gram, xp)))
    return cross(half, half)


@dataclass(frozen=True)
class RidgePredictivity(Index[_State]):
    """Cross-validated predictivity: correlation (or R^2) of the neurons of one layer with ridge predictions from the other.

    For each fold, B = (Y'Y + alpha I)^-1 Y'X from the other folds, centred on their means; the held-out examples give each
    neuron of X a correlation of prediction and value. The mean over folds, then the median over neurons, is the score.

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
        Ridge penalty, positive, in squared units of the predicting features, as in scikit-learn. Of several, each fold takes
        the one whose leave-one-out error, summed over neurons, is smallest on its training examples.
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
    biases shaping high-level visual representation in brains and machines (ridge, cross-validated).
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
                raise SpecError(f"{self.name}: alpha is empty; expected a number > 0 or several.")
        for alpha in self.alphas:
            check_number(self.name, "alpha", alpha, above=0)
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
        predicted = implied("permutation", "isotropic_scaling", "translation")
        predicting = implied("orthogonal", "translation")
        return Facts(
            symmetric=False,
            range=(-1.0 if self.measure == "r" else -math.inf, 1.0),
            invariances=Invariances(predicted, predicting) if self.predict == "x" else Invariances(predicting, predicted),
            statistic="examples",
            min_examples=3 * int(self.folds),
            exchangeable=False,  # examples are dealt into folds by their position
        )

    def prepare(self, representation: Representation) -> _State:
        """The folds; what is computed of them depends on the side."""
        x = widen(representation.features, representation.xp)
        n = representation.n
        order = np.arange(n) if self.seed is None else np.random.default_rng(int(self.seed)).permutation(n)
        parts = np.array_split(order, int(self.folds))
        splits = tuple((np.concatenate([*parts[:i], *parts[i + 1 :]]), part) for i, part in enumerate(parts))
        return _State(x - x[:1, :], splits, self.alphas, representation.xp)

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
    """Predictions for the test examples, by the penalty with the smallest leave-one-out error on the training examples.

    The residual without example i is e_i / (1 - h_ii), h the hat matrix including the mean (Allen 1974).
    """
    best = error = None
    for ridge in regressions:
        weights = ridge.right @ targets
        predicted = ridge.test @ weights
        if len(regressions) == 1:
            return predicted
        leverage = total(ridge.train * ridge.right.mT, xp, axis=1) + 1.0 / targets.shape[0]
        residual = (targets - ridge.train @ weights) / (1.0 - leverage)[:, None]
        squares = total(residual * residual, xp)
        if best is None:
            best, error = predicted, squares
        else:
            better = squares < error
            best, error = xp.where(better, predicted, best), xp.where(better, squares, error)
    return best
