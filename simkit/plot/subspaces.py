"""The subspace that two layers share: what the Gram matrix of one does to the eigenvectors of the other (Figure 8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.plot.figures import COLOURS, grid_of, label, plain

if TYPE_CHECKING:
    from simkit.analysis import SharedSubspace

__all__ = ["shared_subspace"]

_NEEDED = ("eigenvalues", "scaling", "cosines", "cka", "effective_rank")


def shared_subspace(
    results: SharedSubspace | Mapping[str, SharedSubspace], ax: Any = None, *, compact: bool = False, **options: Any
) -> np.ndarray:
    """Draw Figure 8 of the paper: how long YY' makes each eigenvector of XX', and, on the right, how it turns it.

    Where the dots on the left follow the line, which shows the eigenvalues of XX', and those on the right are near 1,
    the two layers share that direction.

    Parameters
    ----------
    results : SharedSubspace, or mapping of names of layers to them
        What `simkit.analysis.shared_subspace` gave.
    ax : array of matplotlib Axes, optional
        Two for each result; by default a new figure.
    compact : bool
        Leave out what is said of each result, and name the axes at the margin only.
    **options
        For ``Axes.plot``, of the dots.

    Returns
    -------
    ndarray of matplotlib Axes, shape (results, 2)

    Raises
    ------
    InvalidArrayError
        Something is no SharedSubspace, or there is none.

    References
    ----------
    Kornblith et al. 2019, section 6.4 and Figure 8.
    """
    found = dict(results) if isinstance(results, Mapping) else {"": results}
    for name, result in found.items():
        if not all(hasattr(result, needed) for needed in _NEEDED):
            raise InvalidArrayError(
                "shared_subspace draws what simkit.analysis.shared_subspace(X, Y) gives, or a dictionary of them; got "
                f"{type(result).__name__}{f' for {name!r}' if name else ''}."
            )
    if not found:
        raise InvalidArrayError("shared_subspace: there are no results to draw.")
    axes = grid_of(ax, 2 * len(found), 2, (3.6, 2.0 if compact else 2.8)).reshape(len(found), 2)
    for row, (name, result) in enumerate(found.items()):
        first, last = row == 0 or not compact, row == len(found) - 1 or not compact
        _draw(axes[row], label(str(name)), result, first=first, last=last, compact=compact, options=options)
    return axes


def _draw(
    pair: np.ndarray, name: str, result: Any, *, first: bool, last: bool, compact: bool, options: dict[str, Any]
) -> None:
    left, right = map(plain, pair)
    places = np.arange(1, len(result.eigenvalues) + 1)
    dots: dict[str, Any] = {"color": COLOURS[0], "markersize": 3 if len(places) > 100 else 4} | options
    left.loglog(places, result.eigenvalues, color=COLOURS[1], linewidth=1.4, label="|XX'u|, the eigenvalues")
    left.loglog(places, np.where(result.scaling > 0, result.scaling, np.nan), ".", **{"label": "|YY'u|"} | dots)
    right.semilogx(places, result.cosines, ".", **dots)
    right.set_ylim(-0.02, 1.05)
    if first:
        left.legend(frameon=False, fontsize=8)
    if compact:
        left.set_ylabel(name, fontsize=9)
        if first:
            left.set_title("relative length", fontsize=9)
            right.set_title("cosine of u and YY'u", fontsize=9)
    else:
        left.set_ylabel("length, relative\nto |XX'| and |YY'|", fontsize=9)
        right.set_ylabel("cosine of u and YY'u", fontsize=9)
        left.set_title(name, fontsize=9)
        told = f"CKA {result.cka:.3f}, effective rank {result.effective_rank:.1f}, n = {result.n}"
        right.set_title(told, fontsize=9)
    if last:
        for one in (left, right):
            one.set_xlabel("eigenvector of XX'", fontsize=9)
    for one in (left, right):
        one.tick_params(labelsize=8)
