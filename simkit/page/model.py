"""What a page says, in words and numbers, before it is a page."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simkit.arrays import to_numpy
from simkit.best import best, found_layers
from simkit.display import digits_for, scale_of, written
from simkit.page.citation import citations
from simkit.provenance import model_of
from simkit.text import printable, short_names, shortened

if TYPE_CHECKING:
    from simkit.matrix import SimilarityMatrix
    from simkit.page.contents import Entry, Intervals, Report

__all__ = ["page_of"]

_LONGEST = 2000  # characters of a name that a page holds
_SHORT = 48  # characters of a name in a table


class Name(NamedTuple):
    """A layer as a page calls it, and its whole name."""

    short: str
    whole: str


def page_of(report: Report) -> dict[str, Any]:
    """What the template asks for, and under ``data`` what the script reads."""
    first = report.entries[0].matrix
    labels = report.labels or tuple(
        model_of(first.details, side) or short for side, short in (("rows", "A"), ("columns", "B"))
    )
    row_label, column_label = (_line(label) for label in labels)
    rows, columns = _names(first.rows), _names(first.columns)
    sections = [_section(k, entry, rows, columns) for k, entry in enumerate(report.entries)]
    title = report.title
    if title is None:
        title = f"Layers of {row_label}" if row_label == column_label else f"Layers of {row_label} and {column_label}"
    return {
        "title": _line(title),
        "rows": rows,
        "columns": columns,
        "row_label": row_label,
        "column_label": column_label,
        "sections": sections,
        "warnings": _warnings(report.entries),
        "settings": _settings(report.entries, (row_label, column_label)),
        "citations": citations([matrix.index for matrix in report.matrices]),
        "examples": sorted({matrix.n for matrix in report.matrices}),
        "data": {
            "rows": [list(name) for name in rows],
            "columns": [list(name) for name in columns],
            "rowLabel": row_label,
            "columnLabel": column_label,
            "indexes": [section["data"] for section in sections],
        },
    }


def _names(names: Sequence[str]) -> list[Name]:
    return [
        Name(shortened(_line(short), _SHORT), _line(whole)) for short, whole in zip(short_names(names), names, strict=True)
    ]


def _line(text: object) -> str:
    """Text of a stranger as one line that can be encoded and has no end of its own making."""
    return printable(shortened(str(text), _LONGEST))


# --- one index ------------------------------------------------------------------------------------------------------------


def _section(k: int, entry: Entry, rows: list[Name], columns: list[Name]) -> dict[str, Any]:
    matrix, intervals = entry.matrix.compute(), entry.intervals
    scores = matrix.to_numpy()
    values = _as_packed(scores)
    chance = None if matrix.chance is None else _as_packed(to_numpy(matrix.chance))
    scale = scale_of(matrix.facts, values)
    digits = written(scale.size)
    tied = best(scores, smallest=matrix.is_distance)
    matches = [np.flatnonzero(line).tolist() for line in tied]
    square = len(rows) == len(columns)
    spec = _line(matrix.index)
    return {
        "k": k,
        "spec": spec,
        "short": shortened(spec, 40),
        "meaning": _meaning(matrix),
        "square": square,
        "figures": _figures(matrix, scores, chance, digits, square),
        "matches": [
            _match(i, matches[i], rows[i], columns, values, chance, intervals, digits, square) for i in range(len(rows))
        ],
        "intervals": None if intervals is None else _about(intervals),
        "chance": chance is not None,
        "undefined": int(np.isnan(values).sum()),
        "data": {
            "spec": spec,
            "values": _packed(values),
            "chance": None if chance is None else _packed(chance),
            "intervals": None if intervals is None else _listed(intervals),
            "confidence": None if intervals is None else _percent(intervals.confidence),
            "best": matches,
            "decimals": digits_for(scale.size),
            "scale": {
                "low": scale.low,
                "high": scale.high,
                "beyond": scale.beyond(values),
                "colours": [list(colour) for colour in scale.anchors],
            },
            "distance": matrix.is_distance,
        },
    }


def _meaning(matrix: SimilarityMatrix) -> str:
    """What the numbers are, in a sentence."""
    facts = matrix.facts
    if facts is None:
        return "The index is not installed here, so what its scores mean is not known."
    low, high = facts.range
    if math.isinf(low) and math.isinf(high):
        between = "Any number"
    else:
        between = f"{_bound(low)} and up" if math.isinf(high) else f"{_bound(low)} to {_bound(high)}"
    direction = "a distance: the smaller, the more alike" if matrix.is_distance else "the larger, the more alike"
    order = " Scores are of (column, row)." if matrix.transposed else ""
    parts = "" if facts.symmetric else f" Not symmetric: rows and columns have different parts.{order}"
    return f"{between}; {direction}.{parts}"


def _bound(value: float) -> str:
    return f"{value:.3g}"


def _as_packed(values: np.ndarray) -> np.ndarray:
    """The numbers as the page has them: float32, in half the room, where that holds all of them."""
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    fits = sizes.size == 0 or (sizes.min() > 1e-30 and sizes.max() < 1e30)
    return values.astype(np.float32 if fits else np.float64)


def _packed(values: np.ndarray) -> dict[str, Any]:
    """Numbers for the script, nan and infinities among them: little-endian, in base64."""
    size = values.dtype.itemsize
    text = base64.b64encode(np.ascontiguousarray(values, dtype=f"<f{size}").tobytes()).decode("ascii")
    return {"bytes": size, "base64": text}


def _listed(intervals: Intervals) -> list[list[float]]:
    """(row, column, low, high) of the pairs that have an interval."""
    places = np.argwhere(np.isfinite(intervals.low) & np.isfinite(intervals.high))
    return [[int(i), int(j), float(intervals.low[i, j]), float(intervals.high[i, j])] for i, j in places]


def _percent(confidence: float) -> str:
    return f"{100 * confidence:.4g} %"


def _about(intervals: Intervals) -> dict[str, str]:
    return {
        "confidence": _percent(intervals.confidence),
        "method": _line(intervals.method),
        "estimand": _line(intervals.estimand),
    }


def _match(  # noqa: PLR0917  # a line of a table
    i: int,
    places: list[int],
    row: Name,
    columns: list[Name],
    values: np.ndarray,
    chance: np.ndarray | None,
    intervals: Intervals | None,
    digits: Callable[[float], str],
    square: bool,
) -> dict[str, Any]:
    """A line of the table of best matches."""
    if not places:
        return {"row": row, "columns": [], "score": "nan", "chance": "", "interval": "", "place": "", "found": False}
    j = i if i in places else places[0]
    has = intervals is not None and np.isfinite(intervals.low[i, j]) and np.isfinite(intervals.high[i, j])
    return {
        "row": row,
        "columns": [columns[each] for each in places],
        "score": digits(values[i, j]),
        "chance": "" if chance is None else digits(chance[i, j]),
        "interval": f"{digits(intervals.low[i, j])} to {digits(intervals.high[i, j])}"
        if intervals is not None and has
        else "",
        "place": _place(i, places) if square else "",
        "found": square and i in places,
    }


def _place(i: int, places: list[int]) -> str:
    """Where the best match is, seen from the layer in the same place."""
    if i in places:
        return "same place" if len(places) == 1 else f"same place, one of {len(places)}"
    away = min((j - i for j in places), key=abs)
    return f"{abs(away)} {'later' if away > 0 else 'earlier'}"


def _figures(
    matrix: SimilarityMatrix, scores: np.ndarray, chance: np.ndarray | None, digits: Callable[[float], str], square: bool
) -> list[dict[str, str]]:
    """The few numbers on top."""
    figures = []
    finite = scores[np.isfinite(scores)]
    if square and len(scores) > 1:
        forth, back = (found_layers(each, smallest=matrix.is_distance) for each in (scores, scores.T))
        m = len(scores)
        by_guessing = f"by guessing {1 / m:.1%}"
        figures.append(
            {
                "label": "Layers found in their place",
                "value": f"{forth.mean():.0%}",
                "note": f"{forth.sum():.4g} of {m} rows; {by_guessing}",
            }
        )
        if not np.allclose(forth, back):
            figures[-1]["note"] += f". Columns: {back.mean():.0%}"
    if square:
        diagonal = np.diagonal(scores)
        mean = diagonal[np.isfinite(diagonal)]
        note = "a network with itself" if _is_itself(matrix, scores) else "pairs in the same place"
        figures.append({"label": "Mean of the diagonal", "value": digits(mean.mean()) if mean.size else "nan", "note": note})
    if finite.size:
        figures.append(
            {
                "label": "All pairs",
                "value": f"{digits(finite.min())} to {digits(finite.max())}",
                "note": f"median {digits(np.median(finite))}",
            }
        )
    if chance is not None and np.isfinite(chance).any():
        at = chance[np.isfinite(chance)]
        note = (
            "the same for all pairs" if digits(at.min()) == digits(at.max()) else f"{digits(at.min())} to {digits(at.max())}"
        )
        figures.append({"label": "By chance", "value": digits(at.mean()), "note": f"mean over pairs; {note}"})
    return figures


def _is_itself(matrix: SimilarityMatrix, scores: np.ndarray) -> bool:
    facts = matrix.facts
    if facts is None or facts.identity is None or matrix.rows != matrix.columns:
        return False
    return bool(np.allclose(np.diagonal(scores), facts.identity, atol=1e-5))


# --- the page -------------------------------------------------------------------------------------------------------------


def _warnings(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """Each warning once, with the indexes that it was given for."""
    said: dict[str, list[str]] = {}
    for entry in entries:
        for message in entry.warnings:
            indexes = said.setdefault(_line(message), [])
            if entry.matrix.index not in indexes:
                indexes.append(entry.matrix.index)
    every = {entry.matrix.index for entry in entries}
    return [
        {"text": text, "of": "" if len(every) == 1 or set(indexes) == every else _line(", ".join(indexes))}
        for text, indexes in said.items()
    ]


def _settings(entries: Sequence[Entry], labels: tuple[str, str]) -> list[dict[str, Any]]:
    """Groups of (what, value) that tell how the numbers came about; what nobody knows is left out."""
    first = entries[0].matrix
    common: list[tuple[str, str]] = [
        ("Layers", f"{len(first.rows)} by {len(first.columns)} (rows by columns)"),
        ("Examples", ", ".join(str(n) for n in sorted({entry.matrix.n for entry in entries}))),
    ]
    for key, what in (("library", "Library"), ("device", "Device"), ("dtype", "Precision of the activations")):
        common += _each(entries, what, lambda matrix, key=key: matrix.details.get(key))
    common += _each(entries, "Versions", _versions)
    groups = [{"title": "Computation", "lines": common}]
    for entry in entries:
        lines = []
        if entry.matrix.details.get("route"):
            lines.append(("Computed", _line(entry.matrix.details["route"])))
        if entry.intervals is not None:
            about = _about(entry.intervals)
            lines.append(("Intervals", f"{about['confidence']}, {about['method']}; for {about['estimand']}"))
            if entry.intervals.seed is not None:
                lines.append(("Seed", str(entry.intervals.seed)))
        if lines:
            groups.append({"title": _line(entry.matrix.index), "lines": lines})
    sides = (("rows", first.rows, labels[0], "Rows"), ("columns", first.columns, labels[1], "Columns"))
    for side, names, label, what in sides:
        found = first.details.get(side)
        if isinstance(found, Mapping):
            lines = _side(found, names)
            if lines:
                groups.append({"title": f"{what}: {label}", "lines": lines})
    return groups


def _each(entries: Sequence[Entry], what: str, of: Any) -> list[tuple[str, str]]:
    """One line where it is the same for all indexes, else one for each."""
    found = {entry.matrix.index: _line(of(entry.matrix)) for entry in entries if of(entry.matrix)}
    if len(set(found.values())) == 1:
        return [(what, next(iter(found.values())))]
    return [(f"{what}, {_line(index)}", value) for index, value in found.items()]


def _versions(matrix: SimilarityMatrix) -> str:
    versions = matrix.details.get("versions")
    return ", ".join(f"{name} {version}" for name, version in versions.items()) if isinstance(versions, Mapping) else ""


def _side(details: Mapping[str, Any], shown: Sequence[str]) -> list[tuple[str, str]]:
    lines = [("Model", _line(details["model"]))] if details.get("model") else []
    rules = details.get("rules")
    if isinstance(rules, Mapping):
        layers: dict[str, list[str]] = {}
        for layer, rule in rules.items():
            layers.setdefault(_line(rule), []).append(_line(layer))
        of_all = len(layers) == 1 and rules.keys() >= set(shown)  # those that were matrices already may have none
        lines += [(f"Rule: {rule}", "all layers" if of_all else ", ".join(names)) for rule, names in layers.items()]
    lines += [(key.capitalize(), _line(value)) for key, value in details.items() if key not in ("model", "rules") and value]
    return lines
