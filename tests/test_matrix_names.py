"""Short names of layers, for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simkit.text import short_names

PARTS = st.sampled_from(
    ["model", "layers", "0", "1", "11", "conv", "conv#2", "", "''", "\x1b[31m", "<script>", "\ud800", "a" * 300]
)
NAMES = st.lists(PARTS, min_size=1, max_size=5).map(".".join)


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["model.layers.0.attn.o", "model.layers.1.mlp.up"], ["0.attn.o", "1.mlp.up"]),
        (["model.layers.0.attn.o", "model.layers.11.attn.o"], ["0", "11"]),
        (["conv1", "conv2"], ["conv1", "conv2"]),  # parts are whole
        (["features.0.conv", "features.0.norm"], ["0.conv", "0.norm"]),  # numbers stay
        (["layer1.0", "layer2.0"], ["layer1.0", "layer2.0"]),
        (["net.a.net", "net.b.net"], ["a", "b"]),
        (["net", "net.a"], ["net", "net.a"]),  # nothing would be left of the first
        (["a.b", "a.c.b"], ["b", "c.b"]),
        (["x.0#2.a", "x.0#2.b"], ["0#2.a", "0#2.b"]),
        (["model.head"], ["model.head"]),
        (["model.head", "model.head"], ["model.head", "model.head"]),
        (["", "a"], ["''", "a"]),
        (["", "''"], ["''''", "''"]),
        (["net.", "net.a"], ["net.", "net.a"]),
        (["net..", "net..a"], ["net..", "net..a"]),
        ([], []),
    ],
)
def test_short_names(names, short):
    assert short_names(names) == short


@given(st.lists(NAMES | st.text(max_size=8), max_size=6))
def test_short_names_are_as_many_and_as_different(names):
    short = short_names(names)
    assert len(short) == len(names)
    assert len(set(short)) == len(set(names))
    assert all(short)
    assert all(s in name for s, name in zip(short, names, strict=True) if name)


@given(
    st.lists(NAMES, min_size=2, max_size=6, unique=True), st.lists(st.sampled_from(["model", "net", "module"]), max_size=3)
)
def test_shared_parts_do_not_count(names, shared):
    short = short_names(names)
    if all(any(name.split(".")) for name in names):
        assert short_names([".".join([*shared, name]) for name in names]) == short
        assert [s.split(".").count("11") for s in short] == [name.split(".").count("11") for name in names]
