"""Names and positions of layers, as they stand in ``matrix[...]``: single ones, slices, lists and masks."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from simkit.spec import close_matches
from simkit.text import printable, shortened, shown

__all__ = ["position", "positions"]

_LISTED = 12  # names in a message


def position(key: Any, names: Sequence[str], what: str) -> int:
    """The position of one name or number; numbers below 0 count from the end.

    Raises
    ------
    KeyError
        No layer is called so, or several are.
    IndexError
        There are fewer layers.
    TypeError
        It is neither.
    """
    if isinstance(key, str):
        if key not in names:
            raise KeyError(f"no {what} is called {shown(key)}.{close_matches(key, names)} {_listed(names, what)}")
        if names.count(key) > 1:
            where = [place for place, name in enumerate(names) if name == key]
            raise KeyError(f"{len(where)} {what}s are called {shown(key)}; say which by position, one of {shown(where)}")
        return names.index(key)
    if isinstance(key, bool | np.bool_):
        raise TypeError(f"{shown(key)} is no {what}; expected a name or a position, or a list of as many bools as {what}s.")
    try:
        place = operator.index(key)
    except TypeError:
        raise TypeError(
            f"{shown(key)} ({type(key).__name__}) is no {what}; expected a name, a position, a slice or a list of those."
        ) from None
    if not -len(names) <= place < len(names):
        raise IndexError(f"there is no {what} {place}, only {len(names)} of them, counted from 0.")
    return place % len(names)


def positions(key: Any, names: Sequence[str], what: str) -> list[int]:
    """The positions of a single layer, a slice, a list or a mask.

    A slice from name to name has both of them in it, as in pandas; one of numbers ends before the second.

    Raises
    ------
    KeyError, IndexError, TypeError
        As `position`; nothing is chosen, or a layer twice.
    """
    if isinstance(key, slice):
        found = _of_slice(key, names, what)
    elif isinstance(key, list | np.ndarray):
        keys = list(key)
        if keys and all(isinstance(k, bool | np.bool_) for k in keys):
            if len(keys) != len(names):
                raise IndexError(f"a mask of {len(keys)} bools; expected one for each of the {len(names)} {what}s.")
            found = [place for place, chosen in enumerate(keys) if chosen]
        else:
            found = [position(k, names, what) for k in keys]
    else:
        found = [position(key, names, what)]
    if not found:
        raise IndexError(f"{shown(key)} chooses none of the {len(names)} {what}s.")
    if len(set(found)) < len(found):
        twice = next(place for place in found if found.count(place) > 1)
        raise KeyError(f"{what} {shown(names[twice])} is chosen twice.")
    return found


def _of_slice(key: slice, names: Sequence[str], what: str) -> list[int]:
    ends = [end for end in (key.start, key.stop) if end is not None]
    if not any(isinstance(end, str) for end in ends):
        return list(range(len(names))[key])
    if not all(isinstance(end, str) for end in ends):
        raise TypeError(f"{shown(key)} goes from a name to a position; expected two names or two positions.")
    first, last = (None if end is None else position(end, names, what) for end in (key.start, key.stop))
    backwards = key.step is not None and key.step < 0
    beyond = None if last is None or (backwards and last == 0) else last + (-1 if backwards else 1)
    return list(range(len(names))[first : beyond : key.step])


def _listed(names: Sequence[str], what: str) -> str:
    some = [printable(shortened(name)) for name in names[:_LISTED]]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"The {what}s are {', '.join(some)}{more}"
