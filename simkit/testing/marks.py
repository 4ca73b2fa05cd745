"""Conformance as pytest tests: one for each index or kernel and check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simkit.errors import SimkitError
from simkit.index import Index
from simkit.kernel import Kernel
from simkit.registry import indexes, kernels
from simkit.spec import Kind, parse
from simkit.testing.conformance import Subject, index_checks, kernel_checks
from simkit.testing.report import ConformanceError, Finding, Report, Skipped

__all__ = ["parametrize"]


@dataclass(frozen=True)
class _Check:
    """What a test calls; it fails with a `ConformanceError` and is skipped where a library is missing."""

    subject: Subject
    name: str

    def __call__(self) -> None:
        import pytest

        __tracebackhide__ = True
        try:
            findings = self.subject.make(self.name)
        except Skipped as reason:
            pytest.skip(str(reason))
        if findings:
            raise ConformanceError(Report(str(self.subject), failed=tuple(Finding(self.name, text) for text in findings)))


def parametrize(*things: Any, kind: Kind | None = None, **options: Any) -> Callable[..., Any]:
    """A decorator that gives a test every check of every index and kernel, as its argument ``check``.

    Parameters
    ----------
    *things : str, Index, Kernel or class
        Spec strings, instances or classes.
    kind : {"index", "kernel"}, optional
        What names stand for, where an index and a kernel have the same one.
    **options
        As in `check_index`. With several things, ``only`` and ``skip`` may name checks that some of them do not have.

    Examples
    --------
    ::

        @simkit.testing.parametrize("ntk(depth=2)", "nngp", MyIndex)
        def test_conformance(check):
            check()

    gives tests such as ``test_conformance[ntk(depth=2)-tiles]``; those about a library that is not installed are skipped.
    """
    import pytest

    cases = []
    for thing in things:
        subject = _subject(thing, kind, options)
        cases += [pytest.param(_Check(subject, name), id=f"{subject}-{name}") for name in subject.names]
    return pytest.mark.parametrize("check", cases)


def _subject(thing: Any, kind: Kind | None, options: dict[str, Any]) -> Subject:
    kind = kind or _kind_of(thing)
    checks = {"index": index_checks(), "kernel": kernel_checks()}
    elsewhere = {name for names in checks.values() for name in names} - set(checks[kind])
    mine = dict(options)
    if options.get("only") is not None:
        mine["only"] = [name for name in options["only"] if name not in elsewhere]
    if options.get("skip"):
        mine["skip"] = {name: why for name, why in options["skip"].items() if name not in elsewhere}
    return Subject(kind, thing, **mine)


def _kind_of(thing: Any) -> Kind:
    """Whether a thing is an index or a kernel."""
    cls = thing if isinstance(thing, type) else type(thing)
    if issubclass(cls, Index):
        return "index"
    if issubclass(cls, Kernel):
        return "kernel"
    try:
        name = parse(thing).name
        kernels.find(name)
    except SimkitError:
        return "index"  # whose first check says what is wrong with the name, if anything is
    try:
        indexes.find(name)
    except SimkitError:
        return "kernel"
    raise ValueError(f"{name!r} is both an index and a kernel; say kind='index' or kind='kernel'.")
