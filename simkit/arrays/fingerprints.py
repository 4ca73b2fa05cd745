"""Whether two passes, or two runs, saw the same examples in the same order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from simkit.arrays.bits import as_bits
from simkit.arrays.libraries import library_of
from simkit.errors import InvalidArrayError
from simkit.text import shown

__all__ = ["Fingerprint"]

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


class Fingerprint:
    r"""A chain of SHA-256 over examples, which is the same however the examples are cut into batches.

    .. math:: h_0 = 0, \quad h_{i+1} = \mathrm{SHA256}(h_i \Vert \mathrm{SHA256}(\text{example } i))

    An example is what the arrays of a batch hold in one row: values, dtypes and shapes, with the keys of dictionaries. What
    has not one row for each example, such as an option, counts as part of every example.

    Attributes
    ----------
    examples : int
        How many have been seen.

    Examples
    --------
    >>> import numpy as np
    >>> x, whole, cut = np.arange(12.0).reshape(6, 2), Fingerprint(), Fingerprint()
    >>> _ = whole.update(x), cut.update(x[:4]), cut.update(x[4:])
    >>> whole.hex == cut.hex
    True
    """

    def __init__(self) -> None:
        self._state = bytes(32)
        self.examples = 0

    @property
    def hex(self) -> str:
        """The fingerprint of all examples so far, 64 hexadecimal digits."""
        return self._state.hex()

    def update(self, batch: Any, n: int | None = None) -> str:
        """Take the examples of a batch, and give the fingerprint of all so far.

        Parameters
        ----------
        batch : array, mapping, sequence or plain values
            The inputs of a model: arrays whose first axis is the examples, lists of texts or of numbers, and dictionaries,
            lists and tuples of those.
        n : int, optional
            How many examples these are. Default: as many as the first array or list has rows, by the order of keys.

        Raises
        ------
        InvalidArrayError
            It holds something else, or no example can be told from another.
        """
        leaves = list(_leaves(batch, ""))
        rows = [len(value) for _, value in leaves if _has_rows(value)]
        if not rows:
            raise InvalidArrayError(
                f"A batch has no fingerprint: {shown(batch)} holds no array or list with one row for each example."
            )
        n = n if n in rows else rows[0]
        parts = [_encoded(path, value, n) for path, value in leaves]
        for i in range(n):
            example = hashlib.sha256()
            for head, body in parts:
                example.update(head)
                if body is not None:
                    example.update(body[i])
            self._state = hashlib.sha256(self._state + example.digest()).digest()
        self.examples += n
        return self.hex


def _has_rows(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Arrays (as NumPy's), lists of plain values and plain values, each with where in the batch it is."""
    if isinstance(value, _PLAIN):
        yield path, value
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from _leaves(value[key], f"{path}/{key}")
    elif isinstance(value, list | tuple):
        if value and all(isinstance(item, _PLAIN) for item in value):
            yield path, list(value)
        else:
            for place, item in enumerate(value):
                yield from _leaves(item, f"{path}/{place}")
    elif isinstance(value, np.ndarray | np.generic) or library_of(value) != "other":
        try:
            bits, dtype = as_bits(value)
        except Exception as error:
            raise InvalidArrayError(
                f"A batch has no fingerprint: {shown(value)} has no values to read ({error})."
            ) from error
        if bits.dtype.hasobject:
            yield path, [repr(item) for item in bits.tolist()]
        else:
            yield f"{path}:{dtype}", bits
    else:
        raise InvalidArrayError(
            f"A batch has no fingerprint: it holds a {type(value).__name__}, of which it cannot be told whether two are the "
            "same. Expected arrays, texts and numbers, and dictionaries, lists and tuples of those."
        )


def _encoded(path: str, value: Any, n: int) -> tuple[bytes, Any]:
    """What is the same of all examples, and what each has of its own, as bytes; None if it has nothing."""
    if isinstance(value, np.ndarray):
        if value.ndim and len(value) == n:
            rows = value.reshape(n, -1).view(np.uint8) if value.size else [b""] * n
            return _bytes(f"{path}{value.shape[1:]};"), rows
        return _bytes(f"{path}{value.shape};") + value.tobytes(), None
    if isinstance(value, list) and len(value) == n:
        return _bytes(f"{path};"), [_bytes(f"{len(text)}:{text}") for text in map(repr, value)]
    return _bytes(f"{path};{value!r};"), None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
