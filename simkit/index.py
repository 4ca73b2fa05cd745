"""The contract of a similarity index: prepare once per layer, score once per pair."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from simkit.arrays import Array, namespace_of
from simkit.comparison import compare
from simkit.guard import guard
from simkit.properties import Facts
from simkit.representation import Representation
from simkit.spec import Specified
from simkit.statistics.hsic_sums import HSICSums, KernelEstimator

__all__ = ["Index", "pair_by_pair"]

State = TypeVar("State")


@dataclass(frozen=True)
class Index(Specified, ABC, Generic[State]):
    """Base class of similarity indexes: a frozen dataclass whose fields are the hyperparameters.

    A subclass sets `name` and `reference`, declares `facts`, and implements `prepare` and `score` in the operations of the
    Array API standard. It is then hashable, picklable, has a spec string (``str(index)``), and works on every framework,
    in `simkit.compare` and `simkit.pairwise`; on streams and Dask too if its ``facts.statistic`` says how. The features that
    `prepare` is handed are not to be written into: in NumPy that is an error, elsewhere they are a copy.

    Attributes
    ----------
    name : str
        The registered name, an identifier.
    reference : str
        Where the index was defined.
    infinite : str
        Why a score may be infinite, to be read after "is infinite: ".
    """

    kind: ClassVar[str] = "index"
    reference: ClassVar[str] = ""
    infinite: ClassVar[str] = "terms of it overflow."

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = vars(cls)
        if "knows_chance" not in own and own.keys() & {"prepare", "score", "from_sums"}:
            cls.knows_chance = False  # type: ignore[method-assign, assignment]  # of another score, which has to say so itself
        guard(cls)

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

    def bytes_needed(self, n: int, rows: Sequence[int], columns: Sequence[int] | None, itemsize: int) -> int:
        """Bytes that scoring all pairs of layers in memory is certain to take at one time, besides the layers.

        Of what does not fit nothing is computed; the error says what would. An index that holds n x n matrices, or others
        that may be much larger than its layers, overrides this.

        Parameters
        ----------
        n : int
            Number of examples.
        rows, columns : sequence of int
            Widths of the layers; ``columns=None`` if the rows are compared with themselves.
        itemsize : int
            Bytes of a value of the layers, 4 or 8.
        """
        return 0

    def scores(self, xs: Sequence[State], ys: Sequence[State], advance: Callable[[], None] = lambda: None) -> Array:
        """Scores of all pairs, shape (len(xs), len(ys)); `advance` is called len(xs) times as the work proceeds.

        An index may override this where all pairs together cost less than one by one.
        """
        return pair_by_pair(self.score, xs, ys, half=xs is ys and self.facts.symmetric, advance=advance)

    # --- what an index of HSIC sums does besides ----------------------------------------------------------------------

    @property
    def kernel_estimator(self) -> KernelEstimator | None:
        """The kernel and the estimator of an index of HSIC sums; None for every other."""
        return None

    def from_sums(self, xy: HSICSums, xx: HSICSums, yy: HSICSums) -> Array:
        """The score from the three sums of each of the three pairs; elementwise where they are arrays.

        Raises
        ------
        NotImplementedError
            The index declares HSIC sums, and does not say what to do with them.
        """
        raise NotImplementedError(f"{type(self).__name__} is no function of HSIC sums.")

    def rescaled(self, score: Array, scale: Array) -> Array:
        """The score if Gram matrices K and L were larger by the squares of factors whose product is `scale`; any shape.

        Asked of indexes of HSIC sums where products of K and L are out of range, so that they had to be divided. This
        default is for what does not depend on their size, such as CKA.
        """
        del scale
        return score

    # --- what an index may do besides -------------------------------------------------------------------------------------
    # Each has a default that is right for every index, None for "there is no quicker way". `simkit.testing` compares what an
    # index overrides with the slow way; docs/development/plugins.md tells plugin authors which of them pay.

    @property
    def is_unbiased(self) -> bool:
        """Whether the score aims at the population's value whatever n is, up to the order 1 / n."""
        return False

    @property
    def knows_chance(self) -> bool:
        """Whether `chance` gives the mean of the score over all orders of the examples of one layer.

        Of an index of HSIC sums it says besides that this mean is `from_sums` of the mean sums of X and Y: the score is of
        first degree in their HSIC. A class that overrides `prepare`, `score` or `from_sums` declares it anew.
        """
        return False

    def chance(self, xs: Sequence[State], ys: Sequence[State], n: int) -> Array:
        """The mean of the score of all pairs over all n! orders of the examples of one layer, shape (len(xs), len(ys)).

        It is asked for beside the scores, so it must cost little. A layer with itself counts as one with a permuted copy.
        Of pairs whose score is nan it does not matter what it is: `simkit.scoring` makes it nan too.

        Parameters
        ----------
        xs, ys : sequence of states
            Prepared layers.
        n : int
            Number of examples. An index of second moments is handed states of fewer rows: see
            `simkit.representation.Representation`.

        Raises
        ------
        NotImplementedError
            The index declares that it knows, and does not say.
        """
        raise NotImplementedError(f"{type(self).__name__} has no closed form of what it is by chance.")

    def permuted(self, state: State, order: Array) -> State | None:
        """The state of the same layer with its examples in another order; None to prepare the layer anew.

        Parameters
        ----------
        state : state
            From `prepare`; it stays as it is.
        order : array of n integers
            The example that comes to each place.
        """
        del state, order
        return None

    def leave_one_out(self, xs: Sequence[State], ys: Sequence[State]) -> Array | None:
        """Scores of all pairs without each example in turn, shape (n, len(xs), len(ys)), in the time of a few scores.

        Whatever an index fits to the examples, such as a bandwidth, stays that of all of them. None where there is no
        quicker way than to leave the examples out.
        """
        del xs, ys
        return None

    def resampled(
        self, xs: Sequence[State], ys: Sequence[State], weights: Array, members: Array | None = None
    ) -> Array | None:
        """Scores of all pairs in B resamples, shape (B, len(xs), len(ys)), in which copies count as weights.

        A unit is an example, or the examples with one number in `members`, and no pair of copies counts as a pair of
        examples. Weights of 0 and 1 give the scores of the units with 1. Whatever an index fits to the examples stays that
        of all of them. nan for a resample of fewer different examples than the score needs. None where copies cannot be
        told from examples.

        Parameters
        ----------
        xs, ys : sequence of states
            Prepared layers of n examples.
        weights : array, shape (B, m)
            How often each unit was drawn, in the accumulation precision of the layers (float64 where the device has it).
        members : array of n integers, optional
            The unit of each example, from 0 to m - 1; by default each example is one.
        """
        del xs, ys, weights, members
        return None

    def bytes_resampled(self, n: int, layers: int) -> int:
        """Bytes that `resampled` takes, for n examples of so many layers, besides what it is given."""
        del n, layers
        return 0

    def pool(self, states: Sequence[State]) -> State | None:
        """The state of the layer that is most similar to all of `states` together, for `simkit.inference.noise_ceiling`.

        None for the pool of the features: those of all layers side by side, scaled so that each layer weighs the same.
        """
        del states
        return None

    def __call__(
        self,
        X: Any,
        Y: Any,
        *,
        check_finite: bool = True,
        flatten: bool = False,
        ids: Any = None,
    ) -> Array:
        """Similarity of two representations of the same examples: ``score(prepare(X), prepare(Y))``.

        The parameters, the returned value and the errors are those of `simkit.compare`.
        """
        return compare(X, Y, self, check_finite=check_finite, flatten=flatten, ids=ids)


def pair_by_pair(
    score: Callable[[Any, Any], Array],
    xs: Sequence[Any],
    ys: Sequence[Any],
    *,
    half: bool,
    advance: Callable[[], None] = lambda: None,
) -> Array:
    """Scores of all pairs, one after the other, shape (len(xs), len(ys)).

    Parameters
    ----------
    score : callable
        Gives a 0-d array for an ``x`` and a ``y``.
    xs, ys : sequences
    half : bool
        Those of ``y`` and ``x`` are those of ``x`` and ``y``, so that half of them are enough.
    advance : callable
        Called after each of `xs`.
    """
    lines: list[list[Array]] = []
    for i, x in enumerate(xs):
        lines.append([lines[j][i] if half and j < i else score(x, y) for j, y in enumerate(ys)])
        advance()
    xp = namespace_of(lines[0][0])
    return xp.stack([xp.stack(line) for line in lines])
