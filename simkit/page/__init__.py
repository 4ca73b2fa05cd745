"""One self-contained page in HTML of matrices that are there; `simkit.report` is what makes one of activations."""

from simkit.page.contents import Entry, Intervals, Report

__all__ = ["Entry", "Intervals", "Report"]
