"""Soft matching and maximum matching of neurons against their definitions in float64."""

from __future__ import annotations

import importlib.util
import itertools

import numpy as np
import pytest
from data import pair
from scipy.optimize import linprog

import simkit
from simkit.errors import SpecError

# simkit.linalg has a function of that name
transport = importlib.import_module("simkit.linalg.transport")
HAS_POT = importlib.util.find_spec("ot") is not None


def centred(x):
    return x - x.mean(axis=0)


def close(backend, index, x, y, expected, abs=1e-12):
    score = simkit.compare(backend.asarray(x), backend.asarray(y), index)
    assert float(score) == pytest.approx(expected, rel=1e-10, abs=abs)
    half = simkit.compare(backend.asarray(x, dtype="float32"), backend.asarray(y, dtype="float32"), index)
    assert half.dtype == backend.dtype("float32")
    assert float(half) == pytest.approx(expected, rel=1e-4, abs=1e-4)


# --- soft matching --------------------------------------------------------------------------------------------------------


def transported(x, y):
    """The linear program as it stands, with all constraints written out."""
    r = np.corrcoef(x.T, y.T)[: x.shape[1], x.shape[1] :]
    p, q = r.shape
    rows = [np.where(np.arange(p)[:, None] == i, np.ones((p, q)), 0.0).ravel() for i in range(p)]
    columns = [np.where(np.arange(q)[None, :] == j, np.ones((p, q)), 0.0).ravel() for j in range(q)]
    found = linprog(-r.ravel(), A_eq=np.array(rows + columns), b_eq=[1 / p] * p + [1 / q] * q)
    return -found.fun


@pytest.mark.parametrize("shape", [(30, 4, 6), (30, 5, 5), (12, 16, 3), (30, 13, 11)], ids=str)
def test_soft_match_by_its_linear_program(backend, shape):
    x, y = pair(*shape)
    expected = transported(x, y)
    close(backend, "soft_match", x, y, expected)
    close(backend, "soft_match(summary=distance)", x, y, np.sqrt(2 - 2 * expected))


def agreeing(monkeypatch, ways, x, y):
    """Scores by each way to the plan: `_COPIES` that allow an assignment, and whether POT seems to be installed."""
    found = {}
    for way in ways:
        with monkeypatch.context() as patch:
            patch.setattr(transport, "_COPIES", 100 if way == "assignment" else 0)
            patch.setattr(transport.importlib.util, "find_spec", lambda name, way=way: way == "simplex" or None)
            found[way] = simkit.compare(x, y, "soft_match")
    return found


@pytest.mark.parametrize("shape", [(30, 6, 4), (30, 4, 6), (40, 5, 5), (20, 9, 12), (300, 35, 50)], ids=str)
def test_all_ways_to_the_plan_agree(monkeypatch, shape):
    x, y = pair(*shape)
    ways = ["assignment", "paths", *(["simplex"] if HAS_POT else [])]
    scores = agreeing(monkeypatch, ways, x, y)
    assert list(scores.values()) == pytest.approx([scores["assignment"]] * len(ways), rel=1e-12)


def test_plans_where_many_are_as_good(monkeypatch):
    """Copies of neurons, and neurons that differ in sign alone: ties everywhere, and no way goes round in circles."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 2, (12, 3)).astype(float), rng.integers(0, 2, (12, 4)).astype(float)
    x, y = np.concatenate([x, -x, x], axis=1), np.concatenate([y, y, -y], axis=1)
    ways = ["assignment", "paths", *(["simplex"] if HAS_POT else [])]
    scores = agreeing(monkeypatch, ways, x, y)
    assert list(scores.values()) == pytest.approx([transported(x, y)] * len(ways), rel=1e-9)


@pytest.mark.parametrize("shape", [(7, 11), (11, 7), (6, 15)], ids=str)
def test_a_plan_has_its_margins(monkeypatch, shape):
    p, q = shape
    monkeypatch.setattr(transport.importlib.util, "find_spec", lambda name: None)
    some = np.ones(p + 2)
    some[[1, 4]] = 0
    gains = np.random.default_rng(0).standard_normal((p + 2, q))
    plan = transport.transport(gains, some, np.ones(q))
    np.testing.assert_allclose(plan.sum(axis=0), 1 / q, rtol=1e-12)
    np.testing.assert_allclose(plan.sum(axis=1), some / p, rtol=1e-12)
    assert plan.min() >= 0


def test_soft_match_of_equal_widths_is_a_permutation():
    x, y = pair(30, 6, 6)
    r = np.corrcoef(x.T, y.T)[:6, 6:]
    best = max(np.mean(r[range(6), order]) for order in itertools.permutations(range(6)))
    assert simkit.compare(x, y, "soft_match") == pytest.approx(best, rel=1e-12)
    assert simkit.compare(x, y, "soft_match") == pytest.approx(simkit.compare(x, y, "bipartite_match"), rel=1e-12)


def test_copies_of_neurons_do_not_matter_to_soft_matching():
    x, y = pair(30, 4, 3)
    assert simkit.compare(np.repeat(x, 3, axis=1), y, "soft_match") == pytest.approx(simkit.compare(x, y, "soft_match"))
    still = np.concatenate([x, np.full((30, 2), 7.0)], axis=1)
    assert simkit.compare(still, y, "soft_match") == pytest.approx(simkit.compare(x, y, "soft_match"))


# --- maximum matching -----------------------------------------------------------------------------------------------------


def distance(v, spanning):
    if spanning.shape[1] == 0:
        return np.linalg.norm(v)
    return np.linalg.norm(v - spanning @ np.linalg.lstsq(spanning, v, rcond=None)[0])


def is_match(x, y, a, b, epsilon):
    return all(distance(x[:, i], y[:, b]) <= epsilon * np.linalg.norm(x[:, i]) for i in a) and all(
        distance(y[:, j], x[:, a]) <= epsilon * np.linalg.norm(y[:, j]) for j in b
    )


def largest_match(x, y, epsilon):
    """Definition 2, by trying every pair of subsets."""
    subsets = [
        [list(some) for size in range(z.shape[1] + 1) for some in itertools.combinations(range(z.shape[1]), size)]
        for z in (x, y)
    ]
    best = max(len(a) + len(b) for a, b in itertools.product(*subsets) if is_match(x, y, a, b, epsilon))
    return best / (x.shape[1] + y.shape[1])


@pytest.mark.parametrize("epsilon", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_maximum_match_among_all_subsets(backend, epsilon, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((20, 4)) + 5
    y = np.concatenate([x[:, :3] @ rng.standard_normal((3, 3)), rng.standard_normal((20, 1))], axis=1)
    y += 0.3 * rng.standard_normal(y.shape)
    close(backend, f"maximum_match(epsilon={epsilon})", x, y, largest_match(centred(x), centred(y), epsilon))


def test_maximum_match_finds_the_common_part():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 6))
    y = np.concatenate([x[:, :4] @ rng.standard_normal((4, 4)), rng.standard_normal((50, 3))], axis=1)
    assert simkit.compare(x, y, "maximum_match(epsilon=0.01)") == pytest.approx((4 + 4) / (6 + 7))
    assert simkit.compare(x, y, "maximum_match(epsilon=1)") == 1
    assert simkit.compare(x[:, 4:], y[:, 4:], "maximum_match(epsilon=0.01)") == 0
    still = np.concatenate([x, np.ones((50, 3))], axis=1)
    assert simkit.compare(still, y, "maximum_match(epsilon=0.01)") == pytest.approx((4 + 4) / (6 + 7))


def test_a_removed_neuron_may_take_others_with_it():
    """y2 is spanned by x1 and x2 only together; once x2 is gone, so is y2."""
    e = np.linalg.qr(centred(np.random.default_rng(1).standard_normal((30, 4))))[0]
    x = np.stack([e[:, 0], e[:, 1]], axis=1)
    y = np.stack([e[:, 0], e[:, 1] + 3 * e[:, 2]], axis=1)
    assert simkit.compare(x, y, "maximum_match(epsilon=0.5)") == pytest.approx(0.5)


def test_bad_epsilon():
    for value in (0, 1.5, -1):
        with pytest.raises(SpecError, match=r"maximum_match: epsilon=.*expected a number > 0 and <= 1"):
            simkit.get_index(f"maximum_match(epsilon={value})")
