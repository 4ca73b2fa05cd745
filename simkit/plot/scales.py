"""What scores mean in a picture: the scale of many matrices, what an index is called, how scores are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.display import Scale, written
from simkit.display import scale_of as scale_of_values
from simkit.errors import InvalidArrayError, SimkitError, SpecError
from simkit.registry import get_index
from simkit.text import printable, shortened

if TYPE_CHECKING:
    from simkit.matrix import SimilarityMatrix
    from simkit.properties import Facts

__all__ = [
    "chance_of",
    "common_scale",
    "drawable",
    "facts_of",
    "index_name",
    "meaning",
    "name_of_all",
    "panels_of",
    "values_of",
    "writer",
]


def drawable(matrix: Any, what: str) -> SimilarityMatrix:
    """The matrix with its scores on the host, where a lazy one is computed once for all that a picture asks of it.

    Raises
    ------
    InvalidArrayError
        It is no `SimilarityMatrix`, or has no rows or columns.
    """
    if not (hasattr(matrix, "to_numpy") and hasattr(matrix, "rows") and hasattr(matrix, "index")):
        raise InvalidArrayError(
            f"{what} draws a SimilarityMatrix, as simkit.pairwise gives it; got {type(matrix).__name__}. Of an array "
            "make one: simkit.SimilarityMatrix(values, rows, columns, index, n)."
        )
    if 0 in matrix.shape:
        rows, columns = matrix.shape
        raise InvalidArrayError(f"{what}: the matrix is {rows} x {columns}, so there is nothing to draw.")
    found: SimilarityMatrix = matrix.compute()
    return found


def panels_of(matrices: Any, what: str, checked: Callable[[Any, str], Any] = drawable) -> dict[str, Any]:
    """Matrices by title, each as `checked` gives it; of a sequence, the titles are what their indexes are called."""
    if not isinstance(matrices, Mapping | Sequence) or isinstance(matrices, str):
        raise InvalidArrayError(
            f"{what} draws matrices in a list, or in a dictionary by their titles; got {type(matrices).__name__}."
        )
    if not matrices:
        raise InvalidArrayError(f"{what}: there are no matrices to draw.")
    if isinstance(matrices, Mapping):
        return {str(title): checked(matrix, what) for title, matrix in matrices.items()}
    found: dict[str, Any] = {}
    for matrix in (checked(each, what) for each in matrices):
        for name in (index_name(matrix.index), str(matrix.index)):
            if name not in found:
                break
        else:
            name = f"{len(found) + 1}: {name}"
        found[name] = matrix
    return found


def values_of(matrix: SimilarityMatrix) -> np.ndarray:
    """Scores of a `drawable` matrix, in float64."""
    return np.asarray(matrix.values, dtype=np.float64)


def chance_of(matrix: SimilarityMatrix) -> np.ndarray | None:
    """What the scores of a `drawable` matrix are by chance, in float64; None if it is not known of any pair."""
    if matrix.chance is None:
        return None
    chance = np.asarray(matrix.chance, dtype=np.float64)
    return chance if np.isfinite(chance).any() else None


def facts_of(spec: str) -> Facts | None:
    """What an index declares; None if it is not installed."""
    try:
        return get_index(spec).facts
    except SimkitError:
        return None


def index_name(spec: str) -> str:
    """What people call an index: ``linear CKA``, ``procrustes distance``; its spec if it is not installed."""
    try:
        index = get_index(spec)
    except SimkitError:
        return printable(shortened(spec))
    name = _called(index)
    kernel, summary = getattr(index, "kernel", None), getattr(index, "summary", "")
    if hasattr(kernel, "name"):
        name = f"{_called(kernel)} {name}"
    elif summary in ("distance", "angular"):
        name = f"{name} {'angle' if summary == 'angular' else summary}"
    if getattr(index, "estimator", "biased") != "biased":
        name = f"{index.estimator} {name}"  # type: ignore[attr-defined]
    return printable(shortened(name))


def _called(thing: Any) -> str:
    """The name of an index or a kernel, in capitals if that is how its class is called."""
    name, kind = str(thing.name), type(thing).__name__
    return kind if kind.isupper() else name.replace("_", " ")


def meaning(spec: str) -> str:
    """What a score says, for a colour bar or an axis."""
    name, facts = index_name(spec), facts_of(spec)
    if facts is not None and facts.identity == 0:
        name = name if "distance" in name or "angle" in name else f"{name} distance"
        return f"{name}: smaller is more alike"
    return name if facts is None else f"{name} (similarity)"


def name_of_all(matrices: Sequence[SimilarityMatrix]) -> str:
    """What the scores of all matrices are."""
    indexes = {matrix.index for matrix in matrices}
    return meaning(matrices[0].index) if len(indexes) == 1 else "similarity"


def common_scale(matrices: Sequence[SimilarityMatrix]) -> Scale:
    """The one scale of all matrices, of one index or of similarities up to 1.

    Raises
    ------
    SpecError
        The indexes have no scale in common.
    """
    values = np.concatenate([values_of(matrix).ravel() for matrix in matrices])
    facts = [matrix.facts for matrix in matrices]
    if len({matrix.index for matrix in matrices}) == 1:
        return scale_of_values(facts[0], values)
    if not all(one is not None and one.identity != 0 and one.range in ((0.0, 1.0), (-1.0, 1.0)) for one in facts):
        told = "; ".join(_in_words(matrix) for matrix in {matrix.index: matrix for matrix in matrices}.values())
        raise SpecError(
            f"These indexes have no scale in common: {told}. Give each its own with shared=False, or draw them in "
            "pictures of their own."
        )
    return scale_of_values(min(facts, key=lambda one: one.range[0] if one else 0.0), values)


def _in_words(matrix: SimilarityMatrix) -> str:
    spec, facts = printable(shortened(matrix.index)), matrix.facts
    if facts is None:
        return f"{spec} (not installed)"
    low, high = facts.range
    bounds = (
        f"{low:.4g} to {high:.4g}" if math.isfinite(high) else f"{low:.4g} and up" if math.isfinite(low) else "no bounds"
    )
    return f"{spec} ({'distance' if matrix.is_distance else 'similarity'}, {bounds})"


def writer(scale: Scale) -> Callable[[float], str]:
    """How the numbers of one picture are written, all with the same decimals; on scales up to 1 as ``.50``."""
    write = written(scale.size, 2)
    if scale.size > 1:
        return write
    return lambda value: _bare(write(value))


def _bare(text: str) -> str:
    return text.replace("0.", ".", 1) if text.removeprefix("-").startswith("0.") else text
