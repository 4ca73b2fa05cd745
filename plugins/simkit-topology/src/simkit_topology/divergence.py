"""Representation topology divergence: at which scales do two layers connect the same examples, and close the same loops?

Both layers are reduced to distances between examples, w and v, in units of their 0.9 quantile. At scale t the Rips complex
R_t(w) has an edge wherever w <= t and every triangle of edges. Where either layer connects two examples, min(w, v) does; so
R_t(w) is a part of R_t(min(w, v)), and what the second has and the first has not is what v knows and w does not.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

import simkit
from simkit.arrays import Array, Namespace, constant_of, namespace_of
from simkit.linalg import squared_distances, total
from simkit.properties import Facts, Invariances
from simkit.representation import Representation
from simkit.spec import check_choice, check_whole
from simkit_topology.host import host

__all__ = ["RTD", "RTDLite"]

QUANTILE = 0.9

Form: TypeAlias = Literal["paper", "code"]


def _distances(x: np.ndarray, form: Form) -> np.ndarray:
    """Distances of the rows in units of their 0.9 quantile, (n, n); nan if that is 0.

    The quantile of all pairs i < j, or, as in the authors' code, of the whole matrix with its diagonal of zeros.
    """
    w = np.sqrt(squared_distances(x, x, namespace_of(x)))
    w = (w + w.T) / 2
    quantile = np.quantile(w if form == "code" else w[np.triu_indices(len(w), 1)], QUANTILE)
    return w / quantile if quantile > 0 else np.full_like(w, np.nan)


_FACTS = Facts(
    symmetric=True,
    range=(0.0, math.inf),
    invariances=Invariances.both("translation", "orthogonal", "isotropic_scaling"),
    statistic="examples",
    identity=0.0,
    differentiable=False,
    min_examples=3,
    host=True,
)


class _Tree(NamedTuple):
    w: np.ndarray  # distances, (n, n)
    length: float  # of its minimum spanning tree
    like: Array  # a 0-d array of the user's library and device
    xp: Namespace


@dataclass(frozen=True)
class RTDLite(simkit.Index[_Tree]):
    """RTD-Lite: the divergence of connected components at all scales.

    (|T(w)| + |T(v)|) / 2 - |T(min(w, v))|, |T| the length of a minimum spanning tree

    Each edge of a minimum spanning tree is the scale at which two components merge; the sum of differences is how much later
    they do in one layer alone than in both together. It takes O(n^2) memory and time.

    Parameters
    ----------
    form : {"paper", "code"}
        ``"paper"``: distances in units of the 0.9 quantile of the distances of all pairs. ``"code"``: as in the authors'
        program (ArGintum/RTD-Lite), of the quantile of the whole matrix, its diagonal of n zeros included. That is a little
        smaller, the more the fewer examples.

    References
    ----------
    Tulchinskii et al. 2025, RTD-Lite: scalable topological analysis for comparing weighted graphs in learning tasks.
    """

    form: Form = "paper"

    name: ClassVar[str] = "rtd_lite"
    reference: ClassVar[str] = "Tulchinskii et al. 2025"

    def __post_init__(self) -> None:
        check_choice(self.name, "form", self.form, get_args(Form))

    @property
    def facts(self) -> Facts:
        """It obeys the triangle inequality, since ranks of graphs are submodular, and is 0 also where distances differ."""
        return _FACTS

    def prepare(self, representation: Representation) -> _Tree:
        """Distances between examples, and the length of their tree."""
        layer = representation
        w = _distances(host(layer), self.form)
        return _Tree(w, tree_length(w), total(layer.scale, layer.xp), layer.xp)

    def score(self, x: _Tree, y: _Tree) -> Array:
        """The mean of both directions."""
        both = tree_length(np.minimum(x.w, y.w))
        return constant_of(_without_rounding((x.length + y.length) / 2 - both, both), x.like, x.xp)


def tree_length(w: np.ndarray) -> float:
    """Length of a minimum spanning tree of a complete graph (Prim), (n, n) weights that may be 0."""
    n, length, last = len(w), 0.0, 0
    reach = w[0].copy()
    outside = np.ones(n, dtype=bool)
    for _ in range(n - 1):
        outside[last] = False
        last = int(np.argmin(np.where(outside, reach, np.inf)))
        length += reach[last]
        np.minimum(reach, w[last], out=reach)
    return length


def _without_rounding(gap: float, size: float) -> float:
    return 0.0 if gap <= 1e-13 * size else gap


class _Samples(NamedTuple):
    ws: list[np.ndarray]  # distances within each subset of the examples
    n: int
    like: Array  # a 0-d array of the user's library and device
    xp: Namespace


@dataclass(frozen=True)
class RTD(simkit.Index[_Samples]):
    """Representation topology divergence: connected components and loops.

    (d(w, v) + d(v, w)) / 2, d(w, v) the sum of lengths of the bars of H_1(R_t(min(w, v)), R_t(w)) for growing t

    A bar of this relative homology is a pair of components that min(w, v) has joined and w has not, or a loop that
    min(w, v) has closed and w cannot fill.

    Parameters
    ----------
    examples : int
        At least 3. Of more examples than this, random subsets are compared and the divergences averaged, as in the paper:
        the triangles of n examples are n^3 / 6.
    draws : int
        Number of subsets.
    seed : int
        Of the draws. The same subsets are taken for every layer.
    form : {"paper", "code"}
        ``"paper"``: distances in units of the 0.9 quantile of the distances of all pairs. ``"code"``: as in the authors'
        program (IlyaTrofimov/RTD), of the quantile of the whole matrix, its diagonal of n zeros included. That is a little
        smaller, the more the fewer examples. The program also takes subsets of 500 examples
        (``examples=500``), which it draws unseeded, computes bars in float32, and takes distances below 1e-6 of their mean
        for 0; that is not imitated.

    References
    ----------
    Barannikov, Trofimov, Balabin & Burnaev 2022, Representation topology divergence: a method for comparing neural
    representations.
    """

    examples: int = 100
    draws: int = 10
    seed: int = 0
    form: Form = "paper"

    name: ClassVar[str] = "rtd"
    reference: ClassVar[str] = "Barannikov et al. 2022"

    def __post_init__(self) -> None:
        check_whole(self.name, "examples", self.examples, at_least=3)
        check_whole(self.name, "draws", self.draws, at_least=1)
        check_whole(self.name, "seed", self.seed, at_least=0)
        check_choice(self.name, "form", self.form, get_args(Form))

    @property
    def facts(self) -> Facts:
        """A distance, though not one with a triangle inequality; the subsets go by the order of the examples."""
        return replace(_FACTS, exchangeable=False)

    def prepare(self, representation: Representation) -> _Samples:
        """Distances between the examples of each subset; the subsets depend on n and the seed alone."""
        layer = representation
        x, n, size = host(layer), layer.n, int(self.examples)
        rng = np.random.default_rng(int(self.seed))
        subsets = [np.arange(n)] if n <= size else [rng.permutation(n)[:size] for _ in range(int(self.draws))]
        return _Samples([_distances(x[rows], self.form) for rows in subsets], n, total(layer.scale, layer.xp), layer.xp)

    def score(self, x: _Samples, y: _Samples) -> Array:
        """The mean of both directions, and of the subsets."""
        mean = float(np.mean([self._divergence(w, v) for w, v in zip(x.ws, y.ws, strict=True)]))
        return constant_of(_without_rounding(mean, x.n), x.like, x.xp)

    @staticmethod
    def _divergence(w: np.ndarray, v: np.ndarray) -> float:
        smaller = np.minimum(w, v)
        if np.isnan(smaller).any():
            return math.nan
        return (relative_bars(w, smaller) + relative_bars(v, smaller)) / 2


def relative_bars(w: np.ndarray, smaller: np.ndarray) -> float:
    """Sum of the lengths of the bars of H_1(R(smaller), R(w)).

    The homology of a complex relative to a part of it is that of the complex with a cone put on the part: one more vertex o,
    and with each simplex of the part that simplex and o.
    """
    from gudhi import SimplexTree  # type: ignore[import-untyped]

    n = len(w)
    i, j = np.triu_indices(n, 1)
    tree = SimplexTree()
    tree.insert_batch(np.arange(n + 1)[None, :], np.zeros(n + 1))
    tree.insert_batch(np.stack([i, j]), smaller[i, j])
    tree.insert_batch(np.stack([np.arange(n), np.full(n, n)]), np.zeros(n))
    tree.insert_batch(np.stack([i, j, np.full(len(i), n)]), w[i, j])
    triples = np.array(list(itertools.combinations(range(n), 3)), dtype=np.int64).reshape(-1, 3).T
    a, b, c = triples
    tree.insert_batch(triples, np.maximum(np.maximum(smaller[a, b], smaller[a, c]), smaller[b, c]))
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=False)
    bars = tree.persistence_intervals_in_dimension(1)
    return float(np.sum(bars[:, 1] - bars[:, 0])) if len(bars) else 0.0
