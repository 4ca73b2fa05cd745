"""What the checks are given: an instance, its random layers, and the scores that several of them need."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np

from simkit.errors import AccuracyWarning
from simkit.index import Index
from simkit.kernel import Kernel
from simkit.properties import Capability, Facts
from simkit.spec import Kind, close_matches
from simkit.testing.hard import HardPair, hard_pairs
from simkit.testing.layers import pair, transforms
from simkit.testing.report import Skipped

__all__ = ["Case", "IndexCase", "KernelCase", "Options", "scored"]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Options:
    """What `simkit.testing.check_index` can be told; see there."""

    shapes: Sequence[tuple[int, int, int]] = ((25, 6, 5), (33, 4, 9), (21, 5, 5))
    seed: int = 0
    tolerance: float = 1e-6
    tolerance_float32: float = 1e-3

    @classmethod
    def of(cls, **options: Any) -> Options:
        """The options by name."""
        known = [item.name for item in fields(cls)]
        for name in options:
            if name not in known:
                hint = close_matches(name, [*known, "only", "skip"])
                raise ValueError(f"There is no option {name!r}; there are only, skip, {', '.join(known)}.{hint}")
        chosen = cls(**options)
        if not chosen.shapes or any(len(shape) != 3 or min(shape) < 1 for shape in chosen.shapes):
            raise ValueError(f"shapes={chosen.shapes!r}; expected at least one (n, p1, p2).")
        return chosen


@dataclass(frozen=True)
class Case:
    """The thing under test, the options, and the name that it was asked for by, if any."""

    kind: ClassVar[Kind]
    thing: Any
    options: Options
    asked: str = ""

    @property
    def rng(self) -> np.random.Generator:
        """Random numbers, the same for each check."""
        return np.random.default_rng(self.options.seed)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What is declared to work besides NumPy."""
        raise NotImplementedError

    def need(self, library: str) -> None:
        """Skip a check inside a library that is declared not to work.

        Raises
        ------
        Skipped
        """
        if library not in self.capabilities:
            raise Skipped(f"does not run on {library}, as declared")

    @property
    def one_width(self) -> bool:
        """Whether the layers must be of one width."""
        return all(p1 == p2 for _, p1, p2 in self.options.shapes)

    def widths(self, p1: int, p2: int) -> tuple[int, int]:
        """Two widths, equal if they must be."""
        return (p1, p1) if self.one_width else (p1, p2)


class KernelCase(Case):
    """A kernel under test."""

    kind = "kernel"

    @property
    def kernel(self) -> Kernel:
        """The kernel."""
        return self.thing

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the kernel declares."""
        return self.kernel.capabilities

    @property
    def layers(self) -> Iterator[np.ndarray]:
        """Random layers, uncentred."""
        for n, p, q in self.options.shapes:
            yield from pair(n, p, q, self.options.seed)

    @cached_property
    def layer(self) -> np.ndarray:
        """One random layer."""
        return next(self.layers)

    @cached_property
    def invariances(self) -> frozenset[str]:
        """The declared invariances.

        Raises
        ------
        Skipped
            They cannot be read; that is a failure of the check called facts only.
        """
        try:
            return frozenset(self.kernel.invariances)
        except Exception:
            raise Skipped("the declared invariances cannot be read, see facts") from None

    def centred(self, X: np.ndarray) -> np.ndarray:
        """HKH of a layer, with the kernel fitted to it."""
        K = np.asarray(self.kernel.fit(X)(X, X))
        return K - K.mean(axis=0) - K.mean(axis=1)[:, None] + K.mean()

    @cached_property
    def moves(self) -> dict[str, float]:
        """By how much of its largest entry HKH changes under each transformation of the features, where it does most."""
        most: dict[str, float] = {}
        rng = self.rng
        for X in self.layers:
            before = self.centred(X)
            for name, change in transforms(X.shape[1], rng).items():
                gap = float(np.max(np.abs(self.centred(change(X)) - before)) / np.max(np.abs(before)))
                most[name] = gap if np.isnan(gap) else max(gap, most.get(name, 0.0))
        return most


class IndexCase(Case):
    """An index under test."""

    kind = "index"

    @property
    def index(self) -> Index[Any]:
        """The index."""
        return self.thing

    @cached_property
    def facts(self) -> Facts:
        """The declared facts.

        Raises
        ------
        Skipped
            They cannot be read; that is a failure of the check of that name only.
        """
        try:
            facts = self.index.facts
            for item in fields(Facts):
                getattr(facts, item.name)
        except Exception:
            raise Skipped("the declared facts cannot be read, see facts") from None
        return facts

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the facts declare."""
        return self.facts.capabilities

    def pair(self, n: int, p1: int, p2: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Two random layers, of more examples if the index needs more."""
        return pair(self.examples(n), *self.widths(p1, p2), seed + self.options.seed)

    def examples(self, n: int) -> int:
        """At least `n`, and as many as the index can take."""
        return -(-max(n, self.facts.min_examples) // self.facts.group) * self.facts.group

    def reordered(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """An order of `n` examples; those that the index takes together stay together."""
        size = self.facts.group
        return (rng.permutation(n // size)[:, None] * size + np.arange(size)).ravel()

    @property
    def pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Random layers of all shapes."""
        for k, shape in enumerate(self.options.shapes):
            yield self.pair(*shape, seed=k)

    @property
    def hard(self) -> Iterator[HardPair]:
        """Layers that are hard on arithmetic, and for which the index is defined."""
        n, *widths = self.options.shapes[0]  # JAX has compiled for these already
        p1, p2 = (max(5, p) for p in widths)
        return hard_pairs(self.examples(n), p1, p2, self.options.seed)

    def inaccurate(self, what: str, score: Callable[..., Any], pairs: Iterable[HardPair]) -> Iterator[str]:
        """Scores that are not those of the same numbers in float64 in memory, where no AccuracyWarning says so."""
        for hard, X, Y in pairs:
            found, doubtful = scored(partial(score, X, Y), AccuracyWarning)
            expected, unknown = scored(partial(self.index, X.astype(np.float64), Y.astype(np.float64)), AccuracyWarning)
            if self.off(found, expected, X.dtype) and not doubtful and not unknown:
                yield (
                    f"{what} with {hard} give {found:.9g}, the same numbers in float64 {expected:.9g}, "
                    "without an AccuracyWarning"
                )

    def off(self, found: float, expected: float, dtype: Any) -> bool:
        """Whether a score differs from another by more than the precision of the data allows, relative to that score."""
        tolerance = self.options.tolerance_float32 if dtype == np.float32 else self.options.tolerance
        return _apart(found, expected, tolerance * (abs(expected) + 1e-3 * self.size))

    def score(self, X: Any, Y: Any, **options: Any) -> Any:
        """The score, without warnings."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.index(X, Y, **options)

    def number(self, X: Any, Y: Any) -> float:
        """The score of NumPy arrays as a number."""
        score = self.score(X, Y)
        if np.shape(score) != ():
            raise ValueError(f"the score has shape {np.shape(score)}; expected ()")
        return float(score)

    @cached_property
    def reference(self) -> tuple[float, ...]:
        """The scores of `pairs`."""
        return tuple(self.number(X, Y) for X, Y in self.pairs)

    @cached_property
    def size(self) -> float:
        """How large scores of random layers are: what differences are compared with."""
        finite = [abs(score) for score in self.reference if np.isfinite(score)]
        return max(finite, default=0.0) or 1.0

    def outside(self, score: float) -> str:
        """How a score is beyond the declared range by more than rounding; nothing if it is not."""
        (low, high), slack = self.facts.range, _ROUNDING * self.size
        inside = low - slack <= score <= high + slack
        return "" if inside else f"{score:.12g}, outside of the declared range [{low:g}, {high:g}]"

    @cached_property
    def moves(self) -> dict[tuple[str, str], tuple[float, float]]:
        """The score before and after each transformation of the features of X or of Y, where it moves most."""
        most: dict[tuple[str, str], tuple[float, float]] = {}
        rng = self.rng
        for (X, Y), before in zip(self.pairs, self.reference, strict=True):
            for side, Z in (("X", X), ("Y", Y)):
                for name, change in transforms(Z.shape[1], rng).items():
                    after = self.number(change(X), Y) if side == "X" else self.number(X, change(Y))
                    old = most.setdefault((side, name), (before, after))
                    if not abs(old[1] - old[0]) >= abs(after - before):  # also where one is nan
                        most[side, name] = before, after
        return most

    def differ(self, a: float, b: float, tolerance: float | None = None) -> bool:
        """Whether two scores differ by more than the tolerance, relative to the larger one and to others."""
        tolerance = self.options.tolerance if tolerance is None else tolerance
        return _apart(a, b, tolerance * max(self.size, abs(a), abs(b)))


def _apart(a: float, b: float, allowed: float) -> bool:
    """Whether two numbers differ by more than is allowed; nan differs from everything but nan."""
    return not (a == b or abs(a - b) <= allowed or (np.isnan(a) and np.isnan(b)))


def scored(score: Callable[[], Any], category: type[Warning]) -> tuple[float, bool]:
    """A score, and whether a warning of a category came with it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = float(score())
    return found, any(issubclass(warning.category, category) for warning in caught)
