"""An index on other array libraries: its scores, half precision, gradients, and the transformations of functions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from simkit.arrays import Array, namespace_of, to_numpy
from simkit.representation import Representation
from simkit.testing.case import IndexCase
from simkit.testing.check import in_each_framework, on_each_library, refused, table, told, traced
from simkit.testing.gradients import gradient_in_jax, gradient_in_torch, slopes
from simkit.testing.libraries import LIBRARIES, Library, problems_of_array
from simkit.testing.report import Skipped

__all__ = ["CHECKS"]

_COLLAPSED = ("dead units", "units that are equal up to a factor")  # fewer directions than units


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
            # JAX compiles every operation for every kind of input; in float64 others show the same.
            hard = [
                pair for pair in case.hard if library.name != "jax" or pair.X.dtype == np.float32 or pair.what in _COLLAPSED
            ]
            yield from case.inaccurate("layers", lambda X, Y: case.index(library.asarray(X), library.asarray(Y)), hard)
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
    for name, dtype in (("numpy", "float16"), ("torch", "float16"), ("torch", "bfloat16")):
        if name not in {"numpy", *case.capabilities}:
            continue
        try:
            xp = LIBRARIES[name].require()
        except Skipped:
            continue
        halves = [xp.asarray(x, dtype=getattr(xp, dtype)) for x in next(case.pairs)]
        score, expected = case.score(*halves), case.number(*(to_numpy(xp.asarray(x, dtype=xp.float64)) for x in halves))
        if not str(score.dtype).endswith("float32"):
            yield f"{dtype} arrays of {name} give a score in {score.dtype}; expected float32"
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
    yield from traced(case, "the score", case.score, next(case.pairs), ())


CHECKS = table(
    *on_each_library(_on, "A 0-d array on the device and in the precision of the input, with the score of NumPy in float64"),
    half_precision,
    *in_each_framework(_gradient),
    traced_by_jax,
    mapped_by_torch,
    compiled_by_torch,
)
