"""Representations that are not arrays in memory."""

from __future__ import annotations

import importlib
from types import ModuleType

_MODULES = ("dask", "nystroem", "projection", "sources", "stream")


def __getattr__(name: str) -> ModuleType:
    if name in _MODULES:
        return importlib.import_module(f"simkit.scale.{name}")
    raise AttributeError(f"module 'simkit.scale' has no attribute {name!r}")
