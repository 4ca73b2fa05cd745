"""How a layer sees its examples: dissimilarities or kernels of all pairs of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simkit.arrays import as_matrix, check_matrix, check_same_examples, is_dask, to_numpy
from simkit.errors import InvalidArrayError
from simkit.kernels._of_distances import evaluated
from simkit.plot.figures import grid_of, inches_of, label, titled, width_of
from simkit.registry import get_index, get_kernel
from simkit.representation import Representation
from simkit.spec import check_choice, check_whole
from simkit.statistics.hsic_sums import features_for

__all__ = ["rdms"]

_MOST = 4000  # examples
_PANEL = 2.4  # inches
_DISSIMILARITIES = ("correlation", "euclidean", "squared_euclidean", "cosine", "mahalanobis")


def rdms(
    layers: Mapping[str, Any],
    ax: Any = None,
    *,
    dissimilarity: str = "correlation",
    kernel: str | None = None,
    groups: Sequence[Any] | None = None,
    columns: int = 4,
    **options: Any,
) -> np.ndarray:
    """Draw the representational dissimilarity matrix of each layer, examples by examples; or its kernel (Gram) matrix.

    Parameters
    ----------
    layers : mapping of str to array, shape (n, p)
        Activations, of any library that simkit knows.
    ax : array of matplotlib Axes, optional
        One for each layer; by default a new figure.
    dissimilarity : {"correlation", "euclidean", "squared_euclidean", "cosine", "mahalanobis"}
        As in the index `rsa`.
    kernel : str, optional
        Draw this kernel instead, such as ``"linear"`` or ``"rbf(fraction=0.4)"``, of features that are centred where the
        kernel asks for that: what CKA compares, before it is centred.
    groups : sequence of n labels, optional
        Examples with one label are put beside each other, with lines between the groups.
    columns : int
        Panels in a row.
    **options
        For ``Axes.imshow``.

    Returns
    -------
    ndarray of matplotlib Axes, shape (layers,)

    Raises
    ------
    InvalidArrayError
        Layers have different numbers of examples, or more than 4000, or `groups` has another length.

    Notes
    -----
    Each panel has its own colour bar, since layers differ in scale. Bright is alike: dissimilarities are drawn on a
    reversed map.

    References
    ----------
    Kriegeskorte, Mur & Bandettini 2008.
    """
    check_choice("rdms", "dissimilarity", dissimilarity, _DISSIMILARITIES)
    check_whole("rdms", "columns", columns, at_least=1)
    if not isinstance(layers, Mapping) or not layers:
        raise InvalidArrayError("rdms draws layers in a dictionary: names to arrays of examples by units.")
    n = None
    found = {}
    for name, layer in layers.items():
        called = f"layers[{name!r}]"
        values = as_matrix(layer, called)
        check_same_examples(values, values, (called, called))  # how many there are is known
        check_matrix(values, called)
        if n is not None and values.shape[0] != n:
            raise InvalidArrayError(
                f"rdms: layer {name!r} has {values.shape[0]} examples, the first has {n}; they must be the same."
            )
        n = int(values.shape[0])
        if n > _MOST:
            raise InvalidArrayError(
                f"rdms draws pairs of at most {_MOST} examples; layer {name!r} has {n}. Draw some of them: layer[:{_MOST}]."
            )
        found[str(name)] = to_numpy(values) if is_dask(values) else values
    if groups is not None and len(groups) != n:
        raise InvalidArrayError(f"rdms: groups has {len(groups)} labels, but there are {n} examples.")
    order, borders, middles, told = _sorted(groups, n or 0)
    room = width_of([text[:20] for text in told])
    grid = grid_of(ax, len(found), columns, (_PANEL + 0.9 + room, _PANEL + 0.5))
    axes = grid.ravel()[: len(found)]
    from simkit.plot import cells

    for one, (name, layer) in zip(axes, found.items(), strict=True):
        values = _pairs(Representation(layer, name=name), dissimilarity, kernel)[np.ix_(order, order)]
        inches = (_PANEL, _PANEL) if ax is None else inches_of(one)
        style: dict[str, Any] = {"cmap": "magma" if kernel else "magma_r", "interpolation": "antialiased", "origin": "upper"}
        image = one.imshow(values, **style | options)
        one.grid(False)
        one.tick_params(length=0)
        for border in borders:
            one.axhline(border, color="white", linewidth=0.8)
            one.axvline(border, color="white", linewidth=0.8)
        one.set_xticks([])
        if told:
            one.set_yticks(middles, [label(text, 20) for text in told], fontsize=8)
        else:
            one.set_yticks([])
            one.set_ylabel(f"{n} examples", fontsize=8)
        one.set_title(label(name), fontsize=9)
        what = f"{kernel} kernel" if kernel else {"correlation": "1 - correlation", "cosine": "1 - cosine"}.get(
            dissimilarity, f"{dissimilarity.replace('_', ' ')} distance"
        )  # fmt: skip
        bar = cells.colour_bar(image, one, what, values, inches)
        bar.set_label(titled(what, 2.2, 8), fontsize=8)
    return axes


def _pairs(layer: Representation, dissimilarity: str, kernel: str | None) -> np.ndarray:
    """The matrix of one layer, in float64 on the host."""
    if kernel is None:
        index: Any = get_index("rsa", dissimilarity=dissimilarity)
        matrix = index.dissimilarities(layer)
    else:
        chosen = get_kernel(kernel)
        _, matrix = evaluated(chosen, features_for(chosen, layer))
    return np.asarray(to_numpy(matrix), dtype=np.float64)


def _sorted(groups: Sequence[Any] | None, n: int) -> tuple[np.ndarray, list[float], list[float], list[str]]:
    """The order of the examples, the places between groups, and the middle and the name of each."""
    if groups is None:
        return np.arange(n), [], [], []
    labels = list(groups)
    try:
        kinds = sorted(set(labels))
    except TypeError:  # of several kinds
        kinds = list(dict.fromkeys(labels))
    number = np.array([kinds.index(one) for one in labels])
    order = np.argsort(number, kind="stable")
    sizes = np.bincount(number, minlength=len(kinds))
    ends = np.cumsum(sizes)
    return (
        order,
        [float(end) - 0.5 for end in ends[:-1]],
        [float(end - size / 2 - 0.5) for end, size in zip(ends, sizes, strict=True)],
        list(map(str, kinds)),
    )
