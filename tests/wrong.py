"""One index and one kernel that are right, and many that are wrong in one way each, for the conformance kit to catch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from simkit.arrays import detach, is_dask, namespace_of, to_numpy
from simkit.index import Index
from simkit.indexes import CKA
from simkit.kernel import Kernel
from simkit.kernels import RBF
from simkit.linalg import root, squared_distances
from simkit.properties import CAPABILITIES, Facts, Invariances, implied

COUNTER = itertools.count()


# --- indexes --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Congruence(Index[Any]):
    """|X'Y|^2 / (|X'X| |Y'Y|): linear CKA, written out. Nothing is wrong with it."""

    power: float = 1.0
    name = "congruence"
    reference = "Tucker 1951"

    @property
    def facts(self):
        return Facts(
            symmetric=True,
            range=(0.0, 1.0),
            invariances=Invariances.both("translation", "orthogonal", "isotropic_scaling"),
            statistic="moments",
            identity=1.0,
        )

    def prepare(self, representation):
        return representation.unit

    def score(self, x, y):
        xp = namespace_of(x, y)
        inner, own, other = (xp.sum((a.mT @ b) ** 2) for a, b in ((x, y), (x, x), (y, y)))
        return xp.pow(inner / xp.sqrt(own * other), self.power)


def changed(**facts: Any) -> property:
    """The facts of `Congruence`, with some replaced."""
    right = Congruence().facts
    return property(lambda self: replace(right, **facts))


@dataclass(frozen=True)
class OfNumPyAlone(Congruence):
    """Runs on NumPy arrays, and says so. Nothing is wrong with it."""

    facts = changed(without=frozenset(CAPABILITIES), differentiable=False)

    def prepare(self, representation):
        return np.ascontiguousarray(to_numpy(representation.unit))

    def score(self, x, y):
        return np.sum((x.T @ y) ** 2) / np.sqrt(np.sum((x.T @ x) ** 2) * np.sum((y.T @ y) ** 2))


@dataclass(frozen=True)
class FalselyInvariant(Congruence):
    """Says that it ignores every invertible transform of Y."""

    facts = changed(
        symmetric=False,
        invariances=Invariances(
            implied("translation", "orthogonal", "isotropic_scaling"), implied("translation", "invertible_linear")
        ),
    )


@dataclass(frozen=True)
class Modest(Congruence):
    """Does not say that it ignores rotations of X, that it is symmetric, and what a layer's similarity to itself is."""

    facts = changed(
        symmetric=False,
        identity=None,
        invariances=Invariances(implied("translation", "isotropic_scaling"), implied("translation", "orthogonal")),
    )


@dataclass(frozen=True)
class FalselySymmetric(Congruence):
    """Weights by the norm of X."""

    def score(self, x, y):
        xp = namespace_of(x, y)
        return super().score(x, y) * xp.tanh(xp.sum(x[0, :] ** 2) / xp.sum(x**2))


@dataclass(frozen=True)
class OutOfRange(Congruence):
    """Twice as much."""

    def score(self, x, y):
        return 2 * super().score(x, y)


@dataclass(frozen=True)
class SquaredDistance(Congruence):
    """The square of a metric, which is none."""

    facts = changed(range=(0.0, math.pi**2), identity=0.0, metric=True)

    def score(self, x, y):
        xp = namespace_of(x, y)
        a, b = (m / xp.sqrt(xp.sum(m**2)) for m in (x @ x.mT, y @ y.mT))
        half = xp.sqrt(xp.sum((a - b) ** 2)) / 2  # the sine of half the angle
        return (2 * xp.asin(xp.minimum(half, xp.ones_like(half)))) ** 2


@dataclass(frozen=True)
class CountsUnits(Congruence):
    """The difference of the numbers of units, which is no metric on layers."""

    facts = changed(range=(0.0, math.inf), identity=0.0, metric=True)

    def score(self, x, y):
        xp = namespace_of(x, y)
        return xp.sum(x * 0) + xp.sum(y * 0) + abs(x.shape[1] - y.shape[1])


@dataclass(frozen=True)
class ByPosition(Congruence):
    """Weighs later examples more."""

    def prepare(self, representation):
        x, xp = representation.unit, representation.xp
        return x * xp.astype(xp.arange(x.shape[0]) + 1, x.dtype)[:, None]


@dataclass(frozen=True)
class MeanOfProducts(Congruence):
    """Covariances as E xy - E x E y, in the precision of the features."""

    def prepare(self, representation):
        return representation.features

    def score(self, x, y):
        xp, n = namespace_of(x, y), x.shape[0]
        covariances = (a.mT @ b / n - xp.mean(a, axis=0)[:, None] * xp.mean(b, axis=0) for a, b in ((x, y), (x, x), (y, y)))
        inner, own, other = (xp.sum(c**2) for c in covariances)
        return inner / xp.sqrt(own * other)


@dataclass(frozen=True)
class ByEigenvectors(Congruence):
    """Differentiates through eigenvectors, which have no derivative where eigenvalues are equal."""

    def prepare(self, representation):
        x, xp = representation.precise, representation.xp
        squares, v = xp.linalg.eigh(x.mT @ x)
        return x @ xp.where(squares > 0.01 * xp.max(squares), v, 0.0)


@dataclass(frozen=True)
class Mutating(Congruence):
    """Centres the features where they are."""

    def prepare(self, representation):
        x = representation.features
        x -= representation.xp.mean(x, axis=0)
        return representation.unit


@dataclass(frozen=True)
class OnNumPy(Congruence):
    """Computes on the host, whatever it is given."""

    def score(self, x, y):
        x, y = np.asarray(x), np.asarray(y)
        return np.asarray(Congruence.score(self, x, y))


@dataclass(frozen=True)
class Random(Congruence):
    """Adds noise."""

    def score(self, x, y):
        return super().score(x, y) * (1 - 1e-12 * next(COUNTER))


@dataclass(frozen=True)
class Unpicklable(Congruence):
    """Has a function among its parameters."""

    transform: Callable[[float], float] = lambda score: score

    def score(self, x, y):
        return self.transform(super().score(x, y))


@dataclass(frozen=True)
class WithAList(Congruence):
    """Has a list among its parameters."""

    weights: Any = (1.0,)

    def __post_init__(self):
        object.__setattr__(self, "weights", list(self.weights))


@dataclass(frozen=True)
class SinglePrecision(Congruence):
    """Computes in float32."""

    def score(self, x, y):
        xp = namespace_of(x, y)
        return super().score(xp.astype(x, xp.float32), xp.astype(y, xp.float32))


@dataclass(frozen=True)
class OneByOne(Congruence):
    """Returns a matrix."""

    def score(self, x, y):
        return super().score(x, y)[None, None]

    @staticmethod
    def finish(score, x, y):
        return score


@dataclass(frozen=True)
class NotOfMoments(Congruence):
    """Says that second moments suffice, but looks at fourth powers."""

    def prepare(self, representation):
        return representation.xp.tanh(super().prepare(representation)) - 0.1


@dataclass(frozen=True)
class NotOfSums(Congruence):
    """Says that it is a function of the sums of HSIC, and does not say of which kernel."""

    facts = changed(statistic="hsic sums")


@dataclass(frozen=True)
class Eager(Congruence):
    """Computes Dask arrays at once."""

    def __call__(self, X, Y, **options):
        if is_dask(X):
            X, Y = X.compute(), Y.compute()
        return super().__call__(X, Y, **options)


@dataclass(frozen=True)
class Cut(Congruence):
    """No gradient flows to Y."""

    def score(self, x, y):
        return super().score(x, detach(y))


@dataclass(frozen=True)
class HalfCut(Congruence):
    """The gradient of the norms is missing."""

    def score(self, x, y):
        xp = namespace_of(x, y)
        inner, own, other = (xp.sum((a.mT @ b) ** 2) for a, b in ((x, y), (x, x), (y, y)))
        return inner / xp.sqrt(detach(own * other))


@dataclass(frozen=True)
class Inverting(Congruence):
    """Needs linearly independent columns."""

    def prepare(self, representation):
        x = super().prepare(representation)
        xp = representation.xp
        xp.linalg.inv(x.mT @ x)
        return x


@dataclass(frozen=True)
class NoConstants(Congruence):
    """Raises on a constant layer."""

    def __call__(self, X, Y, **options):
        if not np.ptp(np.asarray(X), axis=0).any():
            raise ZeroDivisionError("no variance")
        return super().__call__(X, Y, **options)


@dataclass(frozen=True)
class Careless(Congruence):
    """Takes nan for 0, and one example for enough."""

    def __call__(self, X, Y, **options):
        return super().__call__(np.nan_to_num(X), np.nan_to_num(Y), **options) if len(X) > 1 else np.float64(1)


@dataclass(frozen=True)
class SilentNan(Congruence):
    """nan where there are more features than examples."""

    def __call__(self, X, Y, **options):
        score = super().__call__(X, Y, **options)
        return score * float("nan") if X.shape[1] > X.shape[0] else score


@dataclass(frozen=True)
class Deciding(Congruence):
    """Decides by a value of an array, which cannot be traced."""

    def score(self, x, y):
        score = super().score(x, y)
        return score if score > 0.5 else score * 1.0


@dataclass(frozen=True)
class Selecting(Congruence):
    """Selects columns by their values: shapes that depend on data."""

    def prepare(self, representation):
        x = super().prepare(representation)
        return x[:, representation.xp.max(x, axis=0) > 0]


@dataclass(frozen=True)
class Wearing(Congruence):
    """Scores change what has been prepared, so that a layer may be used once."""

    def prepare(self, representation):
        return [representation.unit]

    def score(self, x, y):
        score = super().score(x[0], y[0])
        x[0] = x[0] ** 3
        return score


class Forgetful(Congruence):
    """Declares half of the facts (and is no dataclass of its own, which is the lesser problem)."""

    facts = property(lambda self: Facts(symmetric=True, identity=1.0))


@dataclass(frozen=True)
class Elsewhere(Congruence):
    """Declares its facts in something of its own."""

    facts = property(lambda self: SimpleNamespace(symmetric=True, range=(0.0, 1.0), statistic="moments"))


@dataclass(frozen=True)
class Contradicting(Congruence):
    """Declares what cannot be, in every fact."""

    facts = changed(
        symmetric=True,
        range=(1.0, 0.0),
        invariances=Invariances(frozenset({"orthogonal", "rotation"}), frozenset()),
        statistic="some",
        metric=1,
        host=True,
        min_examples=1,
        without=frozenset({"gpu"}),
    )


@dataclass(frozen=True)
class FalselyOnTheHost(Congruence):
    """Says that it computes in SciPy, and does not."""

    facts = changed(host=True, differentiable=False)


@dataclass(frozen=True)
class FalselyWithoutTorch(Congruence):
    """Says that it does not run on an array library, and does."""

    facts = changed(without=frozenset({"torch"}))


@dataclass(frozen=True)
class HalfCutInSilence(HalfCut):
    """Says that it has no gradient, and gives one that is wrong."""

    facts = changed(differentiable=False)


@dataclass(frozen=True)
class OddGroups(Congruence):
    """Takes rows by threes, and is content with four."""

    facts = changed(group=3, min_examples=4)


@dataclass(frozen=True)
class Fussy(Congruence):
    """Nothing is wrong with it but that it takes only layers of one width."""

    def __call__(self, X, Y, **options):
        assert X.shape[1] == Y.shape[1]
        return super().__call__(X, Y, **options)


@dataclass(frozen=True)
class Backwards(Congruence):
    """Puts examples where they came from, and in the state that it was given."""

    def permuted(self, state, order):
        state[order, :] = state.copy()
        return state


@dataclass(frozen=True)
class LeavesOutTheNext(CKA):
    """Is one example late."""

    name = "leaves_out_the_next"

    def leave_one_out(self, xs, ys):
        return np.roll(super().leave_one_out(xs, ys), 1, axis=0)


@dataclass(frozen=True)
class OneOfAll(CKA):
    """Leaves examples out of the first pair only."""

    name = "one_of_all"

    def leave_one_out(self, xs, ys):
        return super().leave_one_out(xs[:1], ys[:1])


@dataclass(frozen=True)
class RowsOfGram(CKA):
    """Looks at more than the HSICs, for which weights stand."""

    estimator: str = "unbiased"
    name = "rows_of_gram"

    def from_sums(self, xy, xx, yy):
        return super().from_sums(xy, xx, yy) + xy.rows / (1 + abs(xx.inner))


@dataclass(frozen=True)
class PoolsTheFirst(Congruence):
    """Takes the first layer for the pool."""

    def pool(self, states):
        return states[0] + 0.1


@dataclass(frozen=True)
class NoFacts(Index[Any]):
    """Declares nothing."""

    name = "no_facts"

    def prepare(self, representation):
        return representation.unit

    def score(self, x, y):
        return namespace_of(x, y).sum(x)


@dataclass(frozen=True)
class Nameless(Congruence):
    name = "two words"
    reference = ""
    needed: float = 1.0

    def __init__(self, needed):
        object.__setattr__(self, "needed", needed)


Nameless.__doc__ = None


@dataclass(frozen=True)
class AllWrong(FalselyInvariant):
    """Several at once."""

    facts = changed(
        symmetric=True,
        range=(0.0, 0.2),
        identity=0.25,
        invariances=Invariances.both("invertible_linear"),
    )

    def score(self, x, y):
        return np.asarray(Random.score(self, x, y))


# --- kernels --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gauss(Kernel):
    """exp(-|x - y|^2 / (2 sigma^2)). Nothing is wrong with it."""

    sigma: float = 2.0
    name = "gauss"
    reference = "Gauss 1809"

    @property
    def invariances(self):
        return implied("orthogonal", "translation")

    def __call__(self, X, Y):
        xp = namespace_of(X, Y)
        return xp.exp(squared_distances(X, Y, xp) * (-0.5 / self.sigma**2))


@dataclass(frozen=True)
class RowWise(Gauss):
    """A tile depends on the other rows."""

    def __call__(self, X, Y):
        K = super().__call__(X, Y)
        return K / namespace_of(X, Y).mean(K)


@dataclass(frozen=True)
class Refitting(Gauss):
    """Scales by the examples that it is given, at each call."""

    invariances = property(lambda self: implied("orthogonal", "translation", "isotropic_scaling"))

    def __call__(self, X, Y):
        xp = namespace_of(X, Y)
        d = squared_distances(X, Y, xp)
        return xp.exp(-d / xp.mean(d))


@dataclass(frozen=True)
class Indefinite(Gauss):
    """A constant minus a Gaussian."""

    def __call__(self, X, Y):
        return 1 - super().__call__(X, Y)


@dataclass(frozen=True)
class Signed(Gauss):
    """Its sign depends on the layer."""

    def __call__(self, X, Y):
        return super().__call__(X, Y) * namespace_of(X, Y).sign(X[0, 0] * Y[0, 0] + X[0, 0])


@dataclass(frozen=True)
class Lopsided(Gauss):
    """k(x, y) is not k(y, x)."""

    invariances = property(lambda self: frozenset())

    def __call__(self, X, Y):
        xp = namespace_of(X, Y)
        return super().__call__(X, Y) * (1 + 0.1 * xp.tanh(X[:, :1]))


@dataclass(frozen=True)
class FalselyHomogeneous(Gauss):
    """Says that scaling only multiplies, and that offsets matter."""

    homogeneous = True
    invariances = property(lambda self: implied("orthogonal"))


@dataclass(frozen=True)
class FalselyScaleFree(Gauss):
    """Says that scaling changes nothing."""

    invariances = property(lambda self: implied("orthogonal", "translation", "isotropic_scaling"))


@dataclass(frozen=True)
class KernelOnNumPy(Gauss):
    """Computes on the host."""

    def __call__(self, X, Y):
        return super().__call__(np.asarray(X), np.asarray(Y))


@dataclass(frozen=True)
class KernelInDouble(Gauss):
    """Always float64."""

    def __call__(self, X, Y):
        xp = namespace_of(X, Y)
        return xp.astype(super().__call__(X, Y), xp.float64)


@dataclass(frozen=True)
class KernelMutating(Gauss):
    """Centres X where it is."""

    def __call__(self, X, Y):
        X -= 1e-3
        return super().__call__(X, Y)


@dataclass(frozen=True)
class KernelCut(Gauss):
    """No gradient flows."""

    def __call__(self, X, Y):
        return super().__call__(detach(X), detach(Y))


@dataclass(frozen=True)
class RootOfZero(Gauss):
    """exp(-|x - y|) whose gradient is nan where x = y."""

    def __call__(self, X, Y):
        xp = namespace_of(X, Y)
        d = xp.sum((X[:, None, :] - Y[None, :, :]) ** 2, axis=-1)
        return xp.exp(-xp.sqrt(d) / self.sigma)


@dataclass(frozen=True)
class FallsApart(Gauss):
    """nan for two equal examples."""

    def __call__(self, X, Y):
        K = super().__call__(X, Y)
        xp = namespace_of(K)
        return xp.where(xp.max(xp.abs(X)) == xp.max(xp.abs(xp.round(X))), float("nan"), K)


@dataclass(frozen=True)
class FitsToSomethingElse(Gauss):
    """fit returns a kernel of another class."""

    fit_needs = "all examples"

    def fit(self, X):
        return Gauss()


@dataclass(frozen=True)
class FitsAgain(Gauss):
    """Each fit multiplies the bandwidth by the scale of the layer: a fitted kernel can be fitted again."""

    fit_needs = "all examples"

    def fit(self, X):
        return replace(self, sigma=self.sigma * namespace_of(X).max(X))


@dataclass(frozen=True)
class MeanDistance(RBF):
    """Its bandwidth is the mean distance, but it declares no more than the class that it comes from: the median."""

    def fit(self, X):
        if self.sigma is not None:
            return self
        n, xp = X.shape[0], namespace_of(X)
        return replace(self, sigma=xp.sum(root(squared_distances(X, X, xp), xp)) / (n * (n - 1)))


@dataclass(frozen=True)
class FalselyOfTheMedian(MeanDistance):
    """Declares the median, and takes the mean."""

    fit_needs = RBF.fit_needs


@dataclass(frozen=True)
class OfAllExamples(MeanDistance):
    """Declares that it needs them. Nothing is wrong with it."""

    fit_needs = property(lambda self: "all examples" if self.sigma is None else "nothing")


@dataclass(frozen=True)
class FalselyOfNothing(MeanDistance):
    """Declares that it is not fitted."""

    fit_needs = "nothing"


@dataclass(frozen=True)
class KernelRandom(Gauss):
    """Adds noise."""

    def __call__(self, X, Y):
        return super().__call__(X, Y) * (1 - 1e-13 * next(COUNTER))


@dataclass(frozen=True)
class KernelFalselyWithout(Gauss):
    """Says that it does not run where it does."""

    without = frozenset({"torch", "jit"})


@dataclass(frozen=True)
class KernelDeciding(Gauss):
    """Decides by a value of an array."""

    def __call__(self, X, Y):
        K = super().__call__(X, Y)
        return K if namespace_of(K).max(K) > 0.5 else K * 1.0


@dataclass(frozen=True)
class KernelSelecting(Gauss):
    """Indexes by a mask."""

    def __call__(self, X, Y):
        kept = namespace_of(X).max(X, axis=0) > -1e9
        return super().__call__(X[:, kept], Y[:, kept])


@dataclass(frozen=True)
class KernelInverting(Gauss):
    """Cannot be asked about few examples, or about two that are equal."""

    def __call__(self, X, Y):
        xp = namespace_of(X, Y)
        xp.linalg.inv(super().__call__(X, X))
        return super().__call__(X, Y)


@dataclass(frozen=True)
class KernelOfLists(Gauss):
    weights: Any = ()
    reference = ""

    def __post_init__(self):
        object.__setattr__(self, "weights", [1.0])


KernelOfLists.__doc__ = None


@dataclass(frozen=True)
class Undeclared(Gauss):
    """Declares its invariances as a list, and homogeneous as a number."""

    homogeneous = 0
    invariances = property(lambda self: ["orthogonal"])
