"""The checks of a kernel. Each is a generator of everything that it finds wrong; its docstring says what is expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

import simkit
from simkit.arrays import namespace_of, to_numpy
from simkit.indexes import CKA
from simkit.kernel import Kernel
from simkit.properties import problems_of_without
from simkit.representation import Representation
from simkit.testing.case import KernelCase
from simkit.testing.check import Check, changed, in_each_framework, lazy, on_each_library, refused, table, traced
from simkit.testing.gradients import slopes
from simkit.testing.layers import degenerate_pairs, pair
from simkit.testing.libraries import LIBRARIES, Library, problems_of_array
from simkit.testing.report import Skipped
from simkit.testing.values import definition, problems_of_invariances, values

__all__ = ["KERNEL_CHECKS"]


# --- what is declared -----------------------------------------------------------------------------------------------------


def facts(case: KernelCase) -> Iterator[str]:
    """Invariances, homogeneous, differentiable, without and fit_needs are declared and well formed."""
    try:
        declared = case.kernel.invariances
    except Exception as error:
        yield f"the declared invariances cannot be read: {type(error).__name__}: {error}"
    else:
        yield from problems_of_invariances(declared, "invariances")
    for name in ("homogeneous", "differentiable"):
        if not isinstance(getattr(case.kernel, name, None), bool):
            yield f"{name} is {getattr(case.kernel, name, None)!r}; expected True or False"
    yield from problems_of_without(case.kernel.without)
    try:
        case.kernel.declared_needs()
    except Exception as error:
        yield f"fit_needs cannot be relied on: {error}"


# --- what the declarations promise ----------------------------------------------------------------------------------------


def invariances(case: KernelCase) -> Iterator[str]:
    """What is declared harmless to the features leaves the centred Gram matrix HKH as it is."""
    for name, gap in case.moves.items():
        if name in case.invariances and not gap <= case.options.tolerance:
            yield f"declared invariant to {name}, but HKH changes by {gap:.3g} of its largest entry"


def crosses(case: KernelCase) -> Iterator[str]:
    """What is not declared harmless does change HKH: a kernel that were invariant after all should say so."""
    for name, gap in case.moves.items():
        if name not in case.invariances and gap <= case.options.tolerance:
            yield f"no random {name} changes HKH, but {name} is not among the declared invariances"


def homogeneous(case: KernelCase) -> Iterator[str]:
    """Where declared homogeneous, and only there, scaling the features only multiplies HKH by a constant."""
    if "isotropic_scaling" in case.invariances:
        if case.kernel.homogeneous:
            return
        raise Skipped("scaling changes nothing at all, as declared")
    worst = 0.0
    for X in case.layers:
        before = case.centred(X)
        for factor in (0.3, 4.0):
            after = case.centred(factor * X)
            multiple = np.sum(after * before) / np.sum(before**2)
            worst = max(worst, float(np.max(np.abs(after - multiple * before)) / np.max(np.abs(after))))
    if case.kernel.homogeneous and not worst <= case.options.tolerance:
        yield f"declared homogeneous, but scaling X changes HKH by {worst:.3g} of its largest entry, besides a factor"
    if not case.kernel.homogeneous and worst <= case.options.tolerance:
        yield "scaling X only multiplies HKH by a constant, but homogeneous=False is declared"


def symmetry(case: KernelCase) -> Iterator[str]:
    """K(X, X) is symmetric, K(X, Z) is K(Z, X) transposed."""
    for X in case.layers:
        kernel = case.kernel.fit(X)
        K, Z = kernel(X, X), X[:7] + 1.0
        for what, found, mirrored in (("K(X, X)", K, K.T), ("K(X, Z)", kernel(X, Z), kernel(Z, X).T)):
            gap = float(np.max(np.abs(found - mirrored)))
            if not gap <= 1e-9 * float(np.max(np.abs(found))):
                yield f"{what} and its mirror image differ by {gap:.3g} for X of shape {X.shape}"


def positive_semidefinite(case: KernelCase) -> Iterator[str]:
    """HKH, the centred Gram matrix, has no negative eigenvalue."""
    for X in (*case.layers, *(wide for wide in pair(20, 30, 2, case.options.seed))):
        centred = case.centred(X)
        lowest, largest = float(np.linalg.eigvalsh((centred + centred.T) / 2)[0]), float(np.max(np.abs(centred)))
        if not lowest >= -1e-9 * largest * X.shape[0]:
            yield f"HKH has the eigenvalue {lowest:.3g}, with entries up to {largest:.3g}, for X of shape {X.shape}"


# --- fit and tiles --------------------------------------------------------------------------------------------------------


def fit(case: KernelCase) -> Iterator[str]:
    """fit returns a kernel of the same class that no further data change."""
    X, other = case.layer, 3 * next(iter(case.layers)) + 1
    fitted = case.kernel.fit(X)
    if type(fitted) is not type(case.kernel):
        yield f"fit returns a {type(fitted).__name__}; expected a {type(case.kernel).__name__}"
        return
    K = fitted(X, X)
    again = fitted.fit(other)(X, X)
    if not _equal(again, K):
        yield "a fitted kernel that is fitted again, to another layer, gives another K(X, X)"
    fitted(other, other)
    if not _equal(fitted(X, X), K):
        yield "K(X, X) changes after the kernel has seen other examples"


def fit_needs(case: KernelCase) -> Iterator[str]:
    """fit finds its hyperparameters from what is declared: nothing, or the median distance alone."""
    kernel = case.kernel
    if kernel.fit_needs == "all examples":
        if type(kernel).fit is Kernel.fit:
            yield "fit_needs is 'all examples', but the class does not define fit"
        return
    for X in case.layers:
        fitted = kernel.fit(X)
        if kernel.fit_needs == "nothing":
            if fitted is not kernel:
                yield "fit_needs is 'nothing', but fit returns another kernel; expected self"
                return
            continue
        gaps = np.linalg.norm(X[:, None, :] - X[None, :, :], axis=-1)
        expected = kernel.with_median(np.median(gaps[np.triu_indices(len(X), 1)]))
        if not _equal(fitted(X, X), expected(X, X)):
            yield "fit_needs is 'median distance', but fit(X) is not with_median(the median distance between examples of X)"
            return


def tiles(case: KernelCase) -> Iterator[str]:
    """The fitted kernel of some rows is the part of K that belongs to them, whatever the other rows are."""
    for X in case.layers:
        fitted = case.kernel.fit(X)
        K = fitted(X, X)
        if tuple(K.shape) != (len(X), len(X)):
            yield f"K(X, X) has shape {tuple(K.shape)} for {len(X)} examples; expected {(len(X), len(X))}"
            continue
        half = len(X) // 2
        for rows, columns in ((slice(0, 3), slice(None)), (slice(0, half), slice(half, half + 1)), (slice(1, half),) * 2):
            part, whole = fitted(X[rows], X[columns]), K[rows, columns]
            if tuple(part.shape) != whole.shape:
                yield f"K(X, Z) has shape {tuple(part.shape)} for {len(X[rows])} and {len(X[columns])} examples"
            elif not _equal(part, whole):
                gap = float(np.max(np.abs(part - whole)))
                yield f"a tile of shape {whole.shape} differs from that part of K by {gap:.3g}: it depends on other rows"


def _equal(found: np.ndarray, expected: np.ndarray) -> bool:
    """Up to the root of rounding, where a distance is 0."""
    return bool(np.allclose(found, expected, rtol=1e-9, atol=1e-6 * float(np.max(np.abs(expected)))))


# --- inputs ---------------------------------------------------------------------------------------------------------------


def degenerate(case: KernelCase) -> Iterator[str]:
    """Layers at the edge give finite values: one feature, equal examples, zeros, more features than examples."""
    layers = {what: X for what, X, _ in degenerate_pairs(20, 5, 4, case.options.seed)}
    layers["two examples"] = case.layer[:2]
    layers["an example of zeros"] = np.concatenate([case.layer, np.zeros((1, case.layer.shape[1]))])
    layers["integers"] = np.round(3 * case.layer)
    del layers["a single unit that is hardly ever active"]  # no bandwidth can be read off it
    for what, X in layers.items():
        try:
            K = case.kernel.fit(X)(X, X)
        except Exception as error:
            yield f"{what}: raised {type(error).__name__}: {' '.join(str(error).split())}"
            continue
        if not np.all(np.isfinite(K)):
            yield f"{what}: {np.count_nonzero(~np.isfinite(K))} entries of K are not finite"


def inputs_unchanged(case: KernelCase) -> Iterator[str]:
    """The examples are not written to, neither by fit nor by the kernel."""
    for side, library in changed(case, lambda x, y: case.kernel.fit(x)(x, y), case.layer, case.layer[:5]):
        yield f"{side}, an array of {library}, was changed"


def same_twice(case: KernelCase) -> Iterator[str]:
    """The same examples give exactly the same values again."""
    for X in case.layers:
        first, again = (case.kernel.fit(Z)(Z, Z) for Z in (X, X.copy()))
        if not np.array_equal(first, again, equal_nan=True):
            yield f"values differ by up to {float(np.max(np.abs(first - again))):.3g} from one call to the next"


# --- array libraries ------------------------------------------------------------------------------------------------------


def _on(library: Library, case: KernelCase) -> Iterator[str]:
    with library.active():
        if library.module != "numpy" and library.module not in case.capabilities:
            x = library.asarray(case.layer)
            yield from refused(case, f"the kernel of arrays of {library}", lambda: case.kernel.fit(x)(x, x))
            return
        for dtype, tolerance in (("float64", case.options.tolerance), ("float32", case.options.tolerance_float32)):
            X = case.layer.astype(dtype)
            x, exact = library.asarray(X), X.astype(np.float64)
            fitted, reference = case.kernel.fit(x), case.kernel.fit(exact)
            K = reference(exact, exact)
            # Of other examples: where a distance is 0, a difference of float32 numbers leaves the root of rounding.
            for what, found, expected in (("K(X, X)", fitted(x, x), K), ("K(X, Y)", fitted(x[4:, :], x[:4, :]), K[4:, :4])):
                wrong = list(problems_of_array(found, x, expected.shape, (dtype,)))
                yield from (f"{what} of {dtype} arrays {problem}" for problem in wrong)
                if not wrong:
                    gap = float(np.max(np.abs(to_numpy(found) - expected)) / np.max(np.abs(expected)))
                    if not gap <= tolerance:
                        yield f"{what} of {dtype} arrays differs from NumPy in float64 by {gap:.3g} of its largest entry"


def _gradient(name: str, gradient: Any, case: KernelCase) -> Iterator[str]:
    case.need(name)
    if "gradients" not in case.capabilities:
        raise Skipped("no gradients, as declared")
    X = case.layer
    weights = case.rng.standard_normal((len(X), len(X)))
    with LIBRARIES[name].active() as module:

        def weighted(x: Any) -> Any:
            xp = namespace_of(x)
            return xp.sum(case.kernel.fit(x)(x, x) * xp.asarray(weights))

        gradients = gradient(module, weighted, X)
    for _, found, expected in slopes(weighted, (X,), gradients, case.rng):
        if found is None:
            yield "no gradient flows to X, but differentiable=True is declared"
        elif not abs(found - expected) <= 1e-3 * abs(expected) + 1e-5:
            yield f"the slope of a weighted sum of K is {expected:.6g}, but the gradient says {found:.6g}"


def traced_by_jax(case: KernelCase) -> Iterator[str]:
    """Under jax.jit no value is read: no bool, float or int of an array, no shape that depends on data."""

    def fitted_and_called(x: Any) -> Any:
        return case.kernel.fit(x)(x, x[:3, :])

    yield from traced(case, "K", fitted_and_called, (case.layer,), (len(case.layer), 3))


# --- with an index --------------------------------------------------------------------------------------------------------


def cka(case: KernelCase) -> Iterator[str]:
    """CKA with the kernel is 1 of a layer and itself, symmetric, and between 0 and 1."""
    index = CKA(kernel=case.kernel)
    for n, p1, p2 in case.options.shapes:
        X, Y = pair(n, p1, p2, case.options.seed)
        score, turned, own = float(index(X, Y)), float(index(Y, X)), float(index(X, X))
        if not -1e-9 <= score <= 1 + 1e-9:
            yield f"CKA of two layers is {score:.9g}; expected a number from 0 to 1"
        if abs(own - 1) > case.options.tolerance:
            yield f"CKA of a layer and itself is {own:.9g}; expected 1"
        if abs(score - turned) > case.options.tolerance:
            yield f"CKA(X, Y) = {score:.9g}, but CKA(Y, X) = {turned:.9g}"


def cka_by_tiles(case: KernelCase) -> Iterator[str]:
    """CKA over tiles of the Gram matrices, with the bandwidth of all examples, is that of whole ones."""
    X, Y = pair(500, 4, 3, case.options.seed)  # a block has 384 rows
    for estimator in ("biased", "unbiased"):
        index = CKA(kernel=case.kernel, estimator=estimator)
        score, expected = float(simkit.compare(X, Y, index, tiles="exact")), float(index(X, Y))
        if not abs(score - expected) <= case.options.tolerance:
            yield f"{index} over tiles is {score:.9g}, in memory {expected:.9g}"


def cka_on_dask(case: KernelCase) -> Iterator[str]:
    """CKA of Dask arrays is not computed before .compute(), and then is that in memory."""
    LIBRARIES["dask"].require()
    X, Y = pair(2100, 4, 3, case.options.seed)  # so many that Gram matrices are cut into tiles, in memory too
    index = CKA(kernel=case.kernel)
    score = yield from lazy(index, (X, Y), (1000, -1))
    expected = float(index.score(*(index.prepare(Representation(layer, tall=False)) for layer in (X, Y))))  # of whole ones
    if score is not None and not abs(score - expected) <= case.options.tolerance:
        yield f"{index} of Dask arrays is {score:.9g}, in memory {expected:.9g}"


# --- the table ------------------------------------------------------------------------------------------------------------


KERNEL_CHECKS: Mapping[str, Check] = table(
    definition,
    facts,
    values,
    invariances,
    crosses,
    homogeneous,
    symmetry,
    positive_semidefinite,
    fit,
    fit_needs,
    tiles,
    degenerate,
    inputs_unchanged,
    same_twice,
    *on_each_library(_on, "An array (n, m) on the device and in the precision of the input, as NumPy in float64"),
    *in_each_framework(_gradient),
    traced_by_jax,
    cka,
    cka_by_tiles,
    cka_on_dask,
)
