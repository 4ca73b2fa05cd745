"""What is written once for all statistics, tried for each on every library: batches, merging, files, and the one way out."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from data import pair

import simkit
from simkit.errors import ConstantInputWarning, InvalidArrayError
from simkit.planner import Question, plan
from simkit.scale.batches import Batches
from simkit.scale.stream import Stream
from simkit.scoring import scores
from simkit.sides import Sides

# An index of each statistic that batches can be gathered in.
SPECS = {
    "Moments": "cka",
    "Moments of third order": "cka(estimator=unbiased)",
    "Roots": "cca",
    "MinibatchHSIC": "cka(estimator=minibatch)",
    "MinibatchHSIC of an RBF": "hsic(estimator=minibatch, kernel=rbf(sigma=3.0))",
}
EDGES = (0, 20, 20, 40, 60)  # one batch is empty
NAMES = ("x", "y", "z")
SIDES, _ = Sides.of_layers(dict.fromkeys(NAMES))

every_statistic = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def layers(dtype="float64"):
    X, Y = pair(60, 5, 4, dtype=np.dtype(dtype))
    return {"x": X, "y": Y, "z": np.tanh(X[:, :3] + Y[:, :3])}


def parts_of(data, backend, edges=EDGES):
    here = {name: backend.asarray(x) for name, x in data.items()}
    return [{name: x[a:b, :] for name, x in here.items()} for a, b in itertools.pairwise(edges)]


def kind_of(spec):
    """The class of the statistic, and the options of its `of`."""
    chosen = plan(Question(simkit.get_index(spec), "batches", None, (5, 4, 3), None))
    sides = {"rows": SIDES.row_names, "columns": SIDES.column_names} if "minibatch" in spec else {}
    return chosen.statistic, dict(chosen.options) | sides


def batched(spec, parts, **options):
    """The statistic of batches, by the names that it has in a stream."""
    batches = Batches(*kind_of(spec))
    for part in parts:
        named = {f"A[{name!r}]": x for name, x in part.items()}
        batches.add(named, dict.fromkeys(named, 0.0), **options)
    return batches.statistic


def scored(spec, statistic):
    return scores(simkit.get_index(spec), statistic, SIDES)


def streamed(spec, parts, **options):
    stream = simkit.stream(spec, **options)
    for part in parts:
        stream.update(part)
    return stream


def expected(spec, data):
    """The scores of all examples in NumPy, in float64: from memory, but of batches where these make the index."""
    if "minibatch" not in spec:
        return simkit.pairwise(data, index=spec).to_numpy()
    whole = [{name: x[a:b] for name, x in data.items()} for a, b in itertools.pairwise(EDGES)]
    sums = [
        simkit.pairwise(part, index="hsic", estimator="unbiased", kernel=kernel(spec)).to_numpy()
        for part in whole
        if len(part["x"])
    ]
    total = np.sum(sums, axis=0)
    return total / np.sqrt(np.outer(np.diag(total), np.diag(total))) if spec.startswith("cka") else total / len(sums)


def kernel(spec):
    return simkit.get_index(spec).kernel


@every_statistic
def test_batches_score_as_all_examples(spec, backend):
    data = layers()
    statistic = batched(spec, parts_of(data, backend))
    found = scored(spec, statistic)
    assert type(found) is type(backend.asarray(data["x"]))
    assert (found.dtype, found.shape) == (backend.dtype("float64"), (3, 3))
    assert (statistic.n, statistic.names, statistic.widths) == (60, SIDES.names, (5, 4, 3))
    np.testing.assert_allclose(backend.to_numpy(found), expected(spec, data), rtol=1e-9, atol=1e-12)


@every_statistic
def test_precision_is_that_of_the_widest_batch(spec, backend):
    data = layers("float32")
    first, _, *rest = parts_of(data, backend)
    single = batched(spec, [first, *rest])
    double = batched(
        spec, [first, *({name: backend.xp.astype(x, backend.xp.float64) for name, x in part.items()} for part in rest)]
    )
    for statistic, dtype in ((single, "float32"), (double, "float64")):
        found = scored(spec, statistic)
        assert found.dtype == backend.dtype(dtype)
        assert statistic.values.rounding == (2.0**-23,) * 3  # what was given in float32 is known no better
        np.testing.assert_allclose(backend.to_numpy(found), expected(spec, layers()), rtol=3e-5, atol=1e-6)


@every_statistic
def test_merging_in_any_order_changes_nothing_but_rounding(spec, backend):
    data = layers()
    parts = [batched(spec, [part]) for part in parts_of(data, backend)]
    before = [part.to_arrays() for part in parts]
    merged = type(parts[0]).merged
    ways = [merged(list(order)) for order in itertools.permutations(parts)][::5]
    ways += [
        merged([merged(parts[:2]), merged(parts[2:])]),
        merged([merged([merged([parts[3]]), parts[1]]), parts[0], parts[2]]),
    ]
    for whole in ways:
        assert whole.n == 60
        np.testing.assert_allclose(backend.to_numpy(scored(spec, whole)), expected(spec, data), rtol=1e-9, atol=1e-12)
    for part, arrays in zip(parts, before, strict=True):
        for name, x in part.to_arrays().items():
            np.testing.assert_array_equal(x, arrays[name])
    with pytest.raises(InvalidArrayError, match="other layers"):
        merged([parts[0], batched(spec, parts_of({**data, "y": data["y"][:, :2]}, backend, (0, 20)))])


@every_statistic
def test_undefined_layers_are_nan_and_leave_the_others_alone(spec, backend):
    """One that is constant, and one with values that are not finite, in one batch of several."""
    data, whole = layers(), expected(spec, layers())
    constant = {**data, "y": np.full((60, 4), 0.1)}
    with pytest.warns(ConstantInputWarning, match=r"A\['y'\] is constant: all 60 examples are the same"):
        found = scored(spec, batched(spec, parts_of(constant, backend)))
    holed = {**data, "y": data["y"].copy()}
    holed["y"][[10, 45], [1, 2]] = np.nan, -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        statistic = batched(spec, parts_of(holed, backend))
        also_found = scored(spec, statistic)
    assert statistic.values.nonfinite == (0, 2, 0)
    for values in (backend.to_numpy(found), backend.to_numpy(also_found)):
        assert np.isnan(values[1]).all()
        assert np.isnan(values[:, 1]).all()
        np.testing.assert_allclose(values[::2, ::2], whole[::2, ::2], rtol=1e-9, atol=1e-12)


@every_statistic
def test_constant_in_each_batch_is_not_constant(spec, backend):
    data = layers()
    steps = {**data, "y": np.repeat([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]], 20, axis=0)}
    parts = parts_of(steps, backend, (0, 20, 40, 60))
    for whole in (batched(spec, parts), type(batched(spec, parts)).merged([batched(spec, [part]) for part in parts])):
        assert whole.values.varies == (True, True, True)
        assert whole.values.n == 60


@every_statistic
def test_streams_of_values_that_are_not_finite_say_how_many(spec, backend):
    data = layers()
    data["z"][[3, 50], 0] = np.inf, np.nan
    parts = parts_of(data, backend)
    with pytest.raises(InvalidArrayError, match=r"A\['z'\] of batch 0 has 1 of 60 values that are nan or inf"):
        streamed(spec, parts)
    stream = streamed(spec, parts, check_finite=False)
    with pytest.raises(InvalidArrayError, match=r"2 in A\['z'\]"):
        stream.compute()


@every_statistic
def test_files_go_on_in_any_library(spec, backend, tmp_path):
    data = layers()
    parts = parts_of(data, backend)
    streamed(spec, parts[:3]).save(tmp_path / "pass.npz")
    for more in (parts[3], parts_of(data, backend, (40, 60))[0], {name: x[40:] for name, x in data.items()}):
        resumed = Stream.load(tmp_path / "pass.npz")
        assert (resumed.n, resumed.batches, resumed.like) == (40, 3, None)
        resumed.update(more)
        found = resumed.compute()
        assert (found.rows, found.n) == (NAMES, 60)
        assert type(found.values) is type(more["x"])
        np.testing.assert_allclose(found.to_numpy(), expected(spec, data), rtol=1e-9, atol=1e-12)


@every_statistic
def test_the_first_batch_may_be_empty(spec, backend):
    data = layers()
    none, *rest = parts_of(data, backend, (0, 0, *EDGES[1:]))
    stream = streamed(spec, [none])
    assert (stream.n, stream.batches, stream.rows) == (0, 1, NAMES)
    with pytest.raises(InvalidArrayError, match="0 examples in all"):
        stream.compute()
    for part in rest:
        stream.update(part)
    np.testing.assert_allclose(stream.compute().to_numpy(), expected(spec, data), rtol=1e-9, atol=1e-12)


@every_statistic
def test_labels_of_each_batch_are_checked(spec, backend):
    first, second = parts_of(layers(), backend, (0, 20, 40))
    stream = simkit.stream(spec)
    stream.update(first, first, ids=(range(20), range(20)))
    with pytest.raises(InvalidArrayError, match="label"):
        stream.update(second, second, ids=(range(20), range(1, 21)))
    assert stream.n == 20
