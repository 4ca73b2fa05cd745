"""The contract of a similarity index: prepare once per layer, score once per pair."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from simkit.arrays import Array, Channels, Maps, as_pair, namespace_of
from simkit.properties import Facts
from simkit.representation import Representation
from simkit.spec import Specified

__all__ = ["Index"]

State = TypeVar("State")


@dataclass(frozen=True)
class Index(Specified, ABC, Generic[State]):
    """Base class of similarity indexes: a frozen dataclass whose fields are the hyperparameters.

    A subclass sets `name` and `reference`, declares `facts`, and implements `prepare` and `score` in the operations of the
    Array API standard. It is then hashable, picklable, has a spec string (``str(index)``), and works on every framework,
    in `simkit.compare` and `simkit.pairwise`; on streams and Dask too if its ``facts.statistic`` says how.

    Attributes
    ----------
    name : str
        The registered name, an identifier.
    reference : str
        Where the index was defined.
    """

    name: ClassVar[str]
    reference: ClassVar[str] = ""

    @property
    @abstractmethod
    def facts(self) -> Facts:
        """The declared facts; they may depend on the hyperparameters."""

    @abstractmethod
    def prepare(self, representation: Representation) -> State:
        """Work done once per layer: centring, a Gram matrix, an orthonormal basis, norms."""

    @abstractmethod
    def score(self, x: State, y: State) -> Array:
        """Work done once per pair; a 0-d array in the precision of the representations."""

    def __call__(
        self,
        X: Any,
        Y: Any,
        *,
        check_finite: bool = True,
        flatten: bool = False,
        maps: Maps | None = None,
        channels: Channels | None = None,
    ) -> Array:
        """Similarity of two representations of the same examples: ``score(prepare(X), prepare(Y))``.

        The parameters, the returned value and the errors are those of `simkit.compare`.
        """
        x, y = as_pair(
            X,
            Y,
            min_examples=self.facts.min_examples,
            check_finite=check_finite,
            flatten=flatten,
            maps=maps,
            channels=channels,
        )
        xp = namespace_of(x, y)
        width = x.shape[1] + y.shape[1]
        state_x = self.prepare(Representation(x, width, "X", xp=xp))
        state_y = self.prepare(Representation(y, width, "Y", xp=xp))
        return self.finish(self.score(state_x, state_y), x, y)

    @staticmethod
    def finish(score: Array, x: Array, y: Array) -> Array:
        """The score as a 0-d array in the common precision of the two representations."""
        xp = namespace_of(x, y)
        return xp.astype(score, xp.result_type(x.dtype, y.dtype), copy=False)
