"""Kernel sums of the linear kernel, of layers in the memory of the host: by products of features or of examples.

For layers with centred columns K1 = 0 and <K, L> = |X'Y|^2, so the sums follow from one pass over the features, or from the
Gram matrices block by block; `simkit.planner` knows which costs less. Neither copies a layer, and neither looks at the
values beforehand: what is wrong with them shows in the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from simkit.linalg.by_examples import products_by_examples
from simkit.linalg.by_features import norms_by_features
from simkit.linalg.centring import CentredLayers, centred
from simkit.progress import Steps
from simkit.scoring import in_silence
from simkit.sides import Sides
from simkit.statistics.hsic_sums import Estimator, HSICSums, are_many, is_lost
from simkit.statistics.kernel_sums import KernelSums
from simkit.statistics.values import ValueCheck

__all__ = ["linear_sums"]


def linear_sums(
    layers: Mapping[str, np.ndarray],
    values: ValueCheck,
    sides: Sides,
    *,
    tall: bool,
    estimator: Estimator,
    advance: Callable[[], None] = lambda: None,
) -> KernelSums | None:
    """The kernel sums of a comparison by the linear kernel.

    Parameters
    ----------
    layers : mapping of names to ndarray, shapes (n, p_l)
        Matrices in one precision, those of the rows first. Those that are constant are left out.
    values : ValueCheck
        What is known of them, but for whether they are finite.
    sides : Sides
        Which are compared with which. Sums of pairs that are not compared are nan.
    tall : bool
        By products of features, else of examples.
    estimator : {"biased", "unbiased", "lange", "minibatch"}
        The sums may do for this one only.
    advance : callable
        Called twice for each layer that is not left out, as the work proceeds, perhaps from another thread.

    Returns
    -------
    KernelSums or None
        None if this way does not do: values that are not finite, or whose products leave the range of floating-point
        numbers, or an estimate without the diagonal that a few examples, or rounding, rule.
    """
    defined = {name: x for name, x in layers.items() if name not in values.undefined}
    if not defined:
        return KernelSums.empty(values)
    parts = list(defined.values())
    split = None if sides.kind == "layers" else sum(name in sides.row_names for name in defined)

    def steps(count: int) -> Callable[[], None]:
        return Steps(count, 2 * len(parts), advance)

    with in_silence(parts[0]):
        found = centred(parts)
        if found is None:
            return None
        if split in {0, len(parts)}:  # nothing to compare with
            return KernelSums.empty(values)
        rows, diagonal, paired = None, None, CentredLayers(found, split)
        if tall:
            inner, diagonal, traces = norms_by_features(paired, lengths=estimator != "biased", steps=steps)
            norms = np.diagonal(inner)
            if diagonal is not None:
                inner = inner - diagonal @ diagonal.T
        else:
            inner, diagonal = products_by_examples(paired, steps=steps)
            norms, traces = np.diagonal(inner) + np.vecdot(diagonal, diagonal), diagonal.sum(axis=1)
        if not _is_in_range(norms, parts[0]):
            return None
        if diagonal is not None:
            rows = -diagonal
            if estimator != "biased" and not _is_resolved(inner, diagonal, parts[0]):
                return None
    count = len(parts)
    return KernelSums(values, tuple(defined), (0.0,) * count, inner, rows, diagonal, np.ones(count), traces)


def _is_in_range(norms: np.ndarray, like: np.ndarray) -> bool:
    """Whether the mean squared lengths of rows, which |K| / n bounds from below and nearly tells, have squares in range."""
    limit = float(np.finfo(like.dtype).max) ** 0.4
    size = np.sqrt(norms) / like.shape[0]
    return bool(np.all((size < limit) & (size > 1 / limit)))


def _is_resolved(inner: np.ndarray, diagonal: np.ndarray, like: np.ndarray) -> bool:
    """Whether estimates without the diagonals are more than rounding of what is taken off."""
    n = diagonal.shape[1]
    for own, lengths in zip(np.diagonal(inner), diagonal, strict=True):
        sums = HSICSums(own, np.vecdot(lengths, lengths), np.sum(lengths) ** 2, n)
        if (like.dtype == np.float32 and not are_many(lengths, np)) or is_lost(sums, np):
            return False
    return True
