"""What a user may set for a whole program: how results and progress are shown, never what is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from simkit.errors import SpecError
from simkit.spec import close_matches
from simkit.text import shown

__all__ = ["get_options", "option", "set_options"]


@dataclass(frozen=True)
class _Option:
    """An option: what it is at first, and what it may be, as a test and in words."""

    default: Any
    is_valid: Callable[[Any], bool] = field(repr=False)
    expected: str = ""


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


_OPTIONS = {
    "decimals": _Option(3, _whole(0, 15), "a whole number from 0 to 15"),
    "max_shown": _Option(20, _whole(2, 10_000), "a whole number from 2 to 10000"),
    "progress": _Option(None, lambda value: value is None or isinstance(value, bool), "True, False or None"),
}
_values: dict[str, Any] = {name: option.default for name, option in _OPTIONS.items()}


def option(name: str) -> Any:
    """The value of an option now."""
    return _values[name]


def get_options() -> dict[str, Any]:
    """The values of all options, by name; see `set_options`.

    Examples
    --------
    >>> get_options()
    {'decimals': 3, 'max_shown': 20, 'progress': None}
    """
    return dict(_values)


class set_options:  # a function to its users, which is also a context manager, as in xarray
    """Set options for the whole program, in all its threads; in a ``with`` statement until its end.

    Parameters
    ----------
    decimals : int, optional
        Digits after the point in the tables of `SimilarityMatrix`, in notebooks and when it is printed, for scores up to 10;
        larger scores have fewer, and much smaller ones more. Default: 3.
    max_shown : int, optional
        Rows and columns up to which those tables are shown whole; of larger ones the middle is left out. Default: 20.
    progress : bool or None, optional
        Whether progress is shown by what has a parameter ``progress`` and is not given it. Default: None, which means in
        notebooks and terminals, but not in logs.

    Raises
    ------
    SpecError
        There is no such option, or it cannot be that. Nothing has been set.

    Examples
    --------
    >>> import simkit
    >>> _ = simkit.set_options(max_shown=30)
    >>> with simkit.set_options(max_shown=10, progress=False):
    ...     simkit.get_options()["max_shown"]
    10
    >>> simkit.get_options()["max_shown"]
    30
    >>> _ = simkit.set_options(max_shown=20)
    """

    def __init__(self, **options: Any) -> None:
        for name, value in options.items():
            if name not in _OPTIONS:
                hint = close_matches(name, _OPTIONS)
                raise SpecError(f"There is no option {shown(name)}.{hint} The options are {', '.join(_OPTIONS)}.")
            if not _OPTIONS[name].is_valid(value):
                raise SpecError(f"{name}={shown(value)}; expected {_OPTIONS[name].expected}.")
        self._before = {name: _values[name] for name in options}
        _values.update(options)

    def __enter__(self) -> set_options:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _values.update(self._before)

    def __repr__(self) -> str:
        return f"<simkit.set_options: {', '.join(f'{name}={value!r}' for name, value in _values.items())}>"
