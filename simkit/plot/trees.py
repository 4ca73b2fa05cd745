"""Many networks as a tree: which are alike, and which groups of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from simkit.optional import needed_for
from simkit.plot.figures import axes_of, inches_of, label, names_of, plain, set_title, titled, width_of
from simkit.plot.networks import distances_of
from simkit.plot.scales import meaning
from simkit.spec import check_choice

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simkit.matrix import SimilarityMatrix

__all__ = ["dendrogram"]

_LEAF, _LONGEST = 0.24, 9.0  # inches: of a leaf, of all


def dendrogram(
    matrix: SimilarityMatrix,
    ax: Axes | None = None,
    *,
    method: Literal["single", "complete", "average", "weighted"] = "average",
    title: str | None = None,
    **options: Any,
) -> Axes:
    """Draw many networks, or layers, as a tree, by hierarchical clustering of their distances with SciPy.

    Parameters
    ----------
    matrix : SimilarityMatrix
        Of a metric, as in `mds`.
    ax : matplotlib Axes, optional
    method : {"single", "complete", "average", "weighted"}
        What the distance of two groups is: the smallest, the largest or the mean distance of their members; ``"weighted"``
        gives both halves of a group the same weight. (Ward's and centroid linkage need Euclidean distances, which these are
        not.)
    title : str, optional
    **options
        For ``scipy.cluster.hierarchy.dendrogram``.

    Returns
    -------
    matplotlib Axes
        Names on the left from top to bottom, distances along the x-axis.

    Raises
    ------
    ImportError
        SciPy is not installed.
    SpecError
        The index is no metric, or there is no such method.
    InvalidArrayError
        Rows and columns differ, or a distance is undefined.

    References
    ----------
    Müllner 2011, Modern hierarchical, agglomerative clustering algorithms.
    """
    check_choice("dendrogram", "method", method, ("single", "complete", "average", "weighted"))
    distances = distances_of(matrix, "dendrogram")
    with needed_for("dendrogram", "SciPy", "simkit-similarity[plot]"):
        from scipy.cluster import hierarchy
        from scipy.spatial.distance import squareform
    names = [label(name) for name in names_of(matrix.rows)]
    height = min(_LONGEST, max(1.6, _LEAF * len(names)))
    drawn = axes_of(ax, 4.2 + width_of(names), height + 1.0)
    height = height if ax is None else inches_of(drawn)[1]
    size = min(8.0, 72 * height / len(names) / 1.15)
    shown: dict[str, Any] = {
        "orientation": "left",
        "labels": names,
        "leaf_font_size": size,
        "link_color_func": lambda link: "0.25",
    }
    linkage = hierarchy.linkage(squareform(distances, checks=False), method, optimal_ordering=len(names) <= 200)
    found = hierarchy.dendrogram(linkage, ax=drawn, **shown | options)
    plain(drawn)
    drawn.spines["left"].set_visible(False)
    if size < 4 and "labels" not in options:  # too many to be read
        drawn.set_yticks([])
        drawn.set_ylabel(f"{len(found['leaves'])} networks")
    drawn.tick_params(axis="x", labelsize=8)
    drawn.set_xlabel(titled(meaning(matrix.index), 3.6))
    set_title(drawn, title, [f"{matrix.title}, {method} linkage"], 3.6)
    return drawn
