"""Chance: what a score is on average over all orders of the examples of one layer.

Layers that have nothing to do with each other do not score 0. If the examples of one are put into any other order they have
nothing to do with those of the other, and the mean over all n! orders is what their scores, at these widths and with these
spectra, are to be compared with. For Gram matrices K and L, centred to HKH and HLH, and a permutation matrix P

    mean of <HKH, P HLH P'> = tr(HKH) tr(HLH) / (n - 1)

since an entry on the diagonal meets every other one equally often, one off the diagonal too, and all entries add up to 0
(Kazi-Aoual et al. 1995, for the RV coefficient). No norm depends on the order. So for estimators of HSIC

    biased               tr(HKH) tr(HLH) / (n - 1)^3
    lange                tr(HKH) tr(HLH) / (n (n - 1)) / (n (n - 3))     the diagonals of HKH and HLH removed
    unbiased, minibatch  0                                               of batches: in every order of each batch

and of an index that is of first degree in the HSIC of a pair the same with its other HSICs as they are, as of CKA
tr(HKH) tr(HLH) / ((n - 1) |HKH| |HLH|).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simkit.arrays import Array, to_numpy, warn_caller
from simkit.errors import ChanceWarning
from simkit.statistics.hsic_sums import HSICSums, kernel_estimator_of

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["Scores", "is_warned_of", "mean_sums", "scores_from_sums", "warn_if_mostly_chance"]

_RISE = 0.1  # above chance: less is hardly seen in a heatmap of [0, 1]
_SHARE = 0.5  # of the room from chance up to 1, which is about what the unbiased estimator says: more is no chance
_ROUNDING = 1e-5  # of a score, where chance is 1
_LOW = 0.1  # chance below which a score that hardly rises above it is read as what it is: no similarity


class Scores(NamedTuple):
    """Scores, and what they are by chance; None where the index has no closed form, or nobody asked."""

    values: Array
    chance: Array | None


# --- of HSIC sums ---------------------------------------------------------------------------------------------------------


def mean_sums(x: Array, y: Array, estimator: str, n: int | Array) -> HSICSums:
    """The means over all orders of the three sums of pairs, from the traces of HKH and of HLH; of any shape."""
    both = x * y
    zero = both * 0
    if estimator in ("unbiased", "minibatch"):
        return HSICSums(zero, zero, zero, n)
    return HSICSums(both / ((n if estimator == "lange" else 1) * (n - 1)), zero, zero, n)


def scores_from_sums(
    index: Index[Any],
    sums: tuple[HSICSums, HSICSums, HSICSums],
    traces: tuple[Array, Array],
    units: tuple[Array, Array],
    *,
    by_chance: bool,
) -> Scores:
    """The scores for an index of HSIC sums, and what they are by chance if it knows that and it is asked for.

    Parameters
    ----------
    index : Index
    sums : HSICSums, shapes (rows, columns), (rows, 1), (1, columns)
        Of the pairs, and of the layers with themselves.
    traces : arrays, shapes (rows,), (columns,)
        Of the centred Gram matrices; anything of this shape for the estimators that need none.
    units : arrays, shapes (rows,), (columns,)
        The Gram matrices are the squares of these times as large.
    by_chance : bool
    """
    (xy, xx, yy), scale = sums, units[0][:, None] * units[1][None, :]
    values = index.rescaled(index.from_sums(xy, xx, yy), scale)
    if not (by_chance and index.knows_chance):
        return Scores(values, None)
    means = mean_sums(traces[0][:, None], traces[1][None, :], kernel_estimator_of(index).estimator, xy.n)
    return Scores(values, index.rescaled(index.from_sums(means, xx, yy), scale))


# --- said in words --------------------------------------------------------------------------------------------------------


def is_warned_of(index: Index[Any]) -> bool:
    """Whether `warn_if_mostly_chance` may say anything of an index: 1 is most alike, and chance is not 0 anyway."""
    return not index.is_unbiased and index.facts.identity == 1


def warn_if_mostly_chance(index: Index[Any], found: Scores, rows: Sequence[str], columns: Sequence[str], n: int) -> None:
    """Warn, once, if scores that are read as shares of 1, which a layer has with itself, hardly rise above chance.

    Of each row the score that rises most above its chance counts, that of a layer with itself left out. It hardly rises if
    that is less than .1 and less than half of the room from chance to 1, each and 1/n for the luck of few examples, while
    chance is .1 or more; and the matrix does if that is so in half of the rows. docs/topics/chance.md has the figures that
    these numbers are chosen by.

    Parameters
    ----------
    index : Index
    found : Scores
        Of shape (rows, columns) or (), with values.
    rows, columns : sequence of str
        What messages call the layers; a name on both sides is one layer.
    n : int
        Number of examples.

    Warns
    -----
    ChanceWarning
    """
    if found.chance is None:
        return
    values, chance = map(to_numpy, found)
    with np.errstate(invalid="ignore"):
        low = _is_hardly_above(values, chance, n)
    if not low.any() or not is_warned_of(index):
        return
    if len(rows) == len(columns) == 1:
        if rows[0] == columns[0]:
            return
        what = f"{index} of {rows[0]} and {columns[0]} is hardly above chance"  # one text, however often a loop comes by
    else:
        best, by_chance = _best_rises(values, chance, rows, columns)
        low = _is_hardly_above(best, by_chance, n)
        if not len(best) or 2 * np.count_nonzero(low) < len(best):
            return
        score, shuffled = np.median(best[low]), np.median(by_chance[low])
        what = f"{index} hardly rises above chance in {np.count_nonzero(low)} of {len(best)} rows: their best matches score "
        what += f"{score:.2f}, and {shuffled:.2f} if the examples of one layer are shuffled (medians)"
    warn_caller(f"{what}. {_remedy(index)}", ChanceWarning)


def _is_hardly_above(values: np.ndarray, chance: np.ndarray, n: int) -> np.ndarray:
    rise, luck = values - chance, 1 / n
    return (chance >= _LOW) & (rise < _RISE + luck) & (rise < (_SHARE + luck) * (1 - chance) + _ROUNDING)


def _best_rises(
    values: np.ndarray, chance: np.ndarray, rows: Sequence[str], columns: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The score of each row that rises most above its chance, and that chance; rows without a score to compare left out."""
    shape = len(rows), len(columns)
    values, chance = values.reshape(shape), chance.reshape(shape)
    itself = np.asarray([[a == b for b in columns] for a in rows])
    rise = np.where(itself | np.isnan(values), -np.inf, values - chance)
    best = np.argmax(rise, axis=1)
    places = np.arange(shape[0]), best
    compared = rise[places] > -np.inf
    return values[places][compared], chance[places][compared]


def _remedy(index: Index[Any]) -> str:
    sums = index.kernel_estimator
    unbiased = 'estimator="unbiased", of which chance is 0' if sums is not None else 'index="cka(estimator=unbiased)"'
    return f"Take {unbiased}; more examples; or narrower layers (pooled, or their principal components)."
