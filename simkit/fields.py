"""Plain arrays from outside, by name: each is taken once and checked against what it must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from simkit.errors import CheckpointError

__all__ = ["Fields", "text_array"]


def text_array(texts: Sequence[str]) -> np.ndarray:
    """Strings as an array that can be saved without pickle.

    Raises
    ------
    CheckpointError
        One of them would not come back as it is.
    """
    array = np.array(texts, dtype=np.str_)
    for given, kept in zip(texts, array, strict=True):
        if given != str(kept):
            raise CheckpointError(
                f"The name {given!r} ends with a NUL character, which no array can hold. Rename the layer."
            )
    return array


@dataclass(frozen=True)
class Fields:
    """Named arrays that must be of certain shapes and types.

    Parameters
    ----------
    arrays : mapping of names to arrays
    source : str
        What they are from, for messages.
    remedy : str
        What to do if they are not as they must be.
    prefix : str
        What the names of all fields begin with.
    taken : set of str
        Whole names of what has been taken already; shared by the parts that `below` gives.

    Raises
    ------
    CheckpointError
        By all methods: a field is missing, or is not what is asked for.
    """

    arrays: Mapping[str, np.ndarray]
    source: str = "The saved state"
    remedy: str = "Take an earlier copy, or gather the state again."
    prefix: str = ""
    taken: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray] | Fields) -> Fields:
        """`arrays`, if they are not fields already."""
        return arrays if isinstance(arrays, Fields) else cls(arrays)

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.arrays

    def below(self, prefix: str) -> Fields:
        """The fields whose names begin with `prefix`, without it."""
        return replace(self, prefix=self.prefix + prefix)

    def wrong(self, why: str) -> CheckpointError:
        """The error to raise if the fields contradict each other."""
        return CheckpointError(f"{self.source} is damaged or was changed: {why}. {self.remedy}")

    def finish(self) -> None:
        """Raise if there are fields that have not been taken."""
        left = sorted(self.arrays.keys() - self.taken)
        if left:
            raise self.wrong(f"it has fields that do not belong there, {', '.join(map(repr, left))}")

    # --- values ---------------------------------------------------------------------------------------------------------

    def text(self, name: str, choices: Sequence[str] = ()) -> str:
        """One string; one of `choices`, if there are any."""
        value = str(self._taken_as(name, "U", ()))
        if choices and value not in choices:
            raise self.wrong(f"{self.prefix + name!r} is {value!r}; expected {', '.join(map(repr, choices))}")
        return value

    def texts(self, name: str, *, length: int | None = None, distinct: bool = False) -> tuple[str, ...]:
        """Strings."""
        values = tuple(map(str, self._taken_as(name, "U", (length,))))
        if distinct and len(set(values)) < len(values):
            raise self.wrong(f"{self.prefix + name!r} has equal entries, {values}")
        return values

    def flag(self, name: str) -> bool:
        """True or false."""
        return bool(self._taken_as(name, "b", ()))

    def flags(self, name: str, *, length: int | None = None) -> tuple[bool, ...]:
        """True or false, several times."""
        return tuple(map(bool, self._taken_as(name, "b", (length,))))

    def whole(self, name: str) -> int:
        """An integer, at least 0."""
        return self._not_negative(name, ())[0]

    def wholes(self, name: str, *, length: int | None = None) -> tuple[int, ...]:
        """Integers, at least 0."""
        return self._not_negative(name, (length,))

    def number(self, name: str) -> float:
        """A real number."""
        return float(self._taken_as(name, "f", ()))

    def reals(self, name: str, shape: Sequence[int | None], kinds: str = "f") -> np.ndarray:
        """An array of real numbers of this shape; None stands for any length."""
        return self._taken_as(name, kinds, tuple(shape))

    def _taken_as(self, name: str, kinds: str, shape: tuple[int | None, ...]) -> np.ndarray:
        whole = self.prefix + name
        if whole not in self.arrays:
            raise CheckpointError(f"{self.source} lacks {whole!r}: it is damaged or was changed. {self.remedy}")
        self.taken.add(whole)
        value = np.asarray(self.arrays[whole])
        fits = value.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, value.shape, strict=True))
        if not fits or value.dtype.kind not in kinds:
            expected = str(tuple("any" if size is None else size for size in shape)).replace("'", "")
            kind = " or ".join(_KINDS[kind] for kind in kinds)
            raise self.wrong(
                f"{whole!r} has dtype {value.dtype} and shape {value.shape}; expected {kind} of shape {expected}"
            )
        return value

    def _not_negative(self, name: str, shape: tuple[int | None, ...]) -> tuple[int, ...]:
        values = self._taken_as(name, "iu", shape)
        if (values < 0).any():
            raise self.wrong(f"{self.prefix + name!r} is negative")
        return tuple(map(int, values.reshape(-1)))


_KINDS = {"U": "text", "b": "true or false", "i": "integers", "u": "unsigned integers", "f": "real numbers"}
