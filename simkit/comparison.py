"""The two questions that users ask: how similar are X and Y, and how similar are all these layers?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.arrays import (
    Array,
    as_matrix,
    check_labels,
    check_matrix,
    check_same_examples,
    check_same_framework,
    constant_of,
    dtype_name,
    in_one_precision,
    is_dask,
    is_lazy,
    is_viewable,
    namespace_of,
    rounding_of,
    to_numpy,
    wants_gradients,
)
from simkit.arrays.modes import Precision, check_precision, own_modes
from simkit.errors import InvalidArrayError
from simkit.feasibility import check_fits
from simkit.guard import is_outside
from simkit.matrix import SimilarityMatrix
from simkit.memory import available_to, is_on_host
from simkit.origin import origin
from simkit.planner import Plan, Question, Source, plan
from simkit.progress import track
from simkit.provenance import check_same_data, sides_of
from simkit.registry import get_index
from simkit.scale import blocks
from simkit.scale.linear import linear_sums
from simkit.scoring import scored
from simkit.sides import Sides, are_layers
from simkit.spec import check_choice
from simkit.statistics.chance import Scores, is_warned_of
from simkit.statistics.hsic_sums import kernel_estimator_of
from simkit.statistics.kernel_sums import KernelSums
from simkit.statistics.layers import Layers
from simkit.statistics.statistic import Statistic
from simkit.statistics.values import ValueCheck

if TYPE_CHECKING:
    from simkit.index import Index
    from simkit.statistics.median_distance import Bandwidth

__all__ = ["check_examples", "compare", "explain", "matrices_of", "pairwise", "question_of"]


def compare(
    X: Any,
    Y: Any,
    index: str | Index[Any] | type[Index[Any]] = "cka",
    *,
    check_finite: bool = True,
    flatten: bool = False,
    tiles: Bandwidth | None = None,
    ids: Any = None,
    precision: Precision | None = None,
    **parameters: Any,
) -> Array:
    """Similarity of two representations of the same examples.

    Parameters
    ----------
    X, Y : array, shapes (n, p1) and (n, p2)
        Activations of any framework (NumPy, PyTorch, CuPy, JAX, array-api-strict, Dask) or nested lists; row i of both is
        the same example. Columns are centred by simkit. Integers and bools become floats, half precision float32. Labels of
        examples (the index of a pandas frame other than the default one, the coordinate of the first dimension in xarray)
        are not aligned, but where both carry them they must be the same in the same order, without repeats.
    index : str or Index
        A spec string such as ``"cka"`` or ``"svcca(threshold=0.95)"``, or an instance; `simkit.list_indexes` names them.
    check_finite : bool
        Raise for nan and inf; without it their score is nan. Lazy arrays are never computed for this.
    flatten : bool
        Accept arrays of more than two dimensions and flatten each example: short for `simkit.examples` of both, which has
        the other rules for maps and tokens.
    tiles : {"exact", "sample"}, optional
        Evaluate kernels in blocks, in O(n) memory instead of O(n^2), for HSIC, CKA and their kin, also where `explain` says
        otherwise. The median distance of a bandwidth is then found exactly, or from a million random pairs. No gradients.
    ids : (ids of X, ids of Y), optional
        Labels of the examples of arrays that carry none, each a sequence of length n or None; checked in the same way.
    precision : {"tf32", "bf16"}, optional
        Let matrix products of float32 arrays of PyTorch and JAX round their operands to 10 or 7 bits, where the device is
        faster for it. By default they are in full precision, whatever the program has set for its own (TF32, autocast).
        docs/reference/precision.md has the errors that were measured. The backward pass of PyTorch runs as the program has
        set it.
    **parameters
        Parameters of the index, such as ``kernel="rbf(fraction=0.4)"``.

    Returns
    -------
    0-d array
        In the namespace, on the device and in the precision of the arrays. The range is that of the index. Gradients flow
        in PyTorch and JAX; ``jax.jit`` works. nan if a representation is constant.

    Raises
    ------
    InvalidArrayError
        Not a matrix, too few examples, different numbers of examples, labels that differ or repeat, or values that are not
        finite.
    InvalidDtypeError
        Complex numbers, objects, strings or dates.
    MixedArraysError
        Arrays of two frameworks or on two devices.
    UnsupportedError
        ``precision`` was given for arrays that have no such products.
    NeedsAllExamplesError
        ``tiles`` was given for an index that does not compare examples by a kernel.
    TooLargeError
        The work does not fit into memory; the message says what would.
    UnknownNameError, SpecError, PluginError
        The index cannot be made; see `simkit.get_index`.

    Warns
    -----
    ConstantInputWarning
        The score is nan: a representation is the same for all examples, or does not vary in a way that the index sees.
    ChanceWarning
        The score is hardly above that of layers that have nothing to do with each other (`SimilarityMatrix.chance`). Not
        where gradients are asked for, nor of values that are not there yet.

    Examples
    --------
    >>> import numpy as np, simkit
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 10))
    >>> Y = X @ rng.standard_normal((10, 20))
    >>> print(f"{simkit.compare(X, Y):.3f}")
    0.816
    >>> print(f"{simkit.compare(X, Y, 'cca'):.3f}")
    1.000
    """
    chosen = get_index(index, **parameters)
    sides, given = Sides.of_pair(X, Y)
    layers = matrices_of(given, flatten)
    with _modes(layers, precision):
        _, found = _scored(
            chosen, sides, given, layers, check_finite=check_finite, tiles=tiles, ids=ids, numpy=precision is None
        )
    return found.values


def pairwise(
    A: Mapping[str, Any] | Sequence[Any],
    B: Mapping[str, Any] | Sequence[Any] | None = None,
    index: str | Index[Any] | type[Index[Any]] = "cka",
    *,
    progress: bool | None = None,
    check_finite: bool = True,
    flatten: bool = False,
    tiles: Bandwidth | None = None,
    ids: Any = None,
    precision: Precision | None = None,
    **parameters: Any,
) -> SimilarityMatrix:
    """Similarity of every representation in `A` with every one in `B`.

    Each layer is prepared once, so L1 x L2 pairs cost L1 + L2 preparations and L1 * L2 cheap scores.

    Parameters
    ----------
    A, B : mapping of names to arrays, or sequence of arrays
        Layers, each of shape (n, p) with one n for all. ``B=None`` compares `A` with itself.
    index : str or Index
        As in `compare`.
    progress : bool, optional
        Show a progress bar; by default in terminals and notebooks. See `simkit.set_options`.
    check_finite, flatten, tiles, precision
        As in `compare`.
    ids : (ids of A, ids of B), optional
        As in `compare`, for all layers of a side. All layers that carry labels must carry the same, also within one side.
    **parameters
        Parameters of the index.

    Returns
    -------
    SimilarityMatrix
        ``values[i, j]`` is the similarity of the i-th layer of `A` (rows) and the j-th of `B` (columns), ``chance[i, j]``
        its mean over all orders of the examples of one of them, if the index knows it (else `simkit.inference.chance`).
        What `simkit.torch.activations` and `simkit.features.open_activations` know of the layers is in its ``details``.

    Raises
    ------
    SimkitError
        As `compare`; messages name the layer.

    Warns
    -----
    ConstantInputWarning, AccuracyWarning
        Scores are nan or infinite.
    ChanceWarning
        The scores hardly rise above chance; the message says what to do.
    DataWarning
        The layers of `A` and `B` say that they are of different inputs.

    Examples
    --------
    >>> import numpy as np, simkit
    >>> rng = np.random.default_rng(0)
    >>> layers = {"conv1": rng.standard_normal((50, 8)), "conv2": rng.standard_normal((50, 4))}
    >>> simkit.pairwise(layers).to_numpy().round(3)
    array([[1.   , 0.098],
           [0.098, 1.   ]])
    """
    chosen = get_index(index, **parameters)
    sides_details = sides_of(A, B)
    check_same_data(sides_details)
    sides, given = Sides.of_layers(A, B)
    layers = matrices_of(given, flatten)
    with _modes(layers, precision):
        used, found = _scored(
            chosen,
            sides,
            given,
            layers,
            check_finite=check_finite,
            tiles=tiles,
            ids=ids,
            numpy=precision is None,
            progress=progress,
        )
    n, details = next(iter(layers.values())).shape[0], origin(used, layers.values()) | sides_details
    return SimilarityMatrix(found.values, sides.rows, sides.columns, str(chosen), n, found.chance, details)


def explain(
    X: Any,
    Y: Any = None,
    index: str | Index[Any] | type[Index[Any]] = "cka",
    *,
    flatten: bool = False,
    tiles: Bandwidth | None = None,
    batches: bool = False,
    **parameters: Any,
) -> Plan:
    """How a comparison will be computed, without computing it: the route, its reason, its memory and its operations.

    Parameters
    ----------
    X, Y : array, or mapping of names to arrays, or sequence of arrays
        As for `compare` or `pairwise`, also Dask arrays; no value is read. ``Y=None`` compares layers with themselves.
    index, flatten, tiles, **parameters
        As in `compare`.
    batches : bool
        As if the arrays were a batch of `simkit.stream`.

    Returns
    -------
    Plan
        Print it. Attributes: the ``statistic`` that the index is computed from, the ``form`` of the work and the ``reason``,
        ``bytes`` that are taken at one time besides the layers, and ``operations`` (multiplications and additions).

    Raises
    ------
    SimkitError
        As `compare`, of what can be said without reading values: among others `NeedsAllExamplesError`, if the index cannot
        be computed from batches or chunks, and `TooLargeError`, if it cannot fit.

    Examples
    --------
    >>> import numpy as np, simkit
    >>> X, Y = np.zeros((1_000, 64)), np.zeros((1_000, 128))
    >>> print(simkit.explain(X, Y))
    cka
      route       products of features, from arrays in memory (Layers)
      because     for the linear kernel they take less time than Gram matrices at this n
      memory      1.5 MB besides the layers
      operations  1.8e+07 multiply-adds
    """
    chosen = get_index(index, **parameters)
    sides, given = Sides.of_layers(X, Y) if are_layers(X) else Sides.of_pair(X, Y)
    layers = matrices_of(given, flatten)
    check_alignment(sides, given, layers)
    source: Source = "batches" if batches else "chunks" if is_dask(next(iter(layers.values()))) else "memory"
    question = question_of(chosen, sides, layers, source, blocks=tiles is not None)
    found = plan(question)
    if batches:
        from simkit.scale.stream import check_state_fits

        check_state_fits(chosen, [x.shape[1] for x in layers.values()])
    else:
        check_fits(question, found, partial(available_to, next(iter(layers.values()))))
    return found


def matrices_of(given: Mapping[str, Any], flatten: bool) -> dict[str, Array]:
    """The layers as matrices of one framework; no value is read."""
    layers = {name: as_matrix(x, name, flatten=flatten) for name, x in given.items()}
    first_name, first = next(iter(layers.items()))
    for name, x in layers.items():
        check_same_framework(first, x, (first_name, name))
        if is_dask(x) and math.isnan(x.shape[1]):
            raise InvalidArrayError(f"{name} has an unknown number of features. Call .compute_chunk_sizes() on it first.")
    return layers


def _modes(layers: Mapping[str, Array], precision: Precision | None) -> AbstractContextManager[Any]:
    """The arithmetic that the caller asks for."""
    for name, x in layers.items():
        check_precision(precision, x, name)
    return own_modes(next(iter(layers.values())), precision)


def _scored(
    index: Index[Any],
    sides: Sides,
    given: Mapping[str, Any],
    layers: dict[str, Array],
    *,
    check_finite: bool,
    tiles: Bandwidth | None,
    ids: Any,
    numpy: bool = True,
    progress: bool | None = False,
) -> tuple[Plan, Scores]:
    """Check, plan, produce the statistic, score."""
    rounding = {name: rounding_of(x) for name, x in given.items()}
    check_examples(sides, given, layers, index.facts.min_examples, check_finite=False, ids=ids)
    first = next(iter(layers.values()))
    if tiles is not None:
        check_choice("compare", "tiles", tiles, ("exact", "sample"))
        if any(is_lazy(x) for x in layers.values()):
            raise InvalidArrayError(
                f"tiles={tiles!r} is for arrays in memory whose values are known; Dask arrays are taken tile by tile anyway."
            )
    source: Source = "chunks" if is_dask(first) else "memory"
    question = question_of(index, sides, layers, source, blocks=tiles is not None, numpy=numpy)
    chosen = plan(question)
    if source == "chunks":
        from simkit.scale import dask

        return chosen, dask.scored(index, question, chosen, sides, layers, rounding=rounding, check_finite=check_finite)
    check_fits(question, chosen, partial(available_to, first))
    whole = dict(zip(layers, in_one_precision(*layers.values()), strict=True))
    steps = 2 * len(layers) if chosen.statistic is KernelSums else len(layers) + len(sides.rows)
    with track(steps, index, False if question.lazy else progress) as advance:
        own = {name: to_numpy(x) for name, x in whole.items()} if _is_for_numpy(question, chosen, first) else whole
        statistic = None
        if chosen.in_numpy:
            # What is not finite shows in the sums.
            values, _ = ValueCheck.of(own, rounding=rounding, finite=True, kept=True)
            statistic = _linear(chosen, own, values, sides, advance)
        if statistic is None:
            own = whole if chosen.options.get("tall") else own  # by the layers themselves, which may need their library
            for name, x in layers.items():
                check_matrix(x, name, check_finite=check_finite)
            if question.lazy:
                values = ValueCheck.assumed(own, rounding)
            else:
                values, _ = ValueCheck.of(own, rounding=rounding, finite=check_finite, kept=True)
            statistic = _statistic(chosen, own, values, bandwidth=tiles or "exact", advance=advance)
        # Of a pair chance is only warned of, and that not of a loss, nor of what has no value yet.
        read = sides.kind != "pair" or (not (question.lazy or question.whole) and is_warned_of(index))
        found = scored(index, statistic, sides, by_chance=read)
    if own is not whole:
        like = next(iter(whole.values()))
        found = Scores(*(x if x is None else constant_of(x, like, namespace_of(like)) for x in found))
    return chosen, found


def check_examples(
    sides: Sides,
    given: Mapping[str, Any],
    layers: Mapping[str, Array],
    least: int,
    *,
    check_finite: bool = True,
    ids: Any = None,
) -> None:
    """Raise unless all layers are of the same examples, `least` of them or more, and no value is missing."""
    check_alignment(sides, given, layers, ids)
    for name, x in layers.items():
        check_matrix(x, name, min_examples=least, check_finite=check_finite)


def check_alignment(sides: Sides, given: Mapping[str, Any], layers: Mapping[str, Array], ids: Any = None) -> None:
    """Raise unless row i of all layers is the same example, as far as labels and shapes say; no value is read."""
    check_labels(*sides.by_side(given), ids=ids)
    first_name, first = next(iter(layers.items()))
    for name, x in layers.items():
        check_same_examples(first, x, (first_name, name))


def question_of(
    index: Index[Any],
    sides: Sides,
    layers: Mapping[str, Array],
    source: Source,
    *,
    blocks: bool = False,
    whole: bool = False,
    numpy: bool = True,
) -> Question:
    """What the planner is asked of these layers; gradients ask for `whole` layers by themselves.

    Without `numpy` products are those of the library of the arrays.
    """
    one, lazy = next(iter(layers.values())), any(is_lazy(x) for x in layers.values())
    rows, *others = (tuple(x.shape[1] for x in side.values()) for side in sides.by_side(layers))
    columns = others[0] if others else None
    if source == "chunks":
        different = {x.name: x.shape[1] for x in layers.values()}
        if len(different) < len(layers):  # one that stands in several places is read, and held, once
            rows, columns = tuple(different.values()), None
    return Question(
        index,
        source,
        None if source == "batches" else one.shape[0],
        rows,
        columns,
        itemsize=4 if all(dtype_name(x) == "float32" for x in layers.values()) else 8,
        lazy=lazy,
        whole=whole or (not lazy and any(wants_gradients(x) for x in layers.values())),
        blocks=blocks,
        accelerator=not (lazy or is_on_host(one)),
        numpy=numpy and not lazy and all(is_viewable(x) for x in layers.values()),
    )


def _is_for_numpy(question: Question, chosen: Plan, first: Array) -> bool:
    """Whether NumPy does the work of another library.

    What lies in the memory of the host is not copied, is written over, and works in threads. A kernel from outside may be
    written for one library.
    """
    if isinstance(first, np.ndarray) or chosen.statistic is not KernelSums or not question.numpy or question.accelerator:
        return False
    return not is_outside(type(kernel_estimator_of(chosen.index).kernel))


def _linear(
    chosen: Plan, layers: Mapping[str, np.ndarray], values: ValueCheck, sides: Sides, advance: Callable[[], None]
) -> Statistic | None:
    """What the plan says of a linear kernel in the memory of the host; None if the values ask for more care."""
    estimator = kernel_estimator_of(chosen.index).estimator
    return linear_sums(layers, values, sides, estimator=estimator, advance=advance, **chosen.options)


def _statistic(
    chosen: Plan,
    layers: Mapping[str, Array],
    values: ValueCheck,
    *,
    bandwidth: Bandwidth,
    advance: Callable[[], None],
) -> Statistic:
    """What the plan says, of arrays in memory of any library and any values."""
    if chosen.statistic is not KernelSums or chosen.options.get("tall"):
        return Layers(values, layers, advance=advance, **chosen.options)
    kernel = kernel_estimator_of(chosen.index).kernel
    return blocks.kernel_sums(kernel, layers, values, bandwidth=bandwidth, advance=advance)
