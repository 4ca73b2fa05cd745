"""The two questions that users ask: how similar are X and Y, and how similar are all these layers?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simkit.arrays import (
    Array,
    Channels,
    Maps,
    as_examples,
    as_matrix,
    as_pair,
    check_one_rule,
    check_same_examples,
    check_same_framework,
    in_one_precision,
    is_constant,
    is_dask,
    is_lazy,
    is_undefined,
    namespace_of,
    rounding_of,
)
from simkit.errors import InvalidArrayError
from simkit.feasibility import check_comparison_fits, check_tiles_fit
from simkit.guard import in_library
from simkit.index import Index
from simkit.labels import check_labels
from simkit.matrix import SimilarityMatrix
from simkit.progress import track
from simkit.registry import get_index
from simkit.representation import Representation
from simkit.spec import check_choice
from simkit.undefined import in_silence, out_of_range, warn_if_not_finite

if TYPE_CHECKING:
    from simkit.statistics.median_distance import Bandwidth

__all__ = ["compare", "pairwise"]


def compare(
    X: Any,
    Y: Any,
    index: str | Index[Any] | type[Index[Any]] = "cka",
    *,
    check_finite: bool = True,
    flatten: bool = False,
    maps: Maps | None = None,
    channels: Channels | None = None,
    tiles: Bandwidth | None = None,
    ids: Any = None,
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
        Accept arrays of more than two dimensions and flatten each example: short for ``maps="flatten"``.
    maps : {"flatten", "mean", "spatial"}, optional
        How convolution maps become features: all positions and channels; the mean over positions; or positions as examples.
    channels : {"first", "last"}, optional
        Where the channel axis is, for ``maps="mean"`` and ``"spatial"``.
        One rule is for layers of one number of dimensions; matrices may stand beside maps.
    tiles : {"exact", "sample"}, optional
        Evaluate kernels tile by tile, in O(n) memory instead of O(n^2), for HSIC, CKA and their kin. The median distance of
        a bandwidth is then found exactly, or from a million random pairs: see `simkit.statistics.median_distance`. No
        gradients.
    ids : (ids of X, ids of Y), optional
        Labels of the examples of arrays that carry none, each a sequence of length n or None; checked in the same way.
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
        Not a matrix, too few examples, different numbers of examples, labels that differ or repeat, one rule for maps of
        different rank, or values that are not finite.
    InvalidDtypeError
        Complex numbers, objects, strings or dates.
    MixedArraysError
        Arrays of two frameworks or on two devices.
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
    if tiles is not None:
        rule: dict[str, Any] = {"flatten": flatten, "maps": maps, "channels": channels, "ids": ids}
        x, y = as_pair(X, Y, min_examples=chosen.facts.min_examples, check_finite=check_finite, **rule)
        return _by_tiles(chosen, {"X": x, "Y": y}, ["X"], ["Y"], tiles)[0, 0]
    return chosen(X, Y, check_finite=check_finite, flatten=flatten, maps=maps, channels=channels, ids=ids)


def pairwise(
    A: Mapping[str, Any] | Sequence[Any],
    B: Mapping[str, Any] | Sequence[Any] | None = None,
    index: str | Index[Any] | type[Index[Any]] = "cka",
    *,
    progress: bool | None = None,
    check_finite: bool = True,
    flatten: bool = False,
    maps: Maps | None = None,
    channels: Channels | None = None,
    tiles: Bandwidth | None = None,
    ids: Any = None,
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
        Show a progress bar; by default if standard error is a terminal and Rich is installed.
    check_finite, flatten, maps, channels, tiles
        As in `compare`.
    ids : (ids of A, ids of B), optional
        As in `compare`, for all layers of a side. All layers that carry labels must carry the same, also within one side.
    **parameters
        Parameters of the index.

    Returns
    -------
    SimilarityMatrix
        ``values[i, j]`` is the similarity of the i-th layer of `A` (rows) and the j-th of `B` (columns).

    Raises
    ------
    SimkitError
        As `compare`; messages name the layer.

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
    rule: dict[str, Any] = {"flatten": flatten, "maps": maps, "channels": channels}
    sides = [_named(A, "A")] if B is None else [_named(A, "A"), _named(B, "B")]
    given = [{f"{side}[{name!r}]": x for name, x in layers.items()} for side, layers in zip("AB", sides, strict=False)]
    everything = {name: as_matrix(x, name, **rule) for layers in given for name, x in layers.items()}
    rounding = {name: rounding_of(x) for layers in given for name, x in layers.items()}
    rows = {name: everything[f"A[{name!r}]"] for name in sides[0]}
    columns = rows if B is None else {name: everything[f"B[{name!r}]"] for name in sides[1]}
    check_one_rule({name: x for layers in given for name, x in layers.items()}, maps)
    check_labels(*given, ids=ids)
    first_name, first = next(iter(everything.items()))
    for name, x in everything.items():
        check_same_framework(first, x, (first_name, name))
        check_same_examples(first, x, (first_name, name))
    for name, x in everything.items():
        as_examples(x, name, min_examples=chosen.facts.min_examples, check_finite=check_finite)
    if tiles is not None:
        values = _by_tiles(chosen, everything, list(given[0]), list(given[-1]), tiles)
        return SimilarityMatrix(values, tuple(rows), tuple(columns), str(chosen), first.shape[0])
    if is_dask(first):
        from simkit.scale import dask

        values = dask.pairwise(chosen, rows, None if B is None else columns, rounding=rounding, check_finite=check_finite)
        return SimilarityMatrix(values, tuple(rows), tuple(columns), str(chosen), first.shape[0])
    check_comparison_fits(chosen, list(rows.values()), None if B is None else list(columns.values()))
    matrices = in_one_precision(*everything.values())
    rows = dict(zip(rows, matrices[: len(rows)], strict=True))
    columns = rows if B is None else dict(zip(columns, matrices[len(rows) :], strict=True))
    everything = dict(zip(everything, matrices, strict=True))
    undefined = {name for name, x in everything.items() if is_undefined(x, checked=check_finite)}

    xp = namespace_of(first)
    width = sum(x.shape[1] for x in everything.values())
    with track(len(everything) + len(rows), f"{chosen}", False if is_lazy(first) else progress) as advance:

        def prepare(layers: dict[str, Array], side: str) -> list[Any]:
            states = []
            for name, x in layers.items():
                label = f"{side}[{name!r}]"
                if label not in undefined:
                    layer = Representation(x, width, label, rounding=rounding[label], xp=xp)
                    states.append(chosen.prepare(layer))
                advance()
            return states

        with in_silence(first):
            left = prepare(rows, "A")
            right = left if B is None else prepare(columns, "B")
            values = in_library(chosen, chosen.scores(left, right, advance), first) if left and right else None
    row_defined, column_defined = ([name not in undefined for name in side] for side in (given[0], given[-1]))
    values = _place(values, row_defined, column_defined, first)
    with in_silence(first):
        values = xp.astype(values, xp.result_type(*(x.dtype for x in everything.values())), copy=False)
    if is_lazy(values):
        constant = [xp.stack([is_constant(x) for x in side.values()]) for side in (rows, columns)]
        values = xp.where(xp.logical_or(constant[0][:, None], constant[1][None, :]), float("nan"), values)
    elif not bool(xp.all(xp.isfinite(values))):
        extreme = out_of_range(everything.items())
        warn_if_not_finite(chosen, values, list(given[0]), list(given[-1]), undefined=undefined, extreme=extreme)
    return SimilarityMatrix(values, tuple(rows), tuple(columns), str(chosen), first.shape[0])


def _by_tiles(
    index: Index[Any], layers: Mapping[str, Array], rows: Sequence[str], columns: Sequence[str], tiles: Bandwidth
) -> Array:
    from simkit.scale.blocks import score_tiles

    check_choice("compare", "tiles", tiles, ("exact", "sample"))
    if any(is_lazy(x) for x in layers.values()):
        raise InvalidArrayError(
            f"tiles={tiles!r} is for arrays in memory whose values are known; Dask arrays are taken tile by tile anyway."
        )
    check_tiles_fit([layers[name] for name in dict.fromkeys((*rows, *columns))])
    return score_tiles(index, layers, rows, columns, bandwidth=tiles)


def _place(block: Array | None, rows: list[bool], columns: list[bool], like: Array) -> Array:
    """`block` spread over the rows and columns that are True, nan elsewhere."""
    if block is not None and all(rows) and all(columns):
        return block
    xp = namespace_of(like)
    nan = xp.sum(like[0, :]) * float("nan")
    if block is None:
        return xp.stack([xp.stack([nan] * len(columns))] * len(rows))
    nan = xp.astype(nan, block.dtype)
    lines, i = [], 0
    for row in rows:
        positions = iter(range(block.shape[1]))
        lines.append(xp.stack([block[i, next(positions)] if row and column else nan for column in columns]))
        i += row
    return xp.stack(lines)


def _named(layers: Any, side: str) -> dict[str, Any]:
    """The layers of a side as they were given, by name."""
    if isinstance(layers, Mapping):
        named = {str(name): x for name, x in layers.items()}
        if len(named) != len(layers):
            raise InvalidArrayError(f"{side} has layers whose names are equal as strings: {', '.join(map(repr, layers))}.")
    elif isinstance(layers, Iterable) and not hasattr(layers, "shape") and not isinstance(layers, str):
        named = {str(i): x for i, x in enumerate(layers)}
    else:
        raise InvalidArrayError(
            f"{side} is a {type(layers).__name__}; expected a mapping of names to arrays or a list of arrays. "
            "For two arrays use simkit.compare."
        )
    if not named:
        raise InvalidArrayError(f"{side} is empty; expected at least one layer.")
    return named
