"""Which scale of colours an index has, by its facts, and the colours themselves: one rule for pictures, terminals and pages.

- An index of one sign, such as one of [0, 1], has a sequential scale: dark is 0.
- A distance, 0 for a layer and itself, has the same scale reversed, so that bright means alike for all indexes.
- An index of both signs has a diverging scale with 0 in its middle, which is white, if scores go below 0 by more than a
  tenth of the scale. Else their sign says nothing, as of unbiased CKA of most layers: then the scale begins at 0, as that
  of the biased estimator does, and scores below 0 have its first colour.

A scale ends where the index does, so that pictures of different data can be compared by eye, and else at the largest score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from simkit.properties import Facts

__all__ = ["Colour", "Scale", "contrast", "ink_on", "scale_of"]

Kind: TypeAlias = Literal["sequential", "reversed", "diverging"]
Colour: TypeAlias = tuple[int, int, int]  # red, green and blue of sRGB, 0 to 255

# Colour maps of matplotlib, legible to the colour-blind, and eleven of their colours: between these they are straight to
# within 4 of 255.
_MAPS: dict[Kind, str] = {"sequential": "magma", "reversed": "magma_r", "diverging": "RdBu_r"}
_MAGMA = "000004 140e36 3b0f70 641a80 8c2981 b73779 de4968 f7705c fe9f6d fecf92 fcfdbf"
_RED_BLUE = "053061 2065ab 4393c3 90c4dd d1e5f0 f7f6f6 fddbc7 f3a481 d6604d b1182b 67001f"
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)

_SIGNED = 0.1  # of the largest score on the scale: a score so far below 0 is negative by more than chance
_SEEN = 5e-4  # of the scale: a score that is less than that beyond an end is at it in three decimals


def _colours(hexadecimal: str) -> tuple[Colour, ...]:
    return tuple(tuple(bytes.fromhex(colour)) for colour in hexadecimal.split())  # type: ignore[misc]


_ANCHORS: dict[Kind, tuple[Colour, ...]] = {
    "sequential": _colours(_MAGMA),
    "reversed": _colours(_MAGMA)[::-1],
    "diverging": _colours(_RED_BLUE),
}


@dataclass(frozen=True)
class Scale:
    """A scale of colours for the scores of one index.

    Attributes
    ----------
    kind : {"sequential", "reversed", "diverging"}
    low, high : float
        The scores that have the first and the last colour; scores beyond them have the same. ``low < high``.
    """

    kind: Kind
    low: float
    high: float

    @property
    def centre(self) -> float | None:
        """The score in the middle of a diverging scale, 0; None for others."""
        return 0.0 if self.kind == "diverging" else None

    @property
    def map(self) -> str:
        """The name of the colour map in matplotlib; its first colour is that of `low`."""
        return _MAPS[self.kind]

    @property
    def anchors(self) -> tuple[Colour, ...]:
        """Colours at equal distances from `low` to `high`."""
        return _ANCHORS[self.kind]

    @property
    def label(self) -> str:
        """What a colour bar says: "similarity", or "distance" where smaller means more alike."""
        return "distance" if self.kind == "reversed" else "similarity"

    @property
    def size(self) -> float:
        """The largest absolute value on the scale."""
        return max(abs(self.low), abs(self.high))

    def beyond(self, values: np.ndarray) -> tuple[bool, bool]:
        """Whether there are scores below `low` and above `high`, by more than rounding."""
        room = 2 * _SEEN * (self.high / 2 - self.low / 2)  # the difference of two may overflow
        return bool((values < self.low - room).any()), bool((values > self.high + room).any())

    def share(self, value: float) -> float:
        """Where a score is between `low` and `high`, in [0, 1]; nan for nan."""
        if math.isnan(value):
            return math.nan
        clipped = min(max(value, self.low), self.high)
        return (clipped / 2 - self.low / 2) / (self.high / 2 - self.low / 2)  # the difference of two may overflow

    def colour(self, value: float) -> Colour | None:
        """The colour of a score; None for nan."""
        share = self.share(value)
        if math.isnan(share):
            return None
        place = share * (len(self.anchors) - 1)
        below = min(int(place), len(self.anchors) - 2)
        part = place - below
        first, second = self.anchors[below : below + 2]
        red, green, blue = (round((1 - part) * a + part * b) for a, b in zip(first, second, strict=True))
        return red, green, blue


def scale_of(facts: Facts | None, values: np.ndarray) -> Scale:
    """The scale of an index for some scores.

    Parameters
    ----------
    facts : Facts or None
        What the index declares; without it the scores decide.
    values : array of float, any shape
        All scores that are to be on one scale. nan and infinities have no say.

    Returns
    -------
    Scale
        Of an index of [-1, 1] the same as of one of [0, 1] if no score is below -.1, else diverging.
    """
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    least, most = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    low, high = _guessed(least, most) if facts is None else facts.range
    if low < 0 < high:
        bounds = [abs(bound) for bound in (low, high) if math.isfinite(bound)]
        size = max(bounds) if bounds else max(abs(least), abs(most))
        if least < -_SIGNED * size:
            return Scale("diverging", -size, size)
        low, high = 0.0, size or 1.0
    kind: Kind = "reversed" if facts is not None and facts.identity == 0 else "sequential"
    low = low if math.isfinite(low) else least
    high = high if math.isfinite(high) else max(most, low)
    return Scale(kind, low, high if high > low else low + 1.0)


def _guessed(least: float, most: float) -> tuple[float, float]:
    """The range of an index of which nothing is known but some scores."""
    bound = 1.0 if least >= -1 and most <= 1 else math.inf
    return -bound if least < 0 else 0.0, bound


def contrast(first: Colour, second: Colour) -> float:
    """The contrast ratio of two colours, 1 to 21 (WCAG 2.2, section 1.4.3: text needs 4.5)."""
    dark, light = sorted((_luminance(first), _luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever is easier to read on a colour; the contrast is 4.58 at least."""
    return max(BLACK, WHITE, key=lambda ink: contrast(ink, colour))


def _luminance(colour: Colour) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.2, of sRGB)."""
    shares = (c / 255 for c in colour)
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
