"""The producer of a statistic from batches: small ones are held together until they are worth a matrix product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simkit.arrays import Array, namespace_of
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
        self._held: list[dict[str, Array]] = []
        self._rows = 0
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
        while start < m or (self._state is None and not self._held):
            many = m - start - (m - start) % together
            if many and not self._held:  # which need not be copied to be put together
                self._take({name: x[start : start + many, :] for name, x in layers.items()}, rounding, finite)
                start += many
                continue
            stop = min(m, start + together - self._rows)
            self._held.append({name: x[start:stop, :] + 0 for name, x in layers.items()})
            for name, x in layers.items():
                eps = rounding[name] or float(namespace_of(x).finfo(x.dtype).eps)
                self._rounding[name] = max(eps, self._rounding.get(name, 0.0))
            self._finite, self._rows, start = self._finite and finite, self._rows + stop - start, stop
            if self._rows == together:
                self._flush()

    def _flush(self) -> None:
        """Take the rows that are held into the statistic."""
        if not self._held:
            return
        rounding, finite = self._rounding, self._finite
        layers = self._together()
        self._rows, self._rounding, self._finite = 0, {}, True
        self._take(layers, rounding, finite)

    def _together(self) -> dict[str, Array]:
        """The rows that are held, as one batch; they are given up layer by layer."""
        held, self._held = self._held, []
        if len(held) == 1:
            return held[0]
        xp = namespace_of(*held[0].values())
        return {name: xp.concat([rows.pop(name) for rows in held]) for name in list(held[0])}

    def _take(self, layers: Mapping[str, Array], rounding: Mapping[str, float], finite: bool) -> None:
        values, clean = ValueCheck.of(layers, rounding=rounding, finite=finite)
        with np.errstate(all="ignore"):  # of what is no finite number, the score speaks
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
        return self._rows + (0 if self._state is None else self._state.n)

    @property
    def statistic(self) -> Statistic:
        """The statistic of all batches so far; the next batch may write it over."""
        self._check_whole()
        self._is_whole = False
        self._flush()
        self._is_whole = True
        assert self._state is not None  # there is one from the first batch on, also of no examples
        return self._state

    def copy(self) -> Batches:
        """The same batches, independent of what is added to these."""
        return self.with_statistic(self.kind.merged([self.statistic]), self.count)

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
        return head.with_statistic(head.kind.merged(states), sum(part.count for part in parts))
