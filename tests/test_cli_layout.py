"""Matrices as text of a given width: no value and no name is hidden, and no line is wider."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

cells = pytest.importorskip("rich.cells")
layout = pytest.importorskip("simkit.cli.layout")
numerals = pytest.importorskip("simkit.cli.numerals")
printable = pytest.importorskip("simkit.text").printable

NUMBERS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 0.5, 0.9996, -0.25, math.nan, math.inf, -math.inf, 1e-12, -1e-12, 12345.678, 1e300]),
    st.floats(-1, 1),
    st.floats(allow_nan=False),
)
NAMES = st.one_of(
    st.text(max_size=12),
    st.from_regex(r"(model\.)?(layers|blocks)\.\d{1,2}\.(self_attn\.q_proj|mlp|conv-1)", fullmatch=True),
    st.text("a.層é_", min_size=30, max_size=120),
)
PREFIXES = st.sampled_from(["", "model.layers.", "net.", "a" * 50 + "."])


@st.composite
def matrices(draw, most=9):
    prefix = draw(PREFIXES)
    rows = [prefix + name for name in draw(st.lists(NAMES, min_size=1, max_size=most, unique=True))]
    columns = rows
    if draw(st.booleans()):
        columns = [prefix + name for name in draw(st.lists(NAMES, min_size=1, max_size=most, unique=True))]
    flat = draw(st.lists(NUMBERS, min_size=3, max_size=20))
    values = np.resize(np.asarray(flat), (len(rows), len(columns)))
    return values, rows, columns


def text_of(line):
    return "".join(piece.text for piece in line)


def read_back(lines):
    """Values and full names, from the text alone and the places that it says it is of."""
    values, names, numbers, shared = {}, {}, {}, {"rows": ("", ""), "columns": ("", "")}
    for line in lines:
        note = re.match(r"names (?:of (rows|columns) )?without ('.*')$", text_of(line))
        if note and line[0].role == "note":
            for side in [note[1]] if note[1] else shared:
                shared[side] = note[2]
        for piece in line:
            place = piece.row, piece.column
            if piece.role == "value":
                assert place not in values
                values[place] = piece.text.strip()
            elif piece.role == "name":
                names.setdefault(place, []).append(piece.text)
            elif piece.role == "number" and piece.text.strip():
                numbers.setdefault(place, set()).add(piece.text.strip())
    return values, names, numbers


@settings(max_examples=60, deadline=None)
@given(matrices(), st.integers(40, 200), st.booleans())
@example((np.full((24, 24), 0.123), *[[f"model.layers.{i}.attn" for i in range(24)]] * 2), 80, True)
@example((np.full((1, 40), -1e-12), ["x"], [f"layer{i}" for i in range(40)]), 40, False)
def test_nothing_is_hidden_and_no_line_is_wider(matrix, width, bounded):
    values, rows, columns = matrix
    if bounded:
        values = np.where(np.isfinite(values), np.clip(values, -1, 1), values)
    lines = layout.lay_out(values, rows, columns, width, bounded=bounded, measure=cells.cell_len, most=10**6)
    assert max(cells.cell_len(text_of(line)) for line in lines) <= width
    found, names, numbers = read_back(lines)
    assert set(found) == {(i, j) for i in range(len(rows)) for j in range(len(columns))}
    sizes = np.abs(values[np.isfinite(values)])
    for place, text in found.items():
        check_number(float(values[place]), text, bounded and sizes.size > 0 and sizes.max() >= 0.005)
    everything = "".join(text_of(line) for line in lines if line and line[0].role == "note")
    same = rows == columns
    for side, at in ((rows, 0), (columns, 1)):
        for k, name in enumerate(map(printable, side)):
            place = (k, None) if at == 0 else (None, k)
            other = (None, k) if at == 0 else (k, None)
            pieces = names.get(place) or (names.get(other) if same else None)
            assert pieces is not None, f"{name} is shown nowhere"
            if place not in names:
                assert numbers[place] == {str(k + 1)}
            shown = "".join(pieces).replace(" ", "")
            full = name.replace(" ", "")
            assert full in shown or shown_without(full, shown, everything.replace(" ", "")), (name, pieces)


def shown_without(full, shown, notes):
    """Whether a remark says what a name lacks; `shown` has it once for each block."""
    if full == "":
        return True
    for begin in range(len(full)):
        for end in range(len(full), begin, -1):
            part = full[begin:end]
            lacking = [repr(rest) for rest in (full[:begin], full[end:]) if rest]
            if shown.startswith(part) and all(rest in notes for rest in lacking) and not shown.replace(part, ""):
                return True
    return False


def check_number(value, text, near_zero):
    assert text != "-0"
    if not math.isfinite(value):
        assert text == str(value)
        return
    assert not (value > 0 and text.startswith("-"))
    shown = float(text)
    mantissa, _, exponent = text.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    assert abs(shown - value) <= 0.501 * unit or abs(shown - value) <= 1e-9 * abs(value)
    assert not math.isclose(shown, 0, abs_tol=0) or value == 0 or near_zero, f"{value} looks like nothing: {text}"


@settings(max_examples=20, deadline=None)
@given(matrices(6))
def test_without_a_width_there_is_one_block_with_whole_names(matrix):
    values, rows, columns = matrix
    lines = layout.lay_out(values, rows, columns, None, bounded=False, measure=cells.cell_len)
    assert len(lines) == len(rows) + 1
    for name, piece in zip(columns, lines[0][1:], strict=True):
        assert piece.text.endswith(printable(name))
    assert [line[0].text for line in lines[1:]] == list(map(printable, rows))
    lengths = {cells.cell_len(text_of(line)) for line in lines}
    assert len(lengths) == 1  # columns stand one below the other


def test_the_demo_fits_into_80_columns_in_one_block():
    names = [f"conv{i}" for i in range(1, 9)] + ["avgpool", "logits"]
    lines = layout.lay_out(np.full((10, 10), 0.8765), names, names, 80)
    assert len(lines) == 11
    assert text_of(lines[0]).split() == names
    assert text_of(lines[1]).split() == ["conv1", *[".877" if np.round(0.8765, 3) > 0.8765 else ".876"] * 10]


def test_many_layers_of_one_network_are_a_list():
    lines = layout.lay_out(np.linspace(0, 1, 40)[None], ["x"], [f"layer{i}" for i in range(40)], 80)
    assert text_of(lines[0]) == "rows and columns are exchanged"
    assert [text_of(line).split()[0] for line in lines[-40:]] == [f"layer{i}" for i in range(40)]


def test_a_wider_terminal_has_fewer_lines():
    names = [f"model.layers.{i}.{part}" for i in range(8) for part in ("self_attn.o_proj", "mlp.up_proj")]
    values = np.random.default_rng(0).random((16, 16))
    counts = [len(layout.lay_out(values, names, names, width, most=10**6)) for width in (40, 80, 120, 200)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 30


@pytest.mark.parametrize("shape", [(150, 150), (900, 2), (2000, 2000)])
def test_very_many_layers_are_too_many_lines(shape):
    names = [[f"l{i}" for i in range(count)] for count in shape]
    assert layout.lay_out(np.zeros(shape), *names, 80) is None
    if shape != (2000, 2000):
        assert layout.lay_out(np.zeros(shape), *names, None) is not None


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(NAMES, NAMES, NUMBERS), min_size=1, max_size=30), st.integers(40, 120), st.integers(1, 60))
def test_best_matches(found, width, most):
    matches = [layout.Match(row, (column,), value, 0.5) for row, column, value in found]
    lines = layout.best_lines(matches, width, bounded=False, measure=cells.cell_len, most=most)
    assert max(cells.cell_len(text_of(line)) for line in lines) <= width
    told = "".join(text_of(line) for line in lines).replace(" ", "")
    left = re.search(r"and(\d+)morerows$", told)
    for row, column, _ in found[: len(found) - int(left[1])] if left else found:
        assert printable(row).replace(" ", "") in told
        assert printable(column).replace(" ", "") in told


@pytest.mark.parametrize(
    ("values", "decimals", "bounded", "expected"),
    [
        ([0.5, -0.0001, 1.0, math.nan], 3, True, [".500", ".000", "1.000", "nan"]),
        ([-0.25, 0.9996], 2, True, ["-.25", "1.00"]),
        ([3e-4, -1e-12], 3, True, ["3.00e-4", "-1.00e-12"]),
        ([12345.678, 0.5, 0.0], 3, False, ["12346", ".500", "0"]),
        ([3.9, 4, 4.02], 3, False, ["3.900", "4.000", "4.020"]),
        ([1e300, math.inf], 3, False, ["1.00e300", "inf"]),
    ],
)
def test_numbers(values, decimals, bounded, expected):
    write = numerals.writer(np.asarray(values), decimals, bounded=bounded, zero=False)
    assert list(map(write, values)) == expected


def test_spread():
    write = numerals.writer(np.asarray([0.12, 0.8]), 2, bounded=True, zero=False)
    assert numerals.spread([0.8, math.nan, 0.12], write) == ".12 to .80"
    assert numerals.spread([0.12], write) == ".12"
    assert numerals.spread([math.nan], write) == "nan"
