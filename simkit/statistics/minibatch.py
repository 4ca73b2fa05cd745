"""The minibatch estimator of HSIC: the mean of the unbiased estimator over batches.

Nguyen, Raghu & Kornblith 2021 (Do wide and deep networks learn the same things?, equation 3) sum the unbiased HSIC of each
batch before they take the ratio of CKA. Examples of different batches are never compared, so any kernel can be used on a
stream; the result depends, in its noise, on how the examples were put into batches. For the linear kernel `Moments` give the
unbiased estimator of all examples at once, exactly and for less; this one is here to be comparable with published numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from simkit.arrays import Array, accumulation_dtype, detach, namespace_of, placement
from simkit.errors import InvalidArrayError
from simkit.fields import Fields, text_array
from simkit.kernel import Kernel
from simkit.kernels.linear import is_linear
from simkit.linalg import is_ordinary
from simkit.registry import get_kernel
from simkit.representation import Representation
from simkit.statistics.chance import Scores, scores_from_sums
from simkit.statistics.hsic_sums import HSICSums, Prepared, all_sums, estimate, gather, own_sums
from simkit.statistics.statistic import Statistic
from simkit.statistics.values import ValueCheck
from simkit.threads import each_in_threads

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["MinibatchHSIC"]

_FEW = 128  # examples of which a Gram matrix is made in less time than a thread begins


@dataclass(frozen=True, eq=False)
class MinibatchHSIC(Statistic):
    """Sums over batches of the unbiased HSIC of some layers, the rows, with others, the columns.

    Attributes
    ----------
    kernel : Kernel
    rows, columns : tuple of str
        The layers that are compared.
    batches : int
        How many batches with examples there were. Each counts the same, whatever its size.
    xy, xx, yy : array, shapes (rows, columns), (rows,), (columns,)
        Sums of HSIC over the batches.
    across, down : array, shapes (rows,), (columns,)
        Powers of two that the layers are divided by: 1 for layers of ordinary size.
    """

    kernel: Kernel
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    batches: int
    xy: Array
    xx: Array
    yy: Array
    across: Array
    down: Array

    arrays_named: ClassVar[tuple[str, ...]] = ("xy", "xx", "yy", "across", "down")

    @classmethod
    def of(
        cls,
        layers: Mapping[str, Array],
        values: ValueCheck | None = None,
        *,
        kernel: Kernel,
        rows: Sequence[str],
        columns: Sequence[str],
    ) -> MinibatchHSIC:
        """The unbiased HSIC of one batch.

        Parameters
        ----------
        layers : mapping of names to arrays, shapes (m, p_k)
        values : ValueCheck, optional
            What is known of them. Default: it is found out.
        kernel : Kernel
            Bandwidths that follow the data are found in each batch anew, as the rest of the estimator is.
        rows, columns : sequence of str
            The layers that are to be compared.

        Raises
        ------
        InvalidArrayError
            There are examples, but fewer than the four that the unbiased estimator needs.
        """
        if values is None:
            values, layers = ValueCheck.of(layers)
        rows, columns, m = tuple(rows), tuple(columns), values.n
        if 0 < m < 4:
            raise InvalidArrayError(
                f"This batch has {m} example{'s' * (m != 1)}; estimator=minibatch needs at least 4 in each. Leave out a "
                "short last batch (drop_last=True of a DataLoader), or use estimator=unbiased, exact for any batches."
            )
        like = next(iter(layers.values()))
        xp = namespace_of(like)
        if m == 0:
            zero = xp.zeros((len(rows), len(columns)), dtype=accumulation_dtype(like, xp), **placement(like))
            xx, yy = xp.sum(zero, axis=1), xp.sum(zero, axis=0)
            return cls(values, kernel, rows, columns, 0, zero, xx, yy, xx + 1, yy + 1)
        tall = m >= sum(values.widths)

        def prepare(layer: tuple[str, Array]) -> Prepared:
            return gather(Representation(detach(layer[1]), name=layer[0], tall=tall), kernel, "minibatch")

        # The linear kernel's Gram matrices are made without a word or a thread of their own.
        in_turn = tall or not is_linear(kernel) or m < _FEW
        each = list(map(prepare, layers.items())) if in_turn else each_in_threads(prepare, list(layers.items()), like)
        prepared = dict(zip(layers, each, strict=True))
        xs, ys = [prepared[name] for name in rows], [prepared[name] for name in columns]
        xy = estimate(all_sums(xs, xs if rows == columns else ys), "minibatch")
        xx, yy = (estimate(own_sums(side), "minibatch") for side in (xs, ys))
        scales = [xp.stack([layer.scale for layer in side]) for side in (xs, ys)]
        units = [xp.where(is_ordinary(scale, xp), 1.0, scale) for scale in scales]
        return cls(values, kernel, rows, columns, 1, xy, xx, yy, scales[0], scales[1])._in_units(units[0], units[1])

    def extended(self, layers: Mapping[str, Array], values: ValueCheck) -> MinibatchHSIC:
        """The sums with one more batch."""
        return self.merged([self, self.of(layers, values, kernel=self.kernel, rows=self.rows, columns=self.columns)])

    @classmethod
    def merged(cls, parts: Sequence[MinibatchHSIC], *, reuse: bool = False) -> MinibatchHSIC:
        """The sums over the batches of all `parts`."""
        del reuse
        whole = parts[0]
        for part in parts[1:]:
            xp = namespace_of(whole.xy)
            across, down = xp.maximum(whole.across, part.across), xp.maximum(whole.down, part.down)
            own, other = whole._in_units(across, down), part._in_units(across, down)
            xy, xx, yy = own.xy + other.xy, own.xx + other.xx, own.yy + other.yy
            whole = replace(own, batches=own.batches + other.batches, xy=xy, xx=xx, yy=yy)
        return replace(whole, values=ValueCheck.merged([part.values for part in parts]))

    @property
    def options(self) -> dict[str, Any]:
        """The kernel, and which layers are compared with which."""
        return {"kernel": self.kernel, "rows": self.rows, "columns": self.columns}

    def _in_units(self, across: Array, down: Array) -> MinibatchHSIC:
        """The sums of layers divided by other powers of two."""
        a, b = self.across / across, self.down / down
        both = a[:, None] * b[None, :]
        xy, xx, yy = self.xy * both * both, self.xx * a * a * a * a, self.yy * b * b * b * b
        return replace(self, xy=xy, xx=xx, yy=yy, across=across, down=down)

    # --- asked for scores ---------------------------------------------------------------------------------------------

    def scored(self, index: Index[Any], rows: Sequence[str], columns: Sequence[str], *, by_chance: bool) -> Scores:
        """Scores of layers among `rows` with layers among `columns`, shape (rows, columns)."""
        if not self.batches:
            raise InvalidArrayError("All batches were empty, so there is nothing to compute.")
        xp = namespace_of(self.xy)
        i = xp.asarray([self.rows.index(name) for name in rows], **placement(self.xy))
        j = xp.asarray([self.columns.index(name) for name in columns], **placement(self.xy))
        # Sums of one imaginary batch of n examples whose HSICs are the means over the batches.
        n = self.n
        factor = n * (n - 3) / self.batches

        def of(total: Array) -> HSICSums:
            return HSICSums(total * factor, xp.zeros_like(total), xp.zeros_like(total), n)

        xy = xp.take(xp.take(self.xy, i, axis=0), j, axis=1)
        xx, yy = xp.take(self.xx, i, axis=0), xp.take(self.yy, j, axis=0)
        sums = of(xy), of(xx[:, None]), of(yy[None, :])
        units = xp.take(self.across, i, axis=0), xp.take(self.down, j, axis=0)
        return scores_from_sums(index, sums, (xx, yy), units, by_chance=by_chance)  # no trace counts

    def out_of_range(self, dtype: Any) -> set[str]:
        """The layers that had to be divided by a power of two."""
        sides = ((self.rows, self.across), (self.columns, self.down))
        return {name for names, units in sides for k, name in enumerate(names) if float(units[k]) != 1}

    # --- files --------------------------------------------------------------------------------------------------------

    def about(self) -> dict[str, np.ndarray]:
        """The kernel, which layers are compared, and how many batches there were."""
        return {
            "kernel": np.array(str(self.kernel)),
            "rows": text_array(self.rows),
            "columns": text_array(self.columns),
            "batches": np.array(self.batches),
        }

    @classmethod
    def _read(cls, fields: Fields, values: ValueCheck) -> Self:
        rows, columns = (fields.texts(side, distinct=True) for side in ("rows", "columns"))
        if not {*rows, *columns} <= set(values.names):
            raise fields.wrong(f"it compares {(*rows, *columns)}, and its layers are {values.names}")
        a, b = len(rows), len(columns)
        shapes: dict[str, tuple[int, ...]] = {"xy": (a, b), "xx": (a,), "yy": (b,), "across": (a,), "down": (b,)}
        arrays = {name: fields.reals(name, shape) for name, shape in shapes.items()}
        return cls(values, get_kernel(fields.text("kernel")), rows, columns, fields.whole("batches"), **arrays)
