"""What a conformance test finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from simkit.text import printable

__all__ = ["ConformanceError", "Finding", "Report", "Skipped"]


class Finding(NamedTuple):
    """One thing that a check found, or why it was not made.

    Attributes
    ----------
    check : str
        The name of the check.
    message : str
        What was expected and what was found; the reason, of a check that was skipped.
    """

    check: str
    message: str

    def __str__(self) -> str:
        return f"{self.check}: {self.message}"


@dataclass(frozen=True)
class Report:
    """The outcome of all checks of one index or kernel.

    Attributes
    ----------
    subject : str
        The spec of the index or kernel.
    passed : tuple of str
        Names of the checks that passed.
    failed : tuple of Finding
        All failures; a check may contribute several.
    skipped : tuple of Finding
        Checks that do not apply or whose library is not installed, with the reason.
    seconds : tuple of (str, float)
        How long each check took.
    """

    subject: str
    passed: tuple[str, ...] = ()
    failed: tuple[Finding, ...] = ()
    skipped: tuple[Finding, ...] = ()
    seconds: tuple[tuple[str, float], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    def raise_for_failures(self) -> Report:
        """The report itself, if nothing failed.

        Raises
        ------
        ConformanceError
            Something did; the message lists everything.
        """
        if self.failed:
            raise ConformanceError(self)
        return self

    def __str__(self) -> str:
        failing = len({finding.check for finding in self.failed})
        lines = [f"{self.subject}: {len(self.passed)} checks passed, {failing} failed, {len(self.skipped)} skipped"]
        lines += [f"  failed  {finding}" for finding in self.failed]
        lines += [f"  skipped {finding}" for finding in self.skipped]
        return printable("\n".join(lines), keep="\n")


class ConformanceError(AssertionError):
    """An index or a kernel does not keep what it declares; the message lists every failure, by the name of the check.

    Attributes
    ----------
    report : Report
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        checks = len({finding.check for finding in report.failed})
        findings = "".join(f"\n  {finding}" for finding in report.failed)
        what = f"{report.subject} fails {checks} check{'s' * (checks != 1)} of its conformance test:{findings}"
        super().__init__(printable(what, keep="\n"))

    def __reduce__(self) -> tuple[type[ConformanceError], tuple[Report]]:
        return ConformanceError, (self.report,)


class Skipped(Exception):
    """Raised by a check that does not apply here, with the reason."""
