"""The minibatch estimator of HSIC: the mean of the unbiased estimator over batches.

Nguyen, Raghu & Kornblith 2021 (Do wide and deep networks learn the same things?, equation 3) sum the unbiased HSIC of each
batch before they take the ratio of CKA. Examples of different batches are never compared, so any kernel can be used on a
stream; the result depends, in its noise, on how the examples were put into batches. For the linear kernel `Moments` give the
unbiased estimator of all examples at once, exactly and for less; this one is here to be comparable with published numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from simkit.arrays import Array, accumulation_dtype, detach, namespace_of, placement, to_numpy
from simkit.errors import InvalidArrayError
from simkit.fields import Fields
from simkit.kernel import Kernel
from simkit.linalg import is_ordinary
from simkit.registry import get_kernel
from simkit.representation import Representation
from simkit.statistics.hsic_sums import HSICSums, Prepared, all_sums, estimate, gather, own_sums

__all__ = ["MinibatchHSIC"]

_ARRAYS = ("xy", "xx", "yy", "across", "down")


class MinibatchHSIC:
    """Sums over batches of the unbiased HSIC of all pairs of layers; `update`, `merge`, then `sums`.

    Parameters
    ----------
    kernel : Kernel
        Bandwidths that follow the data are found in each batch anew, as the rest of the estimator is.

    Attributes
    ----------
    batches, n : int
        How many batches there were, and how many examples in all. Each batch counts the same, whatever its size.
    xy, xx, yy : array, shapes (rows, columns), (rows,), (columns,)
        Sums of HSIC over the batches.
    across, down : array, shapes (rows,), (columns,)
        Powers of two that the layers are divided by: 1 for layers of ordinary size.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.batches = self.n = 0
        self.xy: Array = None
        self.xx: Array = None
        self.yy: Array = None
        self.across: Array = None
        self.down: Array = None

    def update(self, rows: Mapping[str, Array], columns: Mapping[str, Array] | None = None) -> None:
        """Add a batch: layers (m, p) of the same m examples, each of `rows` compared with each of `columns` or of `rows`.

        Raises
        ------
        InvalidArrayError
            There are examples, but fewer than the four that the unbiased estimator needs.
        """
        everything = [*rows.values(), *(columns or {}).values()]
        m, width = everything[0].shape[0], sum(x.shape[1] for x in everything)
        if m == 0:
            return
        if m < 4:
            raise InvalidArrayError(
                f"This batch has {m} example{'s' * (m != 1)}; estimator=minibatch needs at least 4 in each. Leave out a "
                "short last batch (drop_last=True of a DataLoader), or use estimator=unbiased, exact for any batches."
            )
        xs = self._prepared(rows, width)
        ys = xs if columns is None else self._prepared(columns, width)
        xp = xs[0].xp
        xy = estimate(all_sums(xs, ys), "minibatch")
        xx, yy = (estimate(own_sums(layers), "minibatch") for layers in (xs, ys))
        scales = [xp.stack([layer.scale for layer in layers]) for layers in (xs, ys)]
        units = [xp.where(is_ordinary(scale, xp), 1.0, scale) for scale in scales]
        self._add(_Sums(xy, xx, yy, scales[0], scales[1]).in_units(units[0], units[1]), 1, m)

    def _prepared(self, layers: Mapping[str, Array], width: int) -> list[Prepared]:
        return [gather(Representation(detach(x), width, name), self.kernel, "minibatch") for name, x in layers.items()]

    @property
    def _sums(self) -> _Sums:
        return _Sums(self.xy, self.xx, self.yy, self.across, self.down)

    def _add(self, part: _Sums, batches: int, n: int) -> None:
        if self.xy is not None:
            xp, own = namespace_of(self.xy), self._sums
            across, down = xp.maximum(own.across, part.across), xp.maximum(own.down, part.down)
            own, part = own.in_units(across, down), part.in_units(across, down)
            part = part._replace(xy=own.xy + part.xy, xx=own.xx + part.xx, yy=own.yy + part.yy)
        # All at once, so that an interrupt finds all or none of it.
        self.__dict__.update(part._asdict(), batches=self.batches + batches, n=self.n + n)

    def merge(self, other: MinibatchHSIC) -> MinibatchHSIC:
        """The state of the batches of both; neither changes."""
        merged = MinibatchHSIC(self.kernel)
        merged.absorb(self)
        merged.absorb(other)
        return merged

    def absorb(self, other: MinibatchHSIC) -> None:
        """Add the batches of another state to this one."""
        if other.batches:
            self._add(other._sums, other.batches, other.n)

    def sums(self) -> tuple[HSICSums, HSICSums, HSICSums]:
        """Sums of (X, Y), (X, X), (Y, Y) of one imaginary batch of n examples whose HSICs are the means over the batches.

        Of layers divided by `across` and `down`.
        """
        xp = namespace_of(self.xy)
        factor = self.n * (self.n - 3) / self.batches

        def of(total: Array) -> HSICSums:
            return HSICSums(total * factor, xp.zeros_like(total), xp.zeros_like(total), self.n)

        return of(self.xy), of(self.xx[:, None]), of(self.yy[None, :])

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain NumPy arrays, for a file without pickle; `from_arrays` reads it."""
        arrays = {"kernel": np.array(str(self.kernel)), "batches": np.array(self.batches), "n": np.array(self.n)}
        return arrays | {name: to_numpy(getattr(self, name)) for name in _ARRAYS if self.batches}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray] | Fields, like: Array | None = None) -> MinibatchHSIC:
        """What `to_arrays` wrote, in NumPy or in the namespace and on the device of `like`.

        Raises
        ------
        CheckpointError
            A field is missing or is not what it must be.
        """
        fields = Fields.of(arrays)
        state = cls(get_kernel(fields.text("kernel")))
        state.batches, state.n = fields.whole("batches"), fields.whole("n")
        if state.batches:
            xx, yy = (fields.reals(name, (None,)) for name in ("xx", "yy"))
            xy = fields.reals("xy", (len(xx), len(yy)))
            sums = _Sums(xy, xx, yy, np.ones_like(xx), np.ones_like(yy))
            if "across" in fields or "down" in fields:  # an earlier simkit had none
                sums = sums._replace(across=fields.reals("across", xx.shape), down=fields.reals("down", yy.shape))
            state.__dict__.update({name: _placed(values, like) for name, values in sums._asdict().items()})
        return state


class _Sums(NamedTuple):
    """Sums of HSIC of layers divided by `across` and `down`."""

    xy: Array
    xx: Array
    yy: Array
    across: Array
    down: Array

    def in_units(self, across: Array, down: Array) -> _Sums:
        """Those of layers divided by other powers of two."""
        a, b = self.across / across, self.down / down
        both = a[:, None] * b[None, :]
        return _Sums(self.xy * both * both, self.xx * a * a * a * a, self.yy * b * b * b * b, across, down)


def _placed(values: np.ndarray, like: Array | None) -> Any:
    if like is None:
        return values
    xp = namespace_of(like)
    return xp.asarray(values, dtype=accumulation_dtype(like, xp), **placement(like))
