"""Many networks as points on a map, as far apart as they are different."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.plot.figures import COLOURS, MARKERS, axes_of, label, names_of, plain, set_title
from simkit.plot.networks import distances_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simkit.matrix import SimilarityMatrix

__all__ = ["classical_scaling", "mds"]

_MOST_NAMES = 60


def classical_scaling(distances: np.ndarray) -> tuple[np.ndarray, float]:
    """Points in the plane whose distances are near those given, and how much of these they show.

    Parameters
    ----------
    distances : ndarray, shape (m, m)

    Returns
    -------
    points : ndarray, shape (m, 2)
        U_2 S_2^(1/2) of the two largest eigenvalues of B = -H D^2 H / 2, their signs such that the entry of largest absolute
        value of each axis is positive.
    share : float
        The sum of these two eigenvalues (not below 0) over the sum of the absolute values of all, in [0, 1].

    References
    ----------
    Torgerson 1952; Mardia, Kent & Bibby 1979, Multivariate analysis, sections 14.2 and 14.4.
    """
    squares = distances**2
    b = -0.5 * (squares - squares.mean(axis=0) - squares.mean(axis=1)[:, None] + squares.mean())
    eigenvalues, vectors = np.linalg.eigh((b + b.T) / 2)
    leading = np.maximum(eigenvalues[::-1][:2], 0.0)
    points = vectors[:, ::-1][:, :2] * np.sqrt(leading)
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    furthest = np.take_along_axis(points, np.abs(points).argmax(axis=0)[None], axis=0)
    total = np.abs(eigenvalues).sum()
    return points * np.where(furthest < 0, -1.0, 1.0), float(leading.sum() / total) if total else 1.0


def mds(
    matrix: SimilarityMatrix,
    ax: Axes | None = None,
    *,
    groups: Sequence[str] | None = None,
    title: str | None = None,
    **options: Any,
) -> Axes:
    """Draw many networks, or layers, as points in the plane: classical multidimensional scaling of their distances.

    Parameters
    ----------
    matrix : SimilarityMatrix
        Of a metric, such as ``"procrustes(summary=angular)"``, of some networks with themselves:
        ``simkit.pairwise(networks, index=...)``, where ``networks`` has one layer of each network by the network's name.
    ax : matplotlib Axes, optional
    groups : sequence of str, optional
        What each network belongs to: colours and markers.
    title : str, optional
        By default the spec, the number of examples, and the share of the distances that two dimensions show.
    **options
        For ``Axes.scatter``.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    SpecError
        The index is no metric.
    InvalidArrayError
        Rows and columns differ, or a distance is undefined.

    Notes
    -----
    The share in the title is the sum of the two largest eigenvalues of the doubly centred squared distances over the sum of
    the absolute values of all. Of a small share the map says little. Nothing is drawn at random; the orientation of the map
    has no meaning.

    References
    ----------
    Torgerson 1952, Multidimensional scaling: I. Theory and method; Williams et al. 2021, Generalized shape metrics on neural
    representations.
    """
    distances = distances_of(matrix, "mds")
    count = len(distances)
    if groups is not None and len(groups) != count:
        raise InvalidArrayError(f"mds: groups has {len(groups)} labels, but there are {count} networks.")
    points, share = classical_scaling(distances)
    ax = plain(axes_of(ax, 5.4, 4.4))
    kinds = list(dict.fromkeys(map(str, groups))) if groups is not None else [""]
    of = np.array([kinds.index(str(group)) for group in groups]) if groups is not None else np.zeros(count, dtype=int)
    for kind, name in enumerate(kinds):
        mine = points[of == kind]
        style: dict[str, Any] = {
            "color": COLOURS[kind % len(COLOURS)],
            "marker": MARKERS[kind % len(MARKERS)],
            "s": 36,
            "label": label(name) if name else None,
        }
        ax.scatter(mine[:, 0], mine[:, 1], **style | options)
    if count <= _MOST_NAMES:
        # Groups that lie close have their names on opposite sides.
        for (x, y), name, kind in zip(points, names_of(matrix.rows), of, strict=True):
            outwards = 1 if kind % 2 == 0 else -1
            text = ax.annotate(
                label(name, 24), (x, y), xytext=(6 * outwards, 3), textcoords="offset points", fontsize=8,
                ha="left" if outwards > 0 else "right",
            )  # fmt: skip
            text.set_in_layout(False)
    if groups is not None:
        ax.legend(frameon=False, fontsize=8).set_in_layout(False)
    ax.set_aspect("equal", adjustable="datalim")
    ax.margins(0.18)
    ax.set(xlabel="first axis of scaling", ylabel="second axis")
    ax.tick_params(labelsize=8)
    set_title(ax, title, [matrix.title, f"{share:.0%} of the distances shown"], 4.0)
    return ax
