"""Tests of a plugin run on the installed distribution; those of plugins that are not installed are left out, and named."""

from __future__ import annotations

import importlib.util
from pathlib import Path

MISSING = [
    package.parents[1].name
    for package in sorted(Path(__file__).parent.glob("*/src/*"))
    if importlib.util.find_spec(package.name) is None
]
collect_ignore = MISSING


def pytest_report_header() -> list[str]:
    """What is not tested."""
    return [f"not installed, so not tested: plugins/{name}" for name in MISSING]
