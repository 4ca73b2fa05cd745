"""Runs the checks of an index or a kernel, one by one, and gathers everything that they find."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from simkit.errors import PluginError
from simkit.guard import bare
from simkit.index import Index
from simkit.kernel import Kernel
from simkit.loading import problem_with
from simkit.registry import get_index, get_kernel
from simkit.spec import Kind, close_matches, parse
from simkit.testing.case import Case, IndexCase, KernelCase, Options
from simkit.testing.index_checks import INDEX_CHECKS
from simkit.testing.kernel_checks import KERNEL_CHECKS
from simkit.testing.report import Finding, Report, Skipped

__all__ = ["Subject", "check_index", "check_kernel", "examine_index", "examine_kernel", "index_checks", "kernel_checks"]


def index_checks() -> dict[str, str]:
    """The checks of an index: name -> what is expected."""
    return {check.name: check.about for check in INDEX_CHECKS.values()}


def kernel_checks() -> dict[str, str]:
    """The checks of a kernel: name -> what is expected."""
    return {check.name: check.about for check in KERNEL_CHECKS.values()}


def examine_index(index: str | Index[Any] | type[Index[Any]], **options: Any) -> Report:
    """Make all checks of an index; the report says what failed and what was skipped. Parameters as `check_index`."""
    return Subject("index", index, **options).examine()


def examine_kernel(kernel: str | Kernel | type[Kernel], **options: Any) -> Report:
    """Make all checks of a kernel; the report says what failed and what was skipped. Parameters as `check_index`."""
    return Subject("kernel", kernel, **options).examine()


def check_index(index: str | Index[Any] | type[Index[Any]], **options: Any) -> Report:
    """Check that an index keeps what it declares, and works wherever simkit does.

    Parameters
    ----------
    index : str, Index or class
        A spec string, an instance, or a class, which is then tested with its default parameters. It need not be registered.
    shapes : sequence of (int, int, int)
        (n, p1, p2) of the random layers that declared facts are tested on. By default a few with n > p1 + p2. An index that
        takes only layers of one width is given shapes with p1 = p2, and is then not asked about others.
    seed : int
        Of the random layers.
    tolerance, tolerance_float32 : float
        How much two scores may differ, relative to the scores of random layers, and still count as equal.
    only : sequence of str
        The names of the checks to make; `index_checks` lists them. Default: all.
    skip : mapping of str to str
        Names of checks to leave out, each with the reason.

    Returns
    -------
    Report

    Raises
    ------
    ConformanceError
        Something failed. The message lists all failures, each with the name of its check and what was expected and found.
    ValueError
        An unknown check or an option that makes no sense.

    Examples
    --------
    >>> from simkit.testing import check_index
    >>> check_index("cka(estimator=unbiased)", only=["symmetry", "identity"]).passed
    ('symmetry', 'identity')
    """
    return examine_index(index, **options).raise_for_failures()


def check_kernel(kernel: str | Kernel | type[Kernel], **options: Any) -> Report:
    """Check that a kernel keeps what it declares, and works wherever simkit does. Parameters and errors as `check_index`.

    Examples
    --------
    >>> from simkit.testing import check_kernel
    >>> check_kernel("rbf(fraction=0.4)", only=["symmetry", "tiles"]).ok
    True
    """
    return examine_kernel(kernel, **options).raise_for_failures()


class Subject:
    """An index or a kernel under test: makes one check at a time.

    Parameters
    ----------
    kind : {"index", "kernel"}
    thing : str, Index, Kernel or class
    only, skip, **options
        As in `check_index`.
    """

    def __init__(
        self,
        kind: Kind,
        thing: Any,
        *,
        only: Sequence[str] | None = None,
        skip: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.kind, self.thing, self.only, self.skip = kind, thing, only, dict(skip or {})
        if isinstance(only, str):
            raise ValueError(f"only={only!r}; expected a sequence of names of checks, such as [{only!r}].")
        self.options = Options.of(**options)
        self.checks = INDEX_CHECKS if kind == "index" else KERNEL_CHECKS
        for name in (*(self.only or ()), *self.skip):
            if name not in self.checks:
                hint = close_matches(name, self.checks)
                raise ValueError(f"There is no check {name!r} for this {kind}.{hint} There are: {', '.join(self.checks)}.")

    def __str__(self) -> str:
        if isinstance(self.thing, type):
            return str(getattr(self.thing, "name", "") or self.thing.__name__)
        try:
            return str(self.thing)
        except Exception:  # of the thing under test
            return type(self.thing).__name__

    @property
    def names(self) -> tuple[str, ...]:
        """The checks that are wanted."""
        return tuple(name for name in self.checks if self.only is None or name in self.only)

    @cached_property
    def case(self) -> Case:
        """The instance and its random layers; whatever goes wrong while it is made is raised."""
        problem = problem_with(self.thing, self.kind) if isinstance(self.thing, type) else None
        if problem:
            raise PluginError(problem)
        asked = parse(self.thing).name.rpartition(":")[2] if isinstance(self.thing, str) else ""
        if self.kind == "index":
            return IndexCase(get_index(self.thing), self.options, asked)
        return KernelCase(get_kernel(self.thing), self.options, asked)

    def make(self, name: str) -> list[str]:
        """Everything that one check finds.

        Raises
        ------
        Skipped
            It does not apply here.
        """
        if name in self.skip:
            raise Skipped(f"left out: {self.skip[name]}")
        try:
            with bare():
                case = self.case
        except (Exception, SystemExit) as error:
            if name == self.names[0]:
                return [f"it cannot be made: {_told(error)}"]
            raise Skipped("there is nothing to test, see the first check") from None
        found: list[str] = []
        try:
            with bare(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.extend(self.checks[name].find(case))
        except Skipped:
            raise
        except (Exception, SystemExit) as error:
            found.append(f"raised {_told(error)}")
        return found

    def examine(self) -> Report:
        """Make all checks."""
        passed, failed, skipped, seconds = [], [], [], []
        for name in self.names:
            start = time.perf_counter()
            try:
                findings = [Finding(name, message) for message in self.make(name)]
            except Skipped as reason:
                skipped.append(Finding(name, str(reason)))
                continue
            finally:
                seconds.append((name, time.perf_counter() - start))
            failed += findings
            if not findings:
                passed.append(name)
        return Report(str(self), tuple(passed), tuple(failed), tuple(skipped), tuple(seconds))


def _told(error: BaseException) -> str:
    """An exception in one line, with the last place outside libraries that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        frame
        for frame in frames
        if "site-packages" not in frame.filename and f"{Path(__file__).parent}" not in frame.filename
    ]
    where = f" ({Path(ours[-1].filename).name}:{ours[-1].lineno})" if ours else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"
