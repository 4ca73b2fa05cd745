"""Where both sides of a comparison carry labels of their examples, row i must be the same example.

No value of a representation is read here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from simkit.arrays.labels import Labels, labels_of
from simkit.arrays.placement import to_numpy
from simkit.errors import InvalidArrayError

__all__ = ["check_labels"]


def _ids_of(side: Mapping[str, Any], given: Any, name: str) -> Labels:
    """Ids given by the user, one for each example of the layers of a side."""
    own = _given(given, name)
    for layer, x in side.items():
        n = x.shape[0] if hasattr(x, "shape") else len(x) if hasattr(x, "__len__") else None
        if n is not None and not np.isnan(n) and len(own.values) != n:
            raise InvalidArrayError(
                f"{own.name} has {len(own.values)} labels and {layer} {n} examples; expected one for each."
            )
    return own


def _carried_by(side: Mapping[str, Any]) -> list[Labels]:
    """The labels that the arrays of a side carry themselves."""
    found = []
    for name, x in side.items():  # plainly, since torch.compile reads this
        labels = labels_of(x, name)
        if labels is not None:
            found.append(labels)
    return found


def check_labels(*sides: Mapping[str, Any], ids: Any = None) -> None:
    """Raise `InvalidArrayError` if layers carry labels of their examples that differ, or that repeat.

    Parameters
    ----------
    *sides : mapping of names to arrays
        The layers as they were given, one mapping or two. What has no labels is compared by position. A default index of
        pandas is no label, unless another pandas index is a shuffle of it.
    ids : pair, optional
        Labels for all layers of the first side and for all of the second: each a sequence of length n, or None.

    Raises
    ------
    InvalidArrayError
        Labels differ: the position and both labels are named, with what can be done; or a label repeats; or `ids` is no
        pair, or not of the length of the arrays.
    """
    found: list[Labels] = []
    for number, (side, given) in enumerate(zip(sides, _pair(ids, len(sides)), strict=True)):
        if given is not None:
            found.append(_ids_of(side, given, f"ids[{number}]"))
        found += _carried_by(side)
    labelled = [labels for labels in found if not labels.default]
    if not labelled:
        return
    first = labelled[0]
    if len(labelled) > 1 and (again := _repeated(first.values)) is not None:
        _complain_of_repeats(first, again)
    for labels in labelled[1:]:
        if (position := _first_difference(first.values, labels.values)) is not None:
            if (again := _repeated(labels.values)) is not None:
                _complain_of_repeats(labels, again)
            _complain_of_difference(first, labels, position)
    for labels in found:
        shuffled = [other for other in labelled if other.kind == "pandas"] if labels.default else []
        for other in shuffled:
            position = _first_difference(labels.values, other.values)
            whole = other.values.dtype.kind in "iu"
            if position is not None and whole and np.array_equal(np.sort(other.values), labels.values):
                pair = (labels, other) if found.index(labels) < found.index(other) else (other, labels)
                _complain_of_difference(*pair, position)


def _pair(ids: Any, sides: int) -> Sequence[Any]:
    if ids is None:
        return (None,) * sides
    expected = "expected a pair (ids of X, ids of Y), or (ids of A, ids of B) for layers; None for a side without"
    if not isinstance(ids, tuple | list) or len(ids) != 2:
        what = f"{type(ids).__name__} of length {len(ids)}" if hasattr(ids, "__len__") else type(ids).__name__
        raise InvalidArrayError(f"ids is a {what}; {expected}.")
    if sides == 1 and ids[1] is not None:
        raise InvalidArrayError("ids has labels for B, but B is None: A is compared with itself; give ids=(ids of A, None).")
    return ids[:sides]


def _given(ids: Any, name: str) -> Labels:
    """Labels that the user gave: a sequence, or an array of any framework."""
    if isinstance(ids, str | bytes | Mapping) or not hasattr(ids, "__len__"):
        raise InvalidArrayError(f"{name} is a {type(ids).__name__}; expected a sequence of labels, one for each example.")
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(ids, pandas.Series | pandas.Index):
        values = ids.to_numpy()
    elif hasattr(ids, "shape"):
        values = to_numpy(ids)
    else:  # one by one: as an array, [1, "1"] would be two equal strings, and tuples rows of a matrix
        values = np.fromiter(ids, dtype=object, count=len(ids))
    if values.ndim != 1:
        raise InvalidArrayError(f"{name} has shape {values.shape}; expected one label for each example, (n,).")
    return Labels(values, name, "ids", drop="leave out ids")


# --- comparing labels ----------------------------------------------------------------------------------------------------


def _first_difference(a: np.ndarray, b: np.ndarray) -> int | None:
    """The first position where two sequences of labels differ, missing labels (nan) being equal; None if there is none."""
    n = min(len(a), len(b))
    if all(v.dtype.kind in "iufb" for v in (a, b)) or (a.dtype.kind == b.dtype.kind and a.dtype.kind in "UM"):
        x, y = a[:n], b[:n]
        different = (x != y) & ((x == x) | (y == y))  # noqa: PLR0124  (nan and NaT)
        where = np.flatnonzero(different)
        if where.size:
            return int(where[0])
    else:
        for i, (p, q) in enumerate(zip(_keys(a[:n]), _keys(b[:n]), strict=True)):
            if not _same(p, q):
                return i
    return None if len(a) == len(b) else n


def _repeated(values: np.ndarray) -> tuple[int, int] | None:
    """Positions of the first label that stood before; None if all are different."""
    if values.dtype.kind in "iufbUM":
        ordered = np.sort(values)
        before, after = ordered[:-1], ordered[1:]
        if not np.any((before == after) | ((before != before) & (after != after))):  # noqa: PLR0124  (nan and NaT)
            return None
    seen: dict[Any, int] = {}
    for i, key in enumerate(_keys(values)):
        try:
            earlier = seen.setdefault(key, i)
        except TypeError:
            raise InvalidArrayError(f"A label of an example is a {type(key).__name__}; expected hashable labels.") from None
        if earlier != i:
            return earlier, i
    return None


_MISSING = "<missing>", object()


def _keys(values: np.ndarray) -> list[Any]:
    """The labels as Python objects, with one object for everything that does not equal itself."""
    # NumPy's tolist makes numbers of nanoseconds.
    return [_key(value) for value in (list(values) if values.dtype.kind in "mM" else values.tolist())]


def _key(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_key, value))
    try:
        return value if bool(value == value) else _MISSING  # noqa: PLR0124
    except (TypeError, ValueError):  # pandas.NA
        return _MISSING if type(value).__name__ == "NAType" else value


def _same(p: Any, q: Any) -> bool:
    try:
        return p is q or bool(p == q)
    except (TypeError, ValueError):  # a time with a zone and one without
        return False


# --- what is said --------------------------------------------------------------------------------------------------------


def _complain_of_repeats(labels: Labels, positions: tuple[int, int]) -> NoReturn:
    name = labels.name
    alike = {
        "pandas": f"keep one example of each in every layer, {name} = {name}[~{name}.index.duplicated()]",
        "xarray": f"keep one example of each in every layer, {name} = {name}.drop_duplicates({labels.dim!r})",
    }.get(labels.kind, "make the labels unique")
    raise InvalidArrayError(
        f"{name} repeats the label {_text(labels.values[positions[0]])} at positions {positions[0]} and {positions[1]}, so "
        f"labels do not say which examples belong together. Either {alike}; or, if row i is the same example everywhere, "
        f"{_without(labels)}."
    )


def _complain_of_difference(a: Labels, b: Labels, position: int) -> NoReturn:
    here, there = (_text(v[position]) if position < len(v) else "no label" for v in (a.values, b.values))
    if here == there:
        here, there = (f"{text} ({type(v[position]).__name__})" for text, v in ((here, a.values), (there, b.values)))
    whose = " (the default index)" if b.default else ""
    mine = " (the default index)" if a.default else ""
    loose = b if b.kind != "ids" else a
    raise InvalidArrayError(
        f"The labels of the examples of {a.name} and {b.name} differ, first at position {position}: {here}{mine} and "
        f"{there}{whose}; rows are compared by position. Either {_align(a, b)}; or, if row i of both is the same example "
        f"nevertheless, {_without(loose)}."
    )


def _without(labels: Labels) -> str:
    return labels.drop if labels.kind == "ids" else f"drop the labels, {labels.name} = {labels.drop}"


def _align(a: Labels, b: Labels) -> str:
    """How examples with the same labels are brought into the same rows."""
    mine, theirs = set(_keys(a.values)), set(_keys(b.values))
    common = mine & theirs
    if not common:
        alike = set(map(str, mine)) == set(map(str, theirs))
        one_type = f"make the labels of one type, {_as_text(a)} and {_as_text(b)}"
        return one_type if alike else "give both the same labels (they have none in common)"
    fixed, moved = (a, b) if b.can_select else (b, a)
    if len(common) < max(len(mine), len(theirs)):
        if fixed.can_select and moved.can_select:
            return (
                f"keep the {len(common)} examples that both have, common = {a.index}.intersection({b.index}) and then "
                f"{a.name}, {b.name} = {a.at('common')}, {b.at('common')}"
            )
        return f"keep the {len(common)} examples that both have, in one order"
    if moved.can_select:
        return f"align them, {moved.name} = {moved.at(fixed.index)}"
    if a.kind == b.kind == "coordinate":
        return f"align them, {' and '.join(f'{x.name} = {x.name}.sortby({x.dim!r})' for x in (a, b))}"
    return "sort the rows of the arrays and the ids themselves by the ids, x[numpy.argsort(ids)]"


def _as_text(labels: Labels) -> str:
    name, dim = labels.name, labels.dim
    return {
        "pandas": f"{name}.index = {name}.index.astype(str)",
        "ids": f"list(map(str, {name}))",
    }.get(labels.kind, f"{name} = {name}.assign_coords({{{dim!r}: {name}[{dim!r}].astype(str)}})")


def _text(label: Any) -> str:
    if not isinstance(label, np.generic):
        return repr(label)
    return str(label) if label.dtype.kind in "mM" else repr(label.item())
