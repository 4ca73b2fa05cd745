"""Temporary."""

from dataclasses import dataclass
from typing import Any

from simkit.statistics.statistic import Statistic


@dataclass(frozen=True, eq=False)
class KernelSums(Statistic):
    defined: tuple[str, ...]
    sums: Any

    @classmethod
    def of(cls, layers, values=None, **options):
        raise NotImplementedError

    @classmethod
    def merged(cls, parts, *, reuse=False):
        raise NotImplementedError

    def scores(self, index, rows, columns):
        return self.sums.scores(index, [self.defined.index(a) for a in rows], [self.defined.index(b) for b in columns])

    def out_of_range(self, dtype):
        return ()

    @classmethod
    def _read(cls, fields, values):
        raise NotImplementedError
