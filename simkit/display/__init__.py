"""How a similarity matrix is shown to people, whatever shows it: its scale of colours, its numbers, as text, as HTML."""

from __future__ import annotations

from simkit.display.colours import Colour, Scale, contrast, ink_on, scale_of
from simkit.display.digits import digits_for, written

__all__ = ["Colour", "Scale", "contrast", "digits_for", "ink_on", "scale_of", "written"]
