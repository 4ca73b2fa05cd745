"""The checks of an index. Each is a generator of everything that it finds wrong; its docstring says what is expected."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

import simkit
from simkit.arrays import Array, is_dask, namespace_of, to_numpy
from simkit.errors import AccuracyWarning, ConstantInputWarning, InvalidArrayError, NeedsAllExamplesError
from simkit.index import Index
from simkit.properties import Facts, Invariances, problems_of
from simkit.representation import Representation
from simkit.testing.case import Check, IndexCase, on_each_library, refused, table, told
from simkit.testing.gradients import gradient_in_jax, gradient_in_torch, slopes
from simkit.testing.layers import between, degenerate_pairs, different, unrelated
from simkit.testing.libraries import LIBRARIES, Library, problems_of_array
from simkit.testing.report import Skipped
from simkit.testing.values import check_declared_invariances, check_definition, check_values

__all__ = ["INDEX_CHECKS"]

_ROUNDING = 1e-9
_COLLAPSED = ("dead units", "units that are equal up to a factor")  # fewer directions than units


# --- what is declared -----------------------------------------------------------------------------------------------------


def definition(case: IndexCase) -> Iterator[str]:
    """A frozen dataclass with a name, a reference, a docstring and defaults."""
    yield from check_definition(case.index, "index", case.asked)


def facts(case: IndexCase) -> Iterator[str]:
    """All facts are declared, well formed and consistent with each other."""
    try:
        declared = case.index.facts
    except Exception as error:
        yield f"the declared facts cannot be read: {type(error).__name__}: {error}"
        return
    malformed = list(problems_of(declared))
    yield from malformed
    if any(not hasattr(declared, name) for name in Facts.__dataclass_fields__):
        return
    summed = case.index.kernel_estimator is not None and type(case.index).from_sums is not Index.from_sums
    if declared.statistic == "hsic sums" and not summed:
        yield "statistic='hsic sums' is declared, for which kernel_estimator and from_sums are needed, as CKA has them"
    if not malformed:
        yield from _range_and_identity(declared)
    if not isinstance(declared.invariances, Invariances):
        return
    for side, kept in zip("XY", declared.invariances, strict=True):
        yield from check_declared_invariances(kept, f"invariances of {side}")
    if declared.symmetric is True and declared.invariances.x != declared.invariances.y:
        yield "declared symmetric, with other invariances for X than for Y"
    if declared.host is True and declared.differentiable is True:
        yield "host=True with differentiable=True: what SciPy computes on the host has no gradient"


def _range_and_identity(declared: Facts) -> Iterator[str]:
    low, high = declared.range
    if declared.identity is not None and not low <= declared.identity <= high:
        yield f"identity {declared.identity!r} is outside of the range [{low:g}, {high:g}]"
    if declared.metric and (not declared.symmetric or declared.identity != 0 or low < 0):
        yield (
            f"declared a metric, so symmetric=True, identity=0 and no negative score are expected; found "
            f"symmetric={declared.symmetric}, identity={declared.identity}, range from {low:g}"
        )


def values(case: IndexCase) -> Iterator[str]:
    """Hashable, immutable, and the same after pickle, deepcopy, its spec string and the journey to a cluster."""
    yield from check_values(case.index)


# --- what the declarations promise ----------------------------------------------------------------------------------------


def invariances(case: IndexCase) -> Iterator[str]:
    """What is declared harmless, to X and to Y, leaves the score as it is."""
    for (side, name), (before, after) in case.moves.items():
        if name in _kept(case, side) and case.differ(before, after):
            yield f"declared invariant to {name} of {side}, but the score goes from {before:.9g} to {after:.9g}"


def crosses(case: IndexCase) -> Iterator[str]:
    """What is not declared does not hold either: an index that is invariant or symmetric after all should say so."""
    for (side, name), (before, after) in case.moves.items():
        if name not in _kept(case, side) and not case.differ(before, after):
            yield f"no random {name} of {side} changes the score, but {name} is not among the declared invariances"
    if not case.facts.symmetric and not any(case.differ(score, turned) for score, turned in _both_ways(case)):
        yield "score(X, Y) = score(Y, X) for all random layers, but symmetric=False is declared"
    if case.facts.identity is None and not case.facts.generic:
        found = [case.number(Z, Z) for X, Y in case.pairs for Z in (X, Y, np.concatenate([X[:3], X[:-3]]))]  # ties, too
        if math.isfinite(found[0]) and not any(case.differ(score, found[0]) for score in found):
            yield f"score(X, X) is {found[0]:.6g} for every random layer, but identity=None is declared"


def _kept(case: IndexCase, side: str) -> frozenset[Any]:
    return case.facts.invariances.x if side == "X" else case.facts.invariances.y


def _both_ways(case: IndexCase) -> Iterator[tuple[float, float]]:
    for (X, Y), score in zip(case.pairs, case.reference, strict=True):
        yield score, case.number(Y, X)


def symmetry(case: IndexCase) -> Iterator[str]:
    """score(X, Y) = score(Y, X) where declared symmetric."""
    if not case.facts.symmetric:
        raise Skipped("symmetric=False is declared")
    for score, turned in _both_ways(case):
        if case.differ(score, turned):
            yield f"declared symmetric, but score(X, Y) = {score:.9g} and score(Y, X) = {turned:.9g}"


def in_range(case: IndexCase) -> Iterator[str]:
    """Scores of related, unrelated, opposite and equal layers are defined, and within the range."""
    low, high = case.facts.range
    slack = _ROUNDING * case.size
    for what, X, Y in _of_all_kinds(case):
        score = case.number(X, Y)
        if math.isnan(score):
            yield f"the score of {what} is nan"
        elif not low - slack <= score <= high + slack:
            yield f"the score of {what} is {score:.12g}, outside of the declared range [{low:g}, {high:g}]"


def _of_all_kinds(case: IndexCase) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for X, Y in case.pairs:
        yield f"two layers of shapes {X.shape} and {Y.shape}", X, Y
        yield f"unrelated layers of shapes {X.shape} and {Y.shape}", X, unrelated(Y, case.rng)
        yield f"a layer of shape {X.shape} and itself", X, X
        yield f"a layer of shape {X.shape} and its negative", X, -X
        yield f"a layer of shape {X.shape} and a noisy copy", X, X + 0.1 * unrelated(X, case.rng)


def order_of_examples(case: IndexCase) -> Iterator[str]:
    """Putting the examples of both layers in another order changes nothing, also on data that are hard on arithmetic."""
    if not case.facts.exchangeable:
        raise Skipped("exchangeable=False is declared")
    rng, group = case.rng, case.facts.group
    for what, X, Y in case.hard:
        groups = rng.permutation(len(X) // group)
        order = (groups[:, None] * group + np.arange(group)).ravel()
        before, doubtful = _scored(partial(case.index, X, Y))
        after, _ = _scored(partial(case.index, X[order], Y[order]))
        if case.off(after, before, X.dtype) and not doubtful:
            yield f"the score of layers with {what} goes from {before:.9g} to {after:.9g}"


def hard_data(case: IndexCase) -> Iterator[str]:
    """Float32 layers that are hard on arithmetic score as the same numbers in float64, or there is an AccuracyWarning."""
    for what, X, Y in case.hard:
        if X.dtype == np.float32:
            yield from _unlike(case, f"float32 layers with {what}", partial(case.index, X, Y), X, Y)


def _unlike(case: IndexCase, what: str, score: Callable[[], Any], X: np.ndarray, Y: np.ndarray) -> Iterator[str]:
    """Whether a score of `X` and `Y` is not that of the same numbers in float64 in memory, and no warning says so."""
    found, doubtful = _scored(score)
    expected, unknown = _scored(partial(case.index, X.astype(np.float64), Y.astype(np.float64)))
    if case.off(found, expected, X.dtype) and not doubtful and not unknown:
        yield f"{what} give {found:.9g}, the same numbers in float64 {expected:.9g}, without an AccuracyWarning"


def _scored(score: Callable[[], Any]) -> tuple[float, bool]:
    """A score, and whether an AccuracyWarning came with it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = float(score())
    return found, any(issubclass(warning.category, AccuracyWarning) for warning in caught)


def identity(case: IndexCase) -> Iterator[str]:
    """score(X, X) is the declared identity."""
    declared = case.facts.identity
    if declared is None:
        raise Skipped("identity=None is declared")
    wrong = [score for pair in case.pairs for X in pair if case.differ(score := case.number(X, X), declared)]
    if wrong:
        yield f"identity={declared:g} is declared, but score(X, X) is {wrong[0]:.9g}"


def metric(case: IndexCase) -> Iterator[str]:
    """Where declared a metric, the triangle inequality holds, and layers that differ are at a distance."""
    if not case.facts.metric:
        raise Skipped("not declared a metric")
    for (X, _), size in zip(case.pairs, case.reference, strict=True):
        for what, Z in different(X, case.facts.invariances.x, one_width=case.one_width):
            if not case.number(X, Z) > 1e-4 * abs(size):
                yield f"a layer and {what} are at distance {case.number(X, Z):.3g}; expected more, as they differ"
    for (X, Y), direct in zip(case.pairs, case.reference, strict=True):
        for Z in between(X, Y, one_width=case.one_width):
            detour = case.number(X, Z) + case.number(Z, Y)
            if direct > detour + case.options.tolerance * case.size:
                yield f"the triangle inequality fails: score(X, Y) = {direct:.9g}, and {detour:.9g} by way of a third"


# --- inputs ---------------------------------------------------------------------------------------------------------------


def fewest_examples(case: IndexCase) -> Iterator[str]:
    """Defined for min_examples, refused with InvalidArrayError for one fewer."""
    X, Y = case.pair(case.fewest, 3, 4)
    yield from _problems_at_the_edge(case, f"{case.fewest} examples", X, Y)
    if case.fewest > 2 and math.isnan(case.number(X, Y)):  # with two examples all centred layers are alike
        yield f"{case.fewest} examples give nan; expected a score, since min_examples={case.fewest}"
    try:
        score = case.number(X[:-1], Y[:-1])
    except InvalidArrayError:
        return
    yield f"{case.fewest - 1} examples give {score:.6g}; expected InvalidArrayError, since min_examples={case.fewest}"


def degenerate(case: IndexCase) -> Iterator[str]:
    """Layers at the edge give a score in the range, or nan with a warning: no exception, no silent nan."""
    p1, p2 = case.widths(5, 4)
    for what, X, Y in degenerate_pairs(case.examples(20), p1, p2, case.options.seed):
        yield from _problems_at_the_edge(case, what, X, Y)
        yield from _problems_at_the_edge(case, f"{what}, as Y", Y, X)


def _problems_at_the_edge(case: IndexCase, what: str, X: np.ndarray, Y: np.ndarray) -> Iterator[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            score = float(case.index(X, Y))
        except InvalidArrayError:  # a clear refusal
            return
        except Exception as error:
            yield f"{what}: raised {type(error).__name__}: {' '.join(str(error).split())}"
            return
    low, high = case.facts.range
    warned = any(issubclass(warning.category, ConstantInputWarning) for warning in caught)
    if math.isnan(score) and not warned:
        yield f"{what}: nan without a ConstantInputWarning"
    elif not math.isnan(score) and not low - _ROUNDING * case.size <= score <= high + _ROUNDING * case.size:
        yield f"{what}: {score:.12g}, outside of the declared range [{low:g}, {high:g}]"


def constant(case: IndexCase) -> Iterator[str]:
    """A layer that is the same for all examples gives nan with a ConstantInputWarning."""
    X, Y = case.pair(20, 5, 4)
    for what, x, y in (("X", np.full_like(X, 0.1), Y), ("Y", X, np.zeros_like(Y))):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                score = float(case.index(x, y))
            except Exception as error:
                yield f"a constant {what} raised {type(error).__name__}: {error}; expected nan with a ConstantInputWarning"
                continue
        if not math.isnan(score):
            yield f"a constant {what} gives {score:.6g}; expected nan"
        if not any(issubclass(warning.category, ConstantInputWarning) for warning in caught):
            yield f"a constant {what} gives no ConstantInputWarning"


def not_finite(case: IndexCase) -> Iterator[str]:
    """nan and inf are refused with InvalidArrayError, or give nan where the user turned the check off."""
    X, Y = case.pair(20, 5, 4)
    for value in (math.nan, math.inf):
        bad = X.copy()
        bad[3, 1] = value
        for x, y in ((bad, Y), (Y, bad)):
            try:
                score = case.number(x, y)
                yield f"{value} among the features gives {score:.6g}; expected InvalidArrayError"
            except InvalidArrayError:
                pass
            unchecked = float(case.score(x, y, check_finite=False))
            if not math.isnan(unchecked):
                yield f"{value} among the features gives {unchecked:.6g} with check_finite=False; expected nan"


def inputs_unchanged(case: IndexCase) -> Iterator[str]:
    """Neither X nor Y is written to."""
    for library in ("numpy", "torch")[: 1 + ("torch" in case.capabilities)]:
        for dtype in ("float64", "float32"):
            X, Y = (x.astype(dtype) for x in case.pair(25, 6, 5))
            try:
                x, y = LIBRARIES[library].asarray(X), LIBRARIES[library].asarray(Y)
            except Skipped:
                continue
            case.score(x, y)
            for name, before, after in (("X", X, x), ("Y", Y, y)):
                if not np.array_equal(before, to_numpy(after)):
                    yield f"{name}, a {dtype} array of {library}, was changed"


def same_twice(case: IndexCase) -> Iterator[str]:
    """The same layers give exactly the same score again."""
    for (X, Y), first in zip(case.pairs, case.reference, strict=True):
        again = case.number(X.copy(), Y.copy())
        if again != first and not math.isnan(first):
            yield f"the same layers gave {first!r} and then {again!r}"


def all_pairs(case: IndexCase) -> Iterator[str]:
    """simkit.pairwise, which prepares each layer once, gives the scores of single pairs."""
    X, Y = case.pair(30, 6, 5)
    layers = {"X": X, "Y": Y, "Z": np.tanh(X[:, : Y.shape[1]])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with_itself = simkit.pairwise(layers, index=case.index, progress=False)
        across = simkit.pairwise(layers, {"Y": Y, "Z": layers["Z"]}, case.index, progress=False)
    for matrix in (with_itself, across):
        for row in matrix.rows:
            for column in matrix.columns:
                alone, found = case.number(layers[row], layers[column]), float(matrix[row, column])
                if case.differ(alone, found):
                    yield f"pairwise gives {found:.9g} for {row} and {column}, a single comparison {alone:.9g}"


# --- what an index may do besides ------------------------------------------------------------------------------------------


def permuted(case: IndexCase) -> Iterator[str]:
    """A state with its examples in another order scores as the layer prepared in that order."""
    for X, Y in case.pairs:
        size = case.facts.group
        order = (case.rng.permutation(len(X) // size)[:, None] * size + np.arange(size)).ravel()
        x, y, prepared = _states(case, X, Y, X[order])
        before, expected = (float(case.index.score(state, y)) for state in (x, prepared))
        state = case.index.permuted(x, order)
        if state is None:
            raise Skipped("it prepares a layer anew whose examples are permuted")
        found = float(case.index.score(state, y))
        if case.differ(found, expected):
            yield f"a permuted state scores {found:.9g}, the layer prepared in that order {expected:.9g}"
        if float(case.index.score(x, y)) != before:
            yield "permuted changes the state that it is given"


def leave_one_out(case: IndexCase) -> Iterator[str]:
    """Scores without each example are those of the layers that lack it."""
    layers, x, y = _that_can_lose_some(case)
    found = case.index.leave_one_out([x, y], [y])
    if found is None:
        raise Skipped("it leaves examples out one by one")
    yield from _unlike_without(case, found, layers, np.eye(len(layers[0]), dtype=bool), "leave_one_out")


def resampled(case: IndexCase) -> Iterator[str]:
    """Weights of 1 give the score, weights of 0 and 1 that of the examples with 1, alone or in groups."""
    layers, x, y = _that_can_lose_some(case)
    n = len(layers[0])
    for members in (None, np.arange(n) // 2):
        unit = np.arange(n) if members is None else members
        m = int(unit[-1]) + 1
        found = case.index.resampled([x, y], [y], np.concatenate([np.ones((1, m)), 1 - np.eye(m)]), members)
        if found is None:
            raise Skipped("it does not count copies as weights")
        left_out = np.concatenate([np.zeros((1, n), dtype=bool), unit[None, :] == np.arange(m)[:, None]])
        where = "resampled" if members is None else "resampled with members"
        for problem in _unlike_without(case, found, layers, left_out, where):
            yield f"{problem}; an index whose score is not made of HSICs alone returns None"


def pool(case: IndexCase) -> Iterator[str]:
    """The pool of layers is a state that score takes; of one layer it is that layer, and their order does not matter."""
    for X, Y in case.pairs:
        x, y = _states(case, X, Y)
        alone, both, turned = (case.index.pool(states) for states in ([x], [x, y], [y, x]))
        if alone is None or both is None or turned is None:
            raise Skipped("it pools features")
        found, expected = (float(case.index.score(state, y)) for state in (alone, x))
        if case.differ(found, expected):
            yield f"the pool of one layer scores {found:.9g}, the layer itself {expected:.9g}"
        found, expected = (float(case.index.score(x, state)) for state in (both, turned))
        if case.differ(found, expected) or math.isnan(found):
            yield f"the pool of two layers scores {found:.9g} with the first, and {expected:.9g} in the other order"


def _states(case: IndexCase, *layers: np.ndarray) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tall = len(layers[0]) >= sum(layer.shape[1] for layer in layers[:2])
        return [case.index.prepare(Representation(layer, tall=tall)) for layer in layers]


def _that_can_lose_some(case: IndexCase) -> tuple[tuple[np.ndarray, np.ndarray], Any, Any]:
    """Layers and their states, of which two examples can be left out."""
    if case.facts.group > 1:
        raise Skipped("examples come in groups")
    X, Y = case.pair(max(16, case.fewest + 2), 5, 4)
    sums = case.index.kernel_estimator
    if sums is not None and sums.kernel.fit(X[:2]) is not sums.kernel:
        raise Skipped("a kernel that follows the examples stays that of all of them")
    x, y = _states(case, X, Y)
    return (X, Y), x, y


def _unlike_without(
    case: IndexCase, found: Any, layers: tuple[np.ndarray, np.ndarray], left_out: np.ndarray, method: str
) -> Iterator[str]:
    """What is wrong with scores (B, 2, 1) of (X, Y) and of (Y, Y) without some examples, `left_out` (B, n)."""
    if np.shape(found) != (len(left_out), 2, 1):
        yield f"{method} returned shape {np.shape(found)} for 2 x 1 layers; expected {(len(left_out), 2, 1)}"
        return
    for b, without in enumerate(left_out):
        for i, Z in enumerate(layers):
            expected, score = case.number(Z[~without], layers[1][~without]), float(found[b, i, 0])
            if case.differ(score, expected):
                yield f"{method} gives {score:.9g} where the layers without example {np.flatnonzero(without)} {expected:.9g}"
                return


# --- array libraries ------------------------------------------------------------------------------------------------------


def _on(library: Library, case: IndexCase) -> Iterator[str]:
    with library.active():
        if library.module != "numpy" and library.module not in case.capabilities:
            x, y = map(library.asarray, next(case.pairs))
            yield from refused(case, f"a score of arrays of {library}", partial(_score_of_library, case, x, y))
            return
        for dtype, tolerance in (("float64", case.options.tolerance), ("float32", case.options.tolerance_float32)):
            X, Y = (x.astype(dtype) for x in next(case.pairs))
            x, y = library.asarray(X), library.asarray(Y)
            yield from _problems_of_score(case, x, y, dtype)
            score = case.score(x, y)
            wrong = list(problems_of_array(score, x, (), (dtype,)))
            yield from (f"the score of {dtype} arrays {problem}" for problem in wrong)
            if not wrong:
                expected = case.number(X.astype(np.float64), Y.astype(np.float64))
                if case.differ(float(score), expected, tolerance):
                    yield f"{dtype} arrays give {float(score):.9g}, NumPy in float64 {expected:.9g}"
        if library.name != "numpy":
            for what, X, Y in case.hard:
                if library.name == "jax" and X.dtype == np.float64 and what not in _COLLAPSED:
                    continue  # it compiles every operation for every kind of input; in float64 others show the same
                x, y = library.asarray(X), library.asarray(Y)
                yield from _unlike(case, f"layers with {what}", partial(case.index, x, y), X, Y)
        if library.module == "numpy":
            yield from _of_any_layout(library, case)


def _problems_of_score(case: IndexCase, x: Array, y: Array, dtype: str) -> Iterator[str]:
    """What `Index.score` itself returns: simkit converts its precision, but must not have to."""
    xp, tall = namespace_of(x, y), x.shape[0] >= x.shape[1] + y.shape[1]
    states = [case.index.prepare(Representation(z, name, tall=tall, xp=xp)) for z, name in ((x, "X"), (y, "Y"))]
    raw = case.index.score(*states)
    precise = ("float64",) if dtype == "float64" else ("float32", "float64")  # what was summed in float64 may stay so
    yield from (f"`score` of {dtype} arrays {problem}" for problem in problems_of_array(raw, x, (), precise))


def _score_of_library(case: IndexCase, x: Array, y: Array) -> None:
    """Raise ValueError if the score is not an array of the library of the layers."""
    for problem in _problems_of_score(case, x, y, "float64"):
        raise ValueError(problem)


def _of_any_layout(library: Library, case: IndexCase) -> Iterator[str]:
    X, Y = next(case.pairs)
    wide = np.zeros((X.shape[0], 2 * X.shape[1]))
    wide[:, ::2] = X
    for what, x in (("columns side by side", np.asfortranarray(X)), ("every other column", wide[:, ::2])):
        if library.name == "numpy_readonly":
            x.setflags(write=False)
        score = case.number(x, Y)
        if case.differ(score, case.reference[0]):
            yield f"an array in memory as {what} gives {score:.9g}, and {case.reference[0]:.9g} row by row"


def half_precision(case: IndexCase) -> Iterator[str]:
    """Half precision is computed and returned in float32."""
    for name, dtypes in (("numpy", ("float16",)), ("torch", ("float16", "bfloat16"))):
        if name == "torch" and name not in case.capabilities:
            continue
        try:
            module = LIBRARIES[name].require()
        except Skipped:
            continue
        for dtype in dtypes:
            halves: list[Any] = [
                x.astype(np.float16) if name == "numpy" else module.asarray(x).to(getattr(module, dtype))
                for x in next(case.pairs)
            ]
            whole = [np.asarray(x, dtype=np.float64) if name == "numpy" else x.double().numpy() for x in halves]
            score = case.score(*halves)
            if not str(score.dtype).endswith("float32"):
                yield f"{dtype} arrays of {name} give a score in {score.dtype}; expected float32"
            expected = case.number(*whole)
            if case.differ(float(score), expected, case.options.tolerance_float32):
                yield f"{dtype} arrays of {name} give {float(score):.6g}, the same values in float64 {expected:.6g}"


def _gradient(name: str, gradient: Any, case: IndexCase) -> Iterator[str]:
    case.need(name)
    with LIBRARIES[name].active() as module:
        if "gradients" in case.capabilities:
            yield from _wrong_slopes(module, gradient, case)
            yield from _wrong_slopes_where_collapsed(module, gradient, case)
        elif name == "torch":
            yield from _undeclared_gradient(module, case)
        else:
            raise Skipped("no gradients, as declared")


def _wrong_slopes(module: Any, gradient: Any, case: IndexCase) -> Iterator[str]:
    ordinary = next(case.pairs)
    for side, found, expected in slopes(case.score, ordinary, gradient(module, case.score, *ordinary), case.rng):
        if found is None:
            yield f"no gradient flows to {side}, but differentiable=True is declared"
        elif not abs(found - expected) <= 1e-3 * abs(expected) + 1e-5 * case.size:
            yield f"the slope along a random direction of {side} is {expected:.6g}, but the gradient says {found:.6g}"


def _wrong_slopes_where_collapsed(module: Any, gradient: Any, case: IndexCase) -> Iterator[str]:
    for what, X, Y in case.hard:
        if X.dtype == np.float64 and what in _COLLAPSED:
            gradients = gradient(module, case.score, X, Y)
            for side, found, expected in slopes(case.score, (X, Y), gradients, case.rng, by_example=True):
                if found is None or not abs(found - expected) <= 1e-3 * abs(expected) + 1e-4 * case.size:
                    yield (
                        f"of layers with {what}, the slope along a change of examples of {side} as a whole is "
                        f"{expected:.6g}, but the gradient says {found}"
                    )


def _undeclared_gradient(torch: Any, case: IndexCase) -> Iterator[str]:
    """A gradient that is declared not to be there is refused, or zero as that of a step, or right in PyTorch alone."""
    try:
        gradients = gradient_in_torch(torch, case.score, *next(case.pairs))
    except Exception:
        return
    if not any(gradient is not None and np.any(gradient) for gradient in gradients):
        return
    wrong = list(_wrong_slopes(torch, gradient_in_torch, case))
    if wrong:
        yield f"a gradient flows that is not the slope, and none is declared: {wrong[0]}"
    elif not any(_wrong_slopes_where_collapsed(torch, gradient_in_torch, case)):
        try:
            with LIBRARIES["jax"].active() as jax:
                wrong = list(_wrong_slopes(jax, gradient_in_jax, case))
        except Exception:  # JAX is not installed, or has no gradient
            return
        if not wrong:
            yield "gradients flow and are right in PyTorch and JAX, but differentiable=False is declared"


def mapped_by_torch(case: IndexCase) -> Iterator[str]:
    """torch.func.vmap over a batch of layers gives the score of each; refused where not declared."""
    case.need("torch")
    with LIBRARIES["torch"].active() as torch:
        X, Y = next(case.pairs)
        batch = [X, X**2]
        mapped = partial(torch.func.vmap(case.score, in_dims=(0, None)), torch.tensor(np.stack(batch)), torch.tensor(Y))
        if "vmap" not in case.capabilities:
            yield from refused(case, "torch.func.vmap", mapped)
            return
        try:
            scores = mapped()
        except Exception as error:
            yield f"cannot be mapped, {told(error)}"
            return
        for x, score in zip(batch, scores, strict=True):
            if case.differ(float(score), case.number(x, Y)):
                yield f"of a batch one score is {float(score):.9g}, alone {case.number(x, Y):.9g}"


def compiled_by_torch(case: IndexCase) -> Iterator[str]:
    """torch.compile makes one graph of it, which gives the same score; not where declared not to."""
    case.need("torch")
    with LIBRARIES["torch"].active() as torch:
        X, Y = next(case.pairs)
        torch.compiler.reset()
        compiled = torch.compile(case.index, fullgraph=True, backend="eager")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                score = float(compiled(torch.tensor(X), torch.tensor(Y)))
        except Exception as error:
            if "compile" in case.capabilities:
                yield f"cannot be compiled, {told(error)}"
            return
        if "compile" not in case.capabilities:
            yield "torch.compile makes one graph of it, but facts.without or facts.host says that it does not"
        elif case.differ(score, case.reference[0]):
            yield f"compiled it gives {score:.9g}, else {case.reference[0]:.9g}"


def traced_by_jax(case: IndexCase) -> Iterator[str]:
    """Under jax.jit no value is read: no bool, float or int of an array, no shape that depends on data; or it is refused."""
    case.need("jax")
    with LIBRARIES["jax"].active() as jax:
        x, y = (jax.numpy.asarray(z) for z in next(case.pairs))
        if "jit" not in case.capabilities:
            yield from refused(case, "jax.jit", partial(jax.eval_shape, case.score, x, y))
            return
        try:
            score = jax.eval_shape(case.score, x, y)
        except Exception as error:
            yield f"cannot be traced, {told(error)} (a rank or a threshold must be a 0/1 mask)"
            return
        if tuple(score.shape) != () or str(score.dtype) != "float64":
            yield f"traced by JAX the score has shape {tuple(score.shape)} and dtype {score.dtype}; expected () and float64"


# --- without all examples in memory ---------------------------------------------------------------------------------------


def dask(case: IndexCase) -> Iterator[str]:
    """Where statistic claims it, Dask arrays are not computed before .compute(), and then give the score in memory."""
    if case.facts.statistic == "examples":
        raise Skipped("needs all examples at once, as declared")
    LIBRARIES["dask"].require()
    import dask.array as da
    from dask import config as dask_config

    X, Y = case.pair(60, 6, 5)
    expected = case.number(X, Y)
    for rows, columns in (((17, 3, X.shape[0] - 20), -1), (X.shape[0], -1), (25, 3)):
        computed: list[int] = []

        def seen(block: np.ndarray, computed: list[int] = computed) -> np.ndarray:
            computed.append(len(block))
            return block

        x, y = (
            da.from_array(z, chunks=(rows, columns)).map_blocks(seen, dtype=z.dtype, meta=np.empty((0, 0))) for z in (X, Y)
        )
        try:
            lazy = case.score(x, y)
        except NeedsAllExamplesError as error:
            _excuse(case, error)
        if computed:
            yield f"{sum(computed)} rows were computed before .compute() was called"
        if not is_dask(lazy) or lazy.shape != () or lazy.dtype != np.float64:
            yield f"the score of Dask arrays is {lazy!r}; expected a lazy 0-d array of float64"
            continue
        score = float(lazy.compute(scheduler="synchronous"))
        if case.differ(score, expected):
            yield _not_of(case, f"Dask arrays in {x.numblocks} chunks", score, expected)
    for what, X, Y in case.hard:
        with dask_config.set(scheduler="synchronous"):
            x, y = (da.from_array(z, chunks=(17, -1)) for z in (X, Y))
            yield from _unlike(case, f"Dask arrays with {what}", partial(case.index, x, y), X, Y)


def stream(case: IndexCase) -> Iterator[str]:
    """Where statistic claims it, batches give the score of all examples in memory."""
    if case.facts.statistic == "examples":
        raise Skipped("needs all examples at once, as declared")
    for X, Y in case.pairs:
        try:
            batches = simkit.stream(case.index)
        except NeedsAllExamplesError as error:
            _excuse(case, error)
        start = 0
        for size in (7, 1, 11, len(X)):
            batches.update(X[start : start + size], Y[start : start + size])
            start += size
        score, expected = float(batches.compute()), case.number(X, Y)
        if case.differ(score, expected):
            yield _not_of(case, "a stream", score, expected)
    for what, X, Y in case.hard:
        yield from _unlike(case, f"a stream of layers with {what}", partial(_streamed, case, X, Y), X, Y)


def _streamed(case: IndexCase, X: np.ndarray, Y: np.ndarray) -> Any:
    """The score of two streams of batches, merged."""
    first, second = simkit.stream(case.index), simkit.stream(case.index)
    for k, start in enumerate(range(0, len(X), 11)):
        rows = slice(start, start + 11)
        (first if k % 2 else second).update(X[rows], Y[rows])
    return first.merge(second).compute()


def _excuse(case: IndexCase, error: NeedsAllExamplesError) -> None:
    """Skip where simkit itself says that no statistic suffices; indexes of moments have no such excuse."""
    if case.facts.statistic == "moments":
        raise error
    raise Skipped(" ".join(str(error).split())) from None


def _not_of(case: IndexCase, what: str, score: float, expected: float) -> str:
    return (
        f"{what} give {score:.9g}, all examples in memory {expected:.9g}: the index is no function of "
        f"{'second moments' if case.facts.statistic == 'moments' else 'the three sums of HSIC'}, or not the same one"
    )


def tiles(case: IndexCase) -> Iterator[str]:
    """Scores over tiles of the Gram matrices are those of whole ones."""
    if case.facts.statistic != "hsic sums":
        raise Skipped("not a function of HSIC sums, as declared")
    X, Y = case.pair(300, 4, 3)  # a tile has 256 rows
    try:
        score = float(simkit.compare(X, Y, case.index, tiles="exact"))
    except NeedsAllExamplesError as error:
        _excuse(case, error)
    expected = case.number(X, Y)
    if case.differ(score, expected):
        yield _not_of(case, "tiles", score, expected)
    for what, X, Y in case.hard:
        by_tiles = partial(simkit.compare, X, Y, case.index, tiles="exact")
        yield from _unlike(case, f"tiles of layers with {what}", by_tiles, X, Y)


# --- the table ------------------------------------------------------------------------------------------------------------


INDEX_CHECKS: Mapping[str, Check] = table(
    definition,
    facts,
    values,
    invariances,
    crosses,
    symmetry,
    in_range,
    identity,
    order_of_examples,
    hard_data,
    metric,
    fewest_examples,
    degenerate,
    constant,
    not_finite,
    inputs_unchanged,
    same_twice,
    all_pairs,
    permuted,
    leave_one_out,
    resampled,
    pool,
    *on_each_library(_on, "A 0-d array on the device and in the precision of the input, with the score of NumPy in float64"),
    half_precision,
    Check("gradient_in_torch", "PyTorch's gradient is the slope", partial(_gradient, "torch", gradient_in_torch)),
    Check("gradient_in_jax", "JAX's gradient is the slope", partial(_gradient, "jax", gradient_in_jax)),
    traced_by_jax,
    mapped_by_torch,
    compiled_by_torch,
    dask,
    stream,
    tiles,
)
