"""Which statistic an index is computed from, and in which form: one table, asked before any work.

The table is read from the top; the first row that fits counts. `explain` shows the row that a call would take, with its
memory and its operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from simkit.errors import NeedsAllExamplesError
from simkit.kernels._of_distances import needs_median_alone
from simkit.kernels.linear import is_linear
from simkit.linalg.by_examples import bytes_by_examples
from simkit.linalg.by_features import bytes_by_features
from simkit.memory import WORTH_ASKING, in_words
from simkit.statistics.hsic_sums import kernel_estimator_of, takes_minibatch
from simkit.statistics.kernel_sums import KernelSums
from simkit.statistics.layers import Layers
from simkit.statistics.median_distance import KEPT
from simkit.statistics.minibatch import MinibatchHSIC
from simkit.statistics.moments import Moments
from simkit.statistics.roots import Roots
from simkit.statistics.statistic import Statistic

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["Plan", "Question", "Source", "plan"]

Source: TypeAlias = Literal["memory", "batches", "chunks"]

# Examples up to which whole Gram matrices take no more time than blocks of them, if they fit into what is always there.
_SMALL = 2048
# The same for other kernels than the linear one, whose values take longer than the products.
_SMALL_OF_OTHER_KERNELS = 512
# The same on an accelerator, for which a few large products cost less than many small ones.
_SMALL_ON_ACCELERATOR = 16384
# Values of all layers from which on NumPy's blocks, in threads, take less time than whole matrices.
_LARGE = 2**20
# Entries of Gram matrices are written, read and multiplied at the speed of memory. That takes as long as so many
# multiply-adds of large products of float32: for an entry of each layer, and for a product of two entries. Measured on one
# core with 2 to 32 layers: 0.2 ns and 0.07 ns, at 75 multiply-adds a ns. So features win before the counts are equal.
_ENTRY, _PRODUCT = 15.0, 5.0


@dataclass(frozen=True)
class Question:
    """What is asked, as far as the choice depends on it.

    Attributes
    ----------
    index : Index
    source : {"memory", "batches", "chunks"}
        Arrays in memory, batches of a stream, chunks of Dask arrays.
    n : int or None
        Number of examples; None for batches, of which nobody knows how many there will be.
    rows, columns : tuple of int
        Widths of the layers. ``columns=None`` if the rows are compared with themselves.
    itemsize : int
        Bytes of a value, 4 or 8.
    lazy : bool
        Values cannot be looked at, as under ``jax.jit``.
    whole : bool
        Each layer must be prepared as a whole: gradients are to flow, or its examples will be permuted.
    blocks : bool
        The caller asks for kernels in blocks.
    accelerator : bool
        The arrays do not lie in the memory of the host.
    numpy : bool
        NumPy may work on the values of arrays on the host, of whatever library, without a copy.
    """

    index: Index[Any]
    source: Source
    n: int | None
    rows: tuple[int, ...]
    columns: tuple[int, ...] | None
    itemsize: int = 8
    lazy: bool = False
    whole: bool = False
    blocks: bool = False
    accelerator: bool = False
    numpy: bool = True

    @property
    def plain(self) -> bool:
        """Arrays on the host whose values are known, and of which nothing but the scores is wanted."""
        return self.source == "memory" and self.numpy and not (self.lazy or self.whole or self.accelerator)

    @property
    def widths(self) -> tuple[int, ...]:
        """The number of features of each layer."""
        return (*self.rows, *(self.columns or ()))

    @property
    def width(self) -> int:
        """The number of features of all layers."""
        return sum(self.widths)

    @property
    def layers(self) -> int:
        """How many there are."""
        return len(self.widths)

    @property
    def pairs(self) -> float:
        """Products of two layers that are needed, those of layers with themselves too."""
        a, b = len(self.rows), len(self.columns or ())
        return a * a / 2 if self.columns is None else a * b + a + b

    @property
    def needs(self) -> str:
        """What the index declares to need: "moments", "hsic sums" or "examples"."""
        return self.index.facts.statistic

    @property
    def linear(self) -> bool:
        """Whether it compares features by the linear kernel."""
        chosen = self.index.kernel_estimator
        return chosen is not None and is_linear(chosen.kernel)

    @property
    def estimator(self) -> str:
        """That of HSIC; empty for an index that is no function of HSIC sums."""
        return "" if self.index.kernel_estimator is None else self.index.kernel_estimator.estimator

    # --- multiplications and additions, a symmetric product at half the price -----------------------------------------

    @property
    def by_features(self) -> float:
        """Products of features of all pairs, for each example."""
        if self.columns is None:
            return sum(self.rows) ** 2 / 2
        return sum(self.rows) * sum(self.columns) + sum(p * p for p in self.widths) / 2

    @property
    def by_examples(self) -> float:
        """Gram matrices of all layers and products of them, for each pair of examples."""
        return self.width / 2 + self.pairs / 2

    @property
    def tall(self) -> bool:
        """Products of features take less time than Gram matrices."""
        by_examples = (self.width + _ENTRY * self.layers + _PRODUCT * self.pairs) / 2
        return self.n is None or self.by_features <= self.n * by_examples

    @property
    def large(self) -> bool:
        """There is work for several threads."""
        return (self.n or 0) * self.width >= _LARGE


@dataclass(frozen=True)
class Plan:
    """What will be done, and why.

    Attributes
    ----------
    index : Index
    source : {"memory", "batches", "chunks"}
        Where the examples are.
    statistic : type
        The kind of `simkit.statistics.statistic.Statistic`.
    options : dict
        Of its `of`.
    form : str
        What the work consists of.
    reason : str
        Why.
    bytes : int
        Memory that is taken at one time, besides the layers.
    operations : float or None
        Multiplications and additions; None where they depend on the index alone or on how many batches come.
    """

    index: Index[Any]
    source: Source
    statistic: type[Statistic]
    options: Mapping[str, Any] = field(repr=False)
    form: str
    reason: str
    bytes: int
    operations: float | None

    @property
    def in_numpy(self) -> bool:
        """NumPy does the work for arrays of all libraries, unless their values ask for more care."""
        return self.statistic is KernelSums and "tall" in self.options

    @property
    def route(self) -> str:
        """What the work consists of, from where the examples are, in one line."""
        return f"{self.form}, from {_FROM[self.source]} ({self.statistic.__name__})"

    def __str__(self) -> str:
        work = "as many as the index takes" if self.operations is None else f"{self.operations:.1e} multiply-adds"
        return "\n".join(
            (
                str(self.index),
                f"  route       {self.route}",
                f"  because     {self.reason}",
                f"  memory      {in_words(self.bytes)} besides the layers",
                f"  operations  {work}",
            )
        )


_FROM = {"memory": "arrays in memory", "batches": "batches", "chunks": "chunks of Dask arrays"}


@dataclass(frozen=True)
class _Row:
    """One line of the table."""

    source: Source
    needs: str
    when: Callable[[Question], bool]
    statistic: type[Statistic]
    form: str
    reason: str
    bytes: Callable[[Question], float]
    operations: Callable[[Question], float | None]
    options: Callable[[Question], dict[str, Any]] = lambda q: {}


def _always(q: Question) -> bool:
    return True


def _small(q: Question) -> int:
    return _SMALL if q.linear else _SMALL_OF_OTHER_KERNELS


def _of_index(q: Question) -> int:
    return q.index.bytes_needed(q.n or 0, q.rows, q.columns, q.itemsize)


def _features(q: Question) -> float:
    return float((q.n or 0) * q.width * q.itemsize)


def _bands(q: Question) -> float:
    split = None if q.columns is None else len(q.rows)
    work = bytes_by_features(q.n or 0, q.widths, split, q.itemsize)
    return work + (0.0 if q.estimator == "biased" else 3 * 8.0 * (q.n or 0) * q.layers)


def _blocks(q: Question) -> float:
    return bytes_by_examples(q.n or 0, q.widths, q.itemsize) + 2 * 8.0 * (q.n or 0) * q.layers


def _in_blocks(q: Question) -> float:
    """The features, and squared distances where they are kept; and blocks."""
    kept = (q.n or 0) ** 2 / 2 * q.layers * q.itemsize
    keeps = kept <= KEPT and needs_median_alone(kernel_estimator_of(q.index).kernel)
    return _features(q) + (kept if keeps else 0.0)


def _scatter(q: Question) -> float:
    return 3 * 8 * q.width**2


def _per_example(q: Question) -> float:
    return 16.0 * (q.n or 0) * q.layers


def _products(q: Question) -> float | None:
    return None if q.n is None else q.n * q.width**2 / 2


def _grams(q: Question) -> float:
    n = q.n or 0
    return n * n * q.by_examples


_SUMS, _MOMENTS, _ALL = "hsic sums", "moments", "examples"
_FEWER = "for the linear kernel they take less time than Gram matrices at this n"

_TABLE: tuple[_Row, ...] = (
    # --- arrays in memory ---------------------------------------------------------------------------------------------
    _Row(
        "memory", _SUMS, lambda q: q.blocks and q.linear and q.plain,
        KernelSums, "Gram matrices in blocks", "tiles= asks for it",
        _blocks, _grams, lambda q: {"tall": False},
    ),
    _Row(
        "memory", _SUMS, lambda q: q.blocks,
        KernelSums, "Gram matrices in blocks", "tiles= asks for it",
        _in_blocks, _grams,
    ),
    _Row(
        "memory", _SUMS, lambda q: q.linear and q.tall and q.plain and q.large,
        KernelSums, "products of features in blocks of rows", _FEWER,
        _bands, lambda q: (q.n or 0) * q.by_features, lambda q: {"tall": True},
    ),
    _Row(
        "memory", _SUMS, lambda q: q.linear and q.tall,
        Layers, "products of features", _FEWER,
        _features, lambda q: (q.n or 0) * q.by_features, lambda q: {"tall": True},
    ),
    _Row(
        "memory", _SUMS, lambda q: q.linear and q.plain and q.large,
        KernelSums, "Gram matrices in blocks", "at this n they take less time than products of features, and little memory",
        _blocks, _grams, lambda q: {"tall": False},
    ),
    _Row(
        "memory", _SUMS, lambda q: q.whole or q.lazy,
        Layers, "whole Gram matrices", "gradients, permutations or values that cannot be looked at yet need them",
        _of_index, _grams, lambda q: {"tall": False},
    ),
    _Row(
        "memory", _SUMS, lambda q: not _is_declared(q),
        Layers, "whole Gram matrices", "the kernel does not declare what it is fitted to, as blocks would have to know",
        _of_index, _grams, lambda q: {"tall": False},
    ),
    _Row(
        "memory", _SUMS, lambda q: q.accelerator and (q.n or 0) <= _SMALL_ON_ACCELERATOR,
        Layers, "whole Gram matrices", "an accelerator takes a few large products in less time than many small ones",
        _of_index, _grams, lambda q: {"tall": False},
    ),
    _Row(
        "memory", _SUMS, lambda q: (q.n or 0) <= _small(q) and _of_index(q) < WORTH_ASKING,
        Layers, "whole Gram matrices", "they are small",
        _of_index, _grams, lambda q: {"tall": False},
    ),
    _Row(
        "memory", _SUMS, _always,
        KernelSums, "Gram matrices in blocks", "blocks, multiplied and dropped, take less time and memory than whole ones",
        _in_blocks, _grams,
    ),
    _Row(
        "memory", _MOMENTS, _always,
        Layers, "the layers themselves", "they are here",
        lambda q: max(_of_index(q), _features(q)), _products,
    ),
    _Row(
        "memory", _ALL, _always,
        Layers, "the layers themselves", "the index needs all examples",
        _of_index, lambda q: None,
    ),
    # --- batches ------------------------------------------------------------------------------------------------------
    _Row(
        "batches", _SUMS, lambda q: q.estimator == "minibatch",
        MinibatchHSIC, "unbiased HSIC of each batch", "estimator=minibatch is a mean over batches",
        lambda q: 0.0, lambda q: None, lambda q: {"kernel": kernel_estimator_of(q.index).kernel},
    ),
    _Row(
        "batches", _SUMS, lambda q: q.linear,
        Moments, "second moments", "the linear kernel depends on nothing else",
        _scatter, _products, lambda q: {"third_order": q.estimator != "biased"},
    ),
    _Row(
        "batches", _MOMENTS, _always,
        Roots, "a root of the scatter matrix", "the index depends on small singular values, which second moments lose",
        _scatter, _products,
    ),
    # --- chunks of Dask arrays ----------------------------------------------------------------------------------------
    _Row(
        "chunks", _SUMS, lambda q: q.linear and (q.n or 0) > q.width,
        Moments, "second moments", "the linear kernel depends on nothing else",
        _scatter, _products, lambda q: {"third_order": q.estimator != "biased"},
    ),
    _Row(
        "chunks", _SUMS, lambda q: (q.n or 0) > _SMALL,
        KernelSums, "tiles of the Gram matrices", "all pairs of examples are compared, in memory that grows with n only",
        _per_example, _grams,
    ),
    _Row(
        "chunks", _SUMS, _always,
        Layers, "the layers themselves", f"up to {_SMALL} examples they are brought together in one task",
        lambda q: _features(q) + _of_index(q), _grams, lambda q: {"tall": q.tall},
    ),
    _Row(
        "chunks", _MOMENTS, _always,
        Roots, "a root of the scatter matrix", "the index depends on small singular values, which second moments lose",
        _scatter, _products,
    ),
)  # fmt: skip

_ROWS: dict[tuple[str, str], list[_Row]] = {}
for _row in _TABLE:
    _ROWS.setdefault((_row.source, _row.needs), []).append(_row)


def plan(question: Question) -> Plan:
    """The first row of the table that fits.

    Raises
    ------
    NeedsAllExamplesError
        None fits: the index cannot be computed from what there is; the message says what can be done.
    """
    q, needs = question, question.needs
    if q.source == "chunks" and needs == _SUMS and not q.linear:
        kernel_estimator_of(q.index).kernel.declared_needs()  # the same error however few the examples are
    if q.blocks and needs != _SUMS:
        raise NeedsAllExamplesError(f"{q.index} is not a function of HSIC sums, so it cannot be computed over tiles.")
    for row in _ROWS.get((q.source, needs), ()):
        if row.when(q):
            size, work = int(row.bytes(q)), row.operations(q)
            return Plan(q.index, q.source, row.statistic, row.options(q), row.form, row.reason, size, work)
    raise NeedsAllExamplesError(_refusal(q))


def _is_declared(q: Question) -> bool:
    try:
        kernel_estimator_of(q.index).kernel.declared_needs()
    except NeedsAllExamplesError:
        return False
    return True


def _refusal(q: Question) -> str:
    if q.needs == _ALL:
        return (
            f"{q.index} needs all examples at once, so it cannot be computed from batches or chunks: use simkit.compare on "
            "arrays in memory, or an index of moments or HSIC sums (`simkit indexes` lists what each needs)."
        )
    others = ", the linear kernel, or estimator=minibatch (pairs within a batch only)"
    if not takes_minibatch(q.index):
        others = ", or the linear kernel"
    return (
        f"{q.index} compares all pairs of examples by the kernel {kernel_estimator_of(q.index).kernel}, also those of "
        'different batches, so one pass over batches is not enough. Use arrays in memory, in blocks (tiles="exact"), or '
        f"Dask arrays (all pairs, tile by tile){others}."
    )
