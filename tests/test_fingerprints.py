"""Fingerprints of examples: the same for the same examples in the same order, whatever holds them."""

from __future__ import annotations

import hashlib
import itertools
from collections import UserDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simkit.arrays.bits import as_bits
from simkit.arrays.fingerprints import Fingerprint
from simkit.errors import InvalidArrayError

X = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)


def fingerprint(*batches):
    found = Fingerprint()
    for batch in batches:
        found.update(batch)
    return found.hex


def test_the_definition():
    state = bytes(32)
    for row in X:
        state = hashlib.sha256(state + hashlib.sha256(b":float32(3,);" + row.tobytes()).digest()).digest()
    assert fingerprint(X) == state.hex()


@given(st.sets(st.integers(1, 11), max_size=4))
@settings(max_examples=20, deadline=None, database=None)
def test_cuts_do_not_matter(places):
    text, constant = list("abcdefghijkl"), {"scale": 2, "table": np.eye(13)}

    def part(i, j):
        return {"x": X[i:j], "text": text[i:j], "pair": (X[i:j, :1], X[i:j] > 0)} | constant

    cuts = [0, *sorted(places), 12]
    assert fingerprint(*(part(i, j) for i, j in itertools.pairwise(cuts))) == fingerprint(part(0, 12))


@pytest.mark.parametrize(
    "other",
    [
        X[::-1],
        X[:11],
        X.astype(np.float64),
        X.reshape(12, 3, 1),
        np.where(np.arange(36).reshape(12, 3) == 35, 0, X),
        {"x": X},
        [X, X],
    ],
)
def test_what_is_different_is_told_apart(other):
    assert fingerprint(other) != fingerprint(X)


def test_keys_texts_and_options_count():
    assert fingerprint({"a": X, "b": -X}) == fingerprint({"b": -X, "a": X}) != fingerprint({"b": X, "a": -X})
    assert fingerprint(UserDict(a=X)) == fingerprint({"a": X})
    assert fingerprint(["ab", "c"]) != fingerprint(["a", "bc"])
    assert fingerprint({"x": X, "cache": True}) != fingerprint({"x": X, "cache": False})
    assert fingerprint(["\ud800", "b"]) != fingerprint(["\ud801", "b"])


def test_libraries_agree():
    torch = pytest.importorskip("torch")
    assert fingerprint(torch.from_numpy(X)) == fingerprint(X) == fingerprint(X.astype(">f4"))
    low = torch.from_numpy(X).bfloat16()
    assert fingerprint(low) != fingerprint(low.view(torch.int16))
    jnp = pytest.importorskip("jax.numpy")
    assert fingerprint(jnp.asarray(X)) == fingerprint(X)
    assert fingerprint(jnp.asarray(X).astype(jnp.bfloat16)) == fingerprint(low)


@pytest.mark.parametrize("batch", [3, {}, object(), {"x": X, "y": object()}, np.float32(3), None])
def test_what_cannot_be_told_apart_is_refused(batch):
    with pytest.raises(InvalidArrayError, match="no fingerprint"):
        fingerprint(batch)


def test_bits():
    torch = pytest.importorskip("torch")
    low = torch.tensor([[1.0, -2.5]], dtype=torch.bfloat16, requires_grad=True)
    bits, name = as_bits(low)
    assert (bits.dtype, name, bits.shape) == (np.uint16, "bfloat16", (1, 2))
    np.testing.assert_array_equal((bits.astype("<u4") << 16).view("<f4"), [[1.0, -2.5]])
    bits, name = as_bits(X.astype(">f4").T)
    assert (bits.dtype, name, bits.flags.c_contiguous) == (np.float32, "float32", True)
    np.testing.assert_array_equal(bits, X.T)
