"""The producer of a statistic from batches: small ones are held together until they are worth a matrix product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from array_api_compat import is_writeable_array

from simkit.arrays import Array, namespace_of, placement
from simkit.arrays.modes import own_modes
from simkit.errors import InvalidArrayError
from simkit.statistics.statistic import Statistic
from simkit.statistics.values import ValueCheck

__all__ = ["Batches"]


class Batches:
    """Batches of the same layers, and the statistic of all of them.

    Parameters
    ----------
    kind : type
        The class of the statistic.
    options : dict
        Of its `of`.
    state : Statistic, optional
        That of batches before. Without `like` it is in NumPy, and the next batch says where it belongs.
    count : int
        How many these were.
    like : array, optional
        An empty array of the framework, the device and the precision of the batches.

    Notes
    -----
    Rows that are held are copies: the caller may use the memory of a batch again.
    """

    def __init__(
        self,
        kind: type[Statistic],
        options: Mapping[str, Any],
        state: Statistic | None = None,
        count: int = 0,
        like: Array | None = None,
    ) -> None:
        self.kind, self.options, self.count, self.like = kind, dict(options), count, like
        self._state = state
        self._rounding: dict[str, float] = {}
        self._held = _Rows()
        self._finite = True
        self._is_whole = True

    def add(self, layers: Mapping[str, Array], rounding: Mapping[str, float], *, finite: bool = False) -> None:
        """Add a batch of matrices of the same m >= 0 examples.

        Parameters
        ----------
        layers : mapping of names to arrays, shapes (m, p)
            The same names, widths, framework and device each time.
        rounding : mapping of names to float
            The eps of the precision that the values were given in; 0 for that of the arrays.
        finite : bool
            The values are known to be finite.

        Raises
        ------
        InvalidArrayError
            An earlier call was interrupted; or what the statistic says of a batch.
        """
        self._check_whole()
        first = next(iter(layers.values()))
        if self.like is None and self._state is not None:
            self._state = self._state.to(first)
        together = self.kind.rows_together(sum(x.shape[1] for x in layers.values()))
        if not together:
            self._take(layers, rounding, finite)
        else:
            self._is_whole = False
            self._hold(layers, rounding, finite, together)
            self._is_whole = True
        self.like = first[:0, :] + 0  # a copy: a view would keep the batch in memory
        self.count += 1

    def _hold(self, layers: Mapping[str, Array], rounding: Mapping[str, float], finite: bool, together: int) -> None:
        """Take rows into the statistic `together` at a time, and hold the rest."""
        m, start = next(iter(layers.values())).shape[0], 0
        while start < m or (self._state is None and self._held.is_empty):
            many = m - start - (m - start) % together
            if many and not self._held.n:  # which need not be copied to be put together
                self._take({name: x[start : start + many, :] for name, x in layers.items()}, rounding, finite)
                start += many
                continue
            stop = min(m, start + together - self._held.n)
            self._held.add({name: x[start:stop, :] for name, x in layers.items()}, together)
            for name, x in layers.items():
                eps = rounding[name] or float(namespace_of(x).finfo(x.dtype).eps)
                self._rounding[name] = max(eps, self._rounding.get(name, 0.0))
            self._finite, start = self._finite and finite, stop
            if self._held.n == together:
                self._flush()

    def _flush(self) -> None:
        """Take the rows that are held into the statistic."""
        if self._held.is_empty or (self._state is not None and not self._held.n):
            return
        rounding, finite = self._rounding, self._finite
        self._rounding, self._finite = {}, True
        self._take(self._held.taken(), rounding, finite)

    def _take(self, layers: Mapping[str, Array], rounding: Mapping[str, float], finite: bool) -> None:
        # Of what is no finite number, the score speaks.
        with own_modes(next(iter(layers.values()))), np.errstate(all="ignore"):
            values, clean = ValueCheck.of(layers, rounding=rounding, finite=finite)
            if self._state is None:
                self._state = self.kind.of(clean, values, **self.options)
            else:
                self._state.values.check_same_layers(values)
                self._state = self._state.extended(clean, values)

    def _check_whole(self) -> None:
        if not self._is_whole:
            raise InvalidArrayError(
                "An update was interrupted, so that a part of a batch is in these sums. Go on from the last checkpoint "
                "(Stream.load, and the batches after it), or stream the batches again."
            )

    @property
    def n(self) -> int:
        """The number of examples."""
        return self._held.n + (0 if self._state is None else self._state.n)

    @property
    def statistic(self) -> Statistic:
        """The statistic of all batches so far; the next batch may write it over."""
        self._check_whole()
        self._is_whole = False
        self._flush()
        self._held = _Rows()  # whose memory is not kept for batches that may not come
        self._is_whole = True
        assert self._state is not None  # there is one from the first batch on, also of no examples
        return self._state

    def copy(self) -> Batches:
        """The same batches, independent of what is added to these."""
        return self.merged([self])

    def with_statistic(self, statistic: Statistic, count: int) -> Batches:
        """Other batches of the same layers, which `statistic` is of."""
        return Batches(self.kind, self.options, statistic, count, self.like)

    @staticmethod
    def merged(parts: Sequence[Batches]) -> Batches:
        """The batches of all `parts`, of which none changes; of the framework of the first that has one."""
        head = next((part for part in parts if part.like is not None), parts[0])
        states = [part.statistic for part in parts]
        if head.like is not None:
            states = [
                state if part.like is not None else state.to(head.like) for part, state in zip(parts, states, strict=True)
            ]
        with own_modes(states[0].values.first[0]):
            return head.with_statistic(head.kind.merged(states), sum(part.count for part in parts))


class _Rows:
    """Copies of rows of batches, put together where the library lets arrays be written to."""

    def __init__(self) -> None:
        self.n = 0
        self._layers: dict[str, Any] = {}

    @property
    def is_empty(self) -> bool:
        """Whether there has been no batch at all, not even one of no examples."""
        return not self._layers

    def add(self, layers: Mapping[str, Array], most: int) -> None:
        """Add rows; `most` is the number that there will be at the most."""
        for name, x in layers.items():
            self._layers[name] = self._added(self._layers.get(name), x, most)
        self.n += next(iter(layers.values())).shape[0]

    def _added(self, held: Any, x: Array, most: int) -> Any:
        xp = namespace_of(x)
        if held is None:
            held = xp.empty((most, x.shape[1]), dtype=x.dtype, **placement(x))
            held = held if is_writeable_array(held) else []
        if isinstance(held, list):
            held.append(x)  # which nobody can write to
            return held
        if held.dtype != x.dtype:
            held = xp.astype(held, xp.result_type(held.dtype, x.dtype), copy=False)
        held[self.n : self.n + x.shape[0], :] = xp.astype(x, held.dtype, copy=False)
        return held

    def taken(self) -> dict[str, Array]:
        """The rows; they are valid until others are added."""
        rows = {}
        for name, held in self._layers.items():
            if isinstance(held, list):
                rows[name] = namespace_of(*held).concat(held)
                self._layers[name] = []
            else:
                rows[name] = held[: self.n, :]
        self.n = 0
        return rows
