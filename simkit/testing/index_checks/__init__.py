"""The checks of an index. Each is a generator of everything that it finds wrong; its docstring says what is expected."""

from __future__ import annotations

from collections.abc import Mapping

from simkit.testing.check import Check
from simkit.testing.index_checks import declarations, inputs, libraries, optional_methods, producers

__all__ = ["INDEX_CHECKS"]

INDEX_CHECKS: Mapping[str, Check] = (
    declarations.CHECKS | inputs.CHECKS | optional_methods.CHECKS | libraries.CHECKS | producers.CHECKS
)
