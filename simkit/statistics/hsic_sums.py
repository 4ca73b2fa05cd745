"""Three sums from which every HSIC follows, and their producers in memory.

For Gram matrices K and L of n examples, with 1 the vector of ones,

    inner = <K, L>        rows = (K1)'(L1)        totals = (1'K1)(1'L1)

    biased    (inner - 2 rows/n + totals/n^2) / (n-1)^2                          Gretton et al. 2005; equation 3 of the paper
    unbiased  (inner + totals/((n-1)(n-2)) - 2 rows/(n-2)) / (n(n-3))            Song et al. 2007, diagonals removed first
    lange     inner / (n(n-3))          of HKH and HLH, their diagonals removed after centring            Lange et al. 2023
    minibatch the mean of the unbiased one over batches; one batch here, see statistics/minibatch.py      Nguyen et al. 2021

Only the producer of the sums differs between data in memory, tiles, batches and chunks; the estimators are written once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from simkit.arrays import (
    Array,
    Namespace,
    constant_of,
    detach,
    is_at_hand,
    is_lazy,
    namespace_of,
    number_of,
    on_host,
    placement,
    wants_gradients,
    warn_caller,
)
from simkit.caching import cached_property
from simkit.errors import AccuracyWarning, NeedsAllExamplesError, PluginError
from simkit.kernel import Kernel
from simkit.kernels._of_distances import evaluated
from simkit.kernels.linear import Linear, is_linear
from simkit.linalg import (
    double_centre,
    inner,
    is_ordinary,
    power_of_two,
    reordered,
    reordered_products,
    robust_origin,
    squared_norm,
    tall_cross,
    total,
    u_centre,
    vecdot,
    widen,
    without_diagonal,
)
from simkit.linalg.products import inner_products
from simkit.representation import Representation
from simkit.statistics.resolution import resolving_distances, warn_if_kernel_unresolved

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = [
    "ESTIMATORS",
    "Estimator",
    "Features",
    "Gram",
    "HSICSums",
    "KernelEstimator",
    "Prepared",
    "all_sums",
    "are_many",
    "are_numbers",
    "as_numbers",
    "estimate",
    "features_for",
    "gather",
    "is_lost",
    "kernel_estimator_of",
    "own_sums",
    "scale_of",
    "stacked",
    "takes_minibatch",
    "warn_if_lost",
]

Estimator: TypeAlias = Literal["biased", "unbiased", "lange", "minibatch"]
_MANY = 100  # examples that a sum of squared lengths is spread over, at least, for float32 to tell the others from them
_TOGETHER = 1024  # features of layers in one product: more are enough work for a device by themselves
_AROUND = 10  # examples that a sum of squared lengths is spread over, at least, for none to have moved the mean away
_DIGITS = 1e4  # rounding errors of its terms that an estimate must be larger than

ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)


class KernelEstimator(NamedTuple):
    """What an index of HSIC sums is made of."""

    kernel: Kernel
    estimator: Estimator


class HSICSums(NamedTuple):
    """The three sums of a pair of Gram matrices, in the accumulation precision, and the number of examples.

    Or of many pairs at once: the sums are then arrays of one shape, and `n` may be one.
    """

    inner: Array
    rows: Array
    totals: Array
    n: int | Array


def kernel_estimator_of(index: Index[Any]) -> KernelEstimator:
    """The kernel and the estimator of an index of HSIC sums.

    Raises
    ------
    NeedsAllExamplesError
        It is none.
    PluginError
        It declares to be one, and not of which kernel and estimator.
    """
    found = index.kernel_estimator
    if found is None and index.facts.statistic == "hsic sums":
        raise PluginError(
            f"{type(index).__name__} declares statistic='hsic sums' and does not say of which kernel and estimator: derive "
            "it from simkit.indexes.CKA or HSIC, or let its kernel_estimator return "
            "simkit.statistics.hsic_sums.KernelEstimator(kernel, estimator)."
        )
    if found is None:
        raise NeedsAllExamplesError(f"{index} is not a function of HSIC sums, so it cannot be computed from them.")
    return found


def takes_minibatch(index: Index[Any]) -> bool:
    """Whether an index says that it has an estimator of the examples of each batch alone: `KernelIndex.estimators`."""
    return "minibatch" in getattr(index, "estimators", ())


def estimate(s: HSICSums, estimator: Estimator) -> Array:
    """HSIC from its sums; see the head of this file."""
    n = s.n
    if estimator == "biased":
        return (s.inner - 2 * s.rows / n + s.totals / n**2) / (n - 1) ** 2
    if estimator in ("unbiased", "minibatch"):
        return (s.inner + s.totals / ((n - 1) * (n - 2)) - 2 * s.rows / (n - 2)) / (n * (n - 3))
    return s.inner / (n * (n - 3))


@dataclass(frozen=True, eq=False, kw_only=True)
class _Prepared(ABC):
    """One layer, prepared for one estimator; `known` are its sums with itself, if known."""

    n: int
    scale: Array
    xp: Namespace
    known: HSICSums | None = None

    @abstractmethod
    def sums(self, other: Any) -> HSICSums:
        """The three sums with another layer's Gram matrix; it is prepared in the same form."""

    @abstractmethod
    def permuted(self, order: Array) -> _Prepared:
        """The same layer with the examples in another order, which does not change its sums with itself."""

    @abstractmethod
    def trace(self, estimator: Estimator) -> Array:
        """tr(HKH), for the estimator that the layer was prepared for; anything for the unbiased ones, which need none.

        A number of NumPy where the values are at hand, else a 0-d array. No derivative is asked of it.
        """

    @property
    def whole(self) -> Any:
        """The same layer as it is prepared at first: a Gram matrix that was put in another order as one of its own."""
        return self

    @cached_property
    def own(self) -> HSICSums:
        """The sums of the layer with itself, computed once however many partners it has."""
        return self.sums(self) if self.known is None else self.known

    @cached_property
    def own_numbers(self) -> HSICSums | None:
        """The same as numbers of NumPy, asked of the library once; None where they cannot be: see `are_numbers`."""
        return as_numbers(self.own) if are_numbers([self.own.inner]) else None


@dataclass(frozen=True, eq=False, kw_only=True)
class Gram(_Prepared):
    """One layer's Gram matrix with its row sums."""

    k: Array
    rows: Array

    def sums(self, other: Gram | Reordered) -> HSICSums:
        """The three sums with another layer's Gram matrix."""
        if isinstance(other, Reordered):
            return other.sums(self)
        xp = self.xp
        totals = xp.sum(self.rows) * xp.sum(other.rows)
        return HSICSums(inner(self.k, other.k, xp), xp.sum(self.rows * other.rows), totals, self.n)

    def trace(self, estimator: Estimator) -> Array:
        """The trace; without the diagonal less the sum of what is left, since all entries of HKH add up to 0."""
        if estimator == "lange":
            return _summed(self.k, lambda k, xp: -total(k, xp))
        return _summed(self.k, lambda k, xp: total(xp.linalg.diagonal(k), xp))

    def permuted(self, order: Array) -> Reordered:
        """Rows and columns in another order."""
        return Reordered(gram=self, order=order, n=self.n, scale=self.scale, xp=self.xp, known=self.own)


@dataclass(frozen=True, eq=False, kw_only=True)
class Reordered(_Prepared):
    """A Gram matrix whose rows and columns are in another order, which it is not put into: that would be n x n numbers."""

    gram: Gram
    order: Array

    def sums(self, other: Gram | Reordered) -> HSICSums:
        """The three sums with another layer's Gram matrix."""
        if isinstance(other, Reordered):
            return self.sums(other.whole)
        xp = self.xp
        inner = reordered_products([self.gram.k], self.order, [other.k], xp)[0, 0]
        totals = xp.sum(self.gram.rows) * xp.sum(other.rows)
        return HSICSums(inner, xp.sum(self.rows * other.rows), totals, self.n)

    def trace(self, estimator: Estimator) -> Array:
        """That of the Gram matrix, in whatever order."""
        return self.gram.trace(estimator)

    @property
    def rows(self) -> Array:
        """The row sums, in order."""
        return self.xp.take(self.gram.rows, self.order, axis=0)

    @cached_property
    def whole(self) -> Gram:
        """The Gram matrix in order."""
        return replace(self.gram, k=reordered(self.gram.k, self.order, self.xp), rows=self.rows, known=self.own)

    def permuted(self, order: Array) -> Reordered:
        """Rows and columns in yet another order."""
        return replace(self, order=self.xp.take(self.order, order, axis=0))


@dataclass(frozen=True, eq=False, kw_only=True)
class Features(_Prepared):
    """One layer in feature space: its linear kernel's sums come from p x p matrices.

    `x` has centred columns, so K1 = 0 and <K, L> = |x'y|^2. With the diagonal a_i = |x_i|^2 of K removed, K1 = -a.
    """

    x: Array
    diagonal: Array | None

    def sums(self, other: Features) -> HSICSums:
        """The three sums with another layer's Gram matrix, exactly, in O(p1 p2) memory."""
        xp = self.xp
        whole = squared_norm(tall_cross(self.x, other.x, xp), xp)
        if self.diagonal is None or other.diagonal is None:
            zero = 0.0 * self.scale
            return HSICSums(whole, zero, zero, self.n)
        shared = xp.sum(self.diagonal * other.diagonal)
        return HSICSums(whole - shared, shared, xp.sum(self.diagonal) * xp.sum(other.diagonal), self.n)

    def trace(self, estimator: Estimator) -> Array:
        """The sum of squared lengths."""
        del estimator
        return _summed(self.x, squared_norm) if self.diagonal is None else _summed(self.diagonal, total)

    def permuted(self, order: Array) -> Features:
        """Rows in another order."""
        xp = self.xp
        diagonal = None if self.diagonal is None else xp.take(self.diagonal, order, axis=0)
        return replace(self, x=xp.take(self.x, order, axis=0), diagonal=diagonal, known=self.own)


Prepared: TypeAlias = Any  # Gram or Reordered, or Features: both sides of a pair are of one form, chosen by shapes alone


def gather(layer: Representation, kernel: Kernel, estimator: Estimator) -> Prepared:
    """Prepare one layer for `sums`: features for the linear kernel where that is cheaper, else the Gram matrix.

    Which form is cheaper, the layer knows (`Representation.tall`).
    """
    if layer.is_centred and not (is_linear(kernel) and estimator == "biased"):
        raise NeedsAllExamplesError(
            f"HSIC with kernel={kernel} and estimator={estimator} is not a function of second moments alone."
        )
    if is_linear(kernel):
        scale = widen(layer.scale, layer.xp)
        if layer.is_centred or layer.tall:
            return _in_features(layer, estimator, scale)
        x = layer.unit
        if estimator in ("unbiased", "minibatch") and not _are_around_mean(x, layer.xp):  # these see no offset
            x = x - robust_origin(x, layer.xp)
        return _gram(x @ x.mT, estimator, scale, layer.xp, is_centred=True)
    x = features_for(kernel, layer)
    fitted, k = evaluated(kernel, x)
    warn_if_kernel_unresolved(fitted, x, layer.name, layer.xp)
    scale = total(layer.xp.ones_like(k[0, 0]), layer.xp)
    if "isotropic_scaling" not in kernel.invariances and not is_lazy(k) and not bool(is_ordinary(layer.scale, layer.xp)):
        scale = scale_of(k, layer.xp)
        k = k / scale / scale
    return _gram(k, estimator, scale, layer.xp)


def scale_of(k: Array, xp: Namespace) -> Array:
    """A power of two whose square brings products of kernel values into range; 1 where they are."""
    size = widen(power_of_two(k, xp), xp)
    half = xp.pow(constant_of(2.0, size, xp), xp.floor(xp.log2(size) / 2))
    return xp.where(is_ordinary(size, xp), 1.0, half)


def features_for(kernel: Kernel, layer: Representation) -> Array:
    """The features that a kernel is evaluated on.

    As they were given, in float64 where the device has it, if the kernel notices the origin: the offset that centring takes
    off K may be most of its values. Else less an origin, and scaled if the kernel cannot tell: the column means for the
    linear kernel and what is derived from it, and for the others, of distances, a point that outliers do not move.

    Warns
    -----
    AccuracyWarning
        float64 is needed to tell distances apart, and is not available.
    """
    xp = layer.xp
    if "translation" not in kernel.invariances:
        return widen(layer.features, xp)
    scaled = "isotropic_scaling" in kernel.invariances
    if isinstance(kernel, Linear):
        return layer.unit if scaled else layer.centred
    x = layer.features - robust_origin(layer.features, xp)
    if scaled:
        x /= power_of_two(x, xp)  # an intermediate of our own: no second copy of the layer
    return resolving_distances(x, layer.name, xp)


def _in_features(layer: Representation, estimator: Estimator, scale: Array) -> Features:
    """Features in a precision in which the diagonal can be taken off <K, L>: float64 where few examples make most of it.

    Warns
    -----
    AccuracyWarning
        So few make most of it that the accumulation precision does not suffice.
    """
    xp, n = layer.xp, layer.n
    if estimator == "biased":
        return Features(x=layer.unit, diagonal=None, n=n, scale=scale, xp=xp)
    a = total(layer.unit * layer.unit, xp, axis=1)
    if not is_lazy(a) and are_many(a, xp):
        return Features(x=layer.unit, diagonal=a, n=n, scale=scale, xp=xp)
    x = layer.precise
    found = Features(x=x, diagonal=total(x * x, xp, axis=1), n=n, scale=scale, xp=xp)
    if not is_lazy(a):
        warn_if_lost(found.own, layer.name, xp)
    return found


def are_many(a: Array, xp: Namespace, least: float = _MANY) -> bool:
    """Whether squared lengths (n,) are spread over so many examples that float32 resolves K without its diagonal."""
    a = detach(a)
    return float(xp.sum(a)) ** 2 > least * float(xp.sum(a * a))


def _are_around_mean(x: Array, xp: Namespace) -> bool:
    """Whether centred examples (n, p) are seen to lie around their mean, which a few may move far away from all others."""
    return is_at_hand(x) and are_many(vecdot(x, x, xp), xp, _AROUND)


def warn_if_lost(own: HSICSums, name: str, xp: Namespace) -> None:
    """Warn if the unbiased HSIC of a layer with itself, in feature space, is of the size of the rounding of its terms.

    Warns
    -----
    AccuracyWarning
    """
    if is_lost(own, xp):
        warn_caller(
            f"An example of {name} is so much larger than the others that an unbiased estimator loses most digits to it. "
            "Leave the outlier out, or take an index that it does not rule, such as rsa.",
            AccuracyWarning,
        )


def is_lost(own: HSICSums, xp: Namespace) -> bool:
    """Whether the unbiased HSIC of a layer with itself is of the size of the rounding of its terms."""
    own, n = HSICSums(detach(own.inner), detach(own.rows), detach(own.totals), own.n), int(own.n)
    terms = abs(float(own.inner)) + 2 * abs(float(own.rows)) + abs(float(own.totals)) / (n - 1) ** 2
    value = abs(float(estimate(own, "unbiased"))) * n * (n - 3)
    return value < _DIGITS * float(xp.finfo(own.inner.dtype).eps) * terms


def _gram(k: Array, estimator: Estimator, scale: Array, xp: Namespace, *, is_centred: bool = False) -> Gram:
    if estimator in ("unbiased", "minibatch"):
        k = u_centre(k, xp)
    elif not is_centred:
        k = double_centre(k, xp)
    if estimator == "lange":
        k = without_diagonal(k, xp)
    summed = estimator == "biased" and not is_centred  # else they are 0, but for rounding
    rows = total(k, xp, axis=1) if summed else xp.zeros_like(widen(k[:, 0], xp))
    return Gram(k=k, rows=rows, n=k.shape[0], scale=scale, xp=xp)


def are_numbers(values: Sequence[Array]) -> bool:
    """Whether 0-d arrays may be computed with as numbers of NumPy: they are on the host, and no derivative is asked for.

    PyTorch and JAX take ten times as long to begin an operation on a number as NumPy takes for it.
    """
    return all(is_at_hand(value) and not wants_gradients(value) for value in values)


def _summed(x: Array, sum_of: Callable[[Array, Namespace], Array]) -> Any:
    """A sum of `x`, without its derivative: a number of NumPy where the values are at hand, else a 0-d array."""
    if not is_at_hand(x):
        return sum_of(x, namespace_of(x))
    x = on_host(x)
    return number_of(sum_of(x, namespace_of(x)))


def as_numbers(sums: HSICSums) -> HSICSums:
    """The sums of one pair as numbers of NumPy; see `are_numbers`."""
    return HSICSums(number_of(sums.inner), number_of(sums.rows), number_of(sums.totals), sums.n)


def stacked(values: Sequence[Array], xp: Namespace) -> Array:
    """Many 0-d arrays as one vector."""
    if not are_numbers(values):
        return xp.stack(values)
    return constant_of(np.asarray([number_of(value) for value in values]), values[0], xp)


def all_sums(xs: Sequence[Prepared], ys: Sequence[Prepared], advance: Callable[[], None] = lambda: None) -> HSICSums:
    """The three sums of every pair of `xs` and `ys` as arrays of shape (len(xs), len(ys)); `advance` after each of `xs`."""
    xp, n = xs[0].xp, xs[0].n
    if isinstance(xs[0], Gram | Reordered):
        inner = _inner_of_grams(xs, ys)
        rows, others = (xp.stack([layer.rows for layer in side]) for side in (xs, ys))
        for _ in xs:
            advance()
        return HSICSums(inner, rows @ others.mT, xp.sum(rows, axis=1)[:, None] * xp.sum(others, axis=1)[None, :], n)
    norms = _norms(xs, ys)
    for _ in xs:
        advance()
    if any(layer.diagonal is None for layer in (*xs, *ys)):
        return HSICSums(norms, xp.zeros_like(norms), xp.zeros_like(norms), n)
    lengths, others = (xp.stack([layer.diagonal for layer in side]) for side in (xs, ys))
    shared, totals = lengths @ others.mT, xp.sum(lengths, axis=1)[:, None] * xp.sum(others, axis=1)[None, :]
    return HSICSums(norms - shared, shared, totals, n)


def _norms(xs: Sequence[Features], ys: Sequence[Features]) -> Array:
    """|X_i'Y_j|^2 of all pairs, shape (len(xs), len(ys)); narrow layers of one width go into one product."""
    xp, same = xs[0].xp, xs is ys
    left = _of_one_width(xs)
    right = left if same else _of_one_width(ys)
    above = [_side_by_side(batch, xp) for batch in left]
    beside = above if same else [_side_by_side(batch, xp) for batch in right]
    blocks: list[list[Array]] = []
    for i, a in enumerate(left):
        line: list[Array] = []
        for j, b in enumerate(right):
            if same and j < i:
                line.append(blocks[j][i].mT)
                continue
            product = tall_cross(above[i], beside[j], xp)
            parts = xp.reshape(product * product, (len(a), a[0][1].x.shape[1], len(b), b[0][1].x.shape[1]))
            line.append(xp.sum(parts, axis=(1, 3)))
        blocks.append(line)
    norms = xp.concat([xp.concat(line, axis=1) for line in blocks])
    for axis, batches in enumerate((left, right)):
        places = [place for batch in batches for place, _ in batch]
        order = sorted(range(len(places)), key=places.__getitem__)
        if places != sorted(places):
            norms = xp.take(norms, xp.asarray(order, **placement(norms)), axis=axis)
    return norms


def _side_by_side(batch: Sequence[tuple[int, Features]], xp: Namespace) -> Array:
    return batch[0][1].x if len(batch) == 1 else xp.concat([z.x for _, z in batch], axis=1)


def _of_one_width(layers: Sequence[Features]) -> list[list[tuple[int, Features]]]:
    """Layers and their places, in batches of one width and precision that have few features together."""
    open_batches: dict[Any, list[tuple[int, Features]]] = {}
    batches = []
    for place, layer in enumerate(layers):
        p = layer.x.shape[1]
        batch = open_batches.get((p, layer.x.dtype))
        if batch is None or (len(batch) + 1) * p > _TOGETHER:
            batch = open_batches[p, layer.x.dtype] = []
            batches.append(batch)
        batch.append((place, layer))
    return batches


def _inner_of_grams(xs: Sequence[Gram | Reordered], ys: Sequence[Gram | Reordered]) -> Array:
    xp, right = xs[0].xp, [layer.whole.k for layer in ys]
    orders = {id(layer.order) if isinstance(layer, Reordered) else None for layer in xs}
    if len(orders) == 1 and isinstance(xs[0], Reordered) and ys is not xs:
        return reordered_products([layer.gram.k for layer in xs if isinstance(layer, Reordered)], xs[0].order, right, xp)
    return inner_products(right if ys is xs else [layer.whole.k for layer in xs], right, xp)


def own_sums(layers: Sequence[Prepared]) -> HSICSums:
    """The sums of each layer with itself, as arrays of shape (len(layers),)."""
    first, xp = layers[0], layers[0].xp
    known = [layer.own_numbers for layer in layers]
    if None in known:
        inner, rows, totals = (xp.stack([layer.own[k] for layer in layers]) for k in range(3))
    else:
        inner, rows, totals = (constant_of(np.asarray([own[k] for own in known]), first.own[k], xp) for k in range(3))
    return HSICSums(inner, rows, totals, first.n)
