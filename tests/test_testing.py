"""The conformance kit catches what is wrong, by the name of the right check, and lets pass what is right."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import wrong
from backends import THOROUGH

import simkit
from simkit.errors import UnknownNameError, UnsupportedError
from simkit.testing import ConformanceError, check_index, check_kernel, examine_index, examine_kernel
from simkit.testing.conformance import index_checks, kernel_checks

# The kit skips what is about a library that is not here; then a wrong index is not caught, and need not be.
OPTIONAL = {"on_torch": "torch", "gradient_in_torch": "torch", "on_jax": "jax", "traced_by_jax": "jax", "dask": "dask"}
OPTIONAL |= {"mapped_by_torch": "torch", "compiled_by_torch": "torch"}
OPTIONAL |= {"gradient_in_jax": "jax", "on_array_api_strict": "array_api_strict", "stream": "numpy", "cka_on_dask": "dask"}

INDEXES = {
    "FalselyInvariant": {"invariances": "invertible_linear of Y"},
    "Modest": {"crosses": "orthogonal is not among the declared"},
    "FalselySymmetric": {"symmetry": "declared symmetric"},
    "OutOfRange": {"in_range": r"outside of the declared range \[0, 1\]", "identity": "score.X, X. is 2"},
    "SquaredDistance": {"metric": "triangle inequality"},
    "CountsUnits": {"metric": "singular values 2s . 1 for s are at distance 0"},
    "ByPosition": {"order_of_examples": "the score of layers with dead units goes from"},
    "MeanOfProducts": {"hard_data": "float32 layers with an offset of 1e4, in float32 give"},
    "ByEigenvectors": {"gradient_in_torch": "of layers with dead units, the slope .* says nan"},
    "Mutating": {"inputs_unchanged": "X, a float64 array of numpy, was changed", "on_numpy_readonly": "read-only"},
    "OnNumPy": {
        "on_torch": "`score` of float64 arrays is an array of numpy; expected one of torch",
        "on_jax": "is an array of numpy; expected one of jax",
    },
    "Random": {"same_twice": "gave .* and then"},
    "Unpicklable": {"values": "pickle fails"},
    "WithAList": {"values": "cannot be hashed"},
    "SinglePrecision": {"on_numpy": "`score` of float64 arrays has dtype float32"},
    "OneByOne": {"on_numpy": r"has shape \(1, 1\); expected \(\)"},
    "NotOfMoments": {"stream": "no function of second moments", "dask": "no function of second moments"},
    "NotOfSums": {
        "facts": "kernel_estimator and from_sums are needed",
        "tiles": "NotOfSums declares statistic=.hsic sums. and does not say",
    },
    "Eager": {"dask": "rows were computed before .compute"},
    "Cut": {"gradient_in_torch": "no gradient flows to Y", "gradient_in_jax": "slope along a random direction of Y"},
    "HalfCut": {"gradient_in_torch": "slope along a random direction", "gradient_in_jax": "slope"},
    "Inverting": {"degenerate": "a duplicated column: raised LinAlgError"},
    "NoConstants": {"constant": "raised ZeroDivisionError"},
    "Careless": {"not_finite": "expected InvalidArrayError", "fewest_examples": "1 examples give 1; expected InvalidArray"},
    "SilentNan": {"degenerate": "more features than examples: nan without a ConstantInputWarning"},
    "Deciding": {
        "traced_by_jax": "cannot be traced",
        "mapped_by_torch": "cannot be mapped",
        "compiled_by_torch": "cannot be compiled",
    },
    "FalselyOnTheHost": {
        "traced_by_jax": "jax.jit works, although it is declared not to",
        "mapped_by_torch": "torch.func.vmap works, although",
        "compiled_by_torch": "makes one graph of it, but",
        "gradient_in_torch": "right in PyTorch and JAX, but differentiable=False",
    },
    "FalselyWithoutTorch": {"on_torch": "a score of arrays of torch works, although it is declared not to"},
    "HalfCutInSilence": {"gradient_in_torch": "not the slope, and none is declared"},
    "Selecting": {"on_array_api_strict": "raised", "traced_by_jax": "cannot be traced"},
    "Wearing": {"all_pairs": "pairwise gives"},
    "Forgetful": {
        "facts": "missing 2 required keyword-only arguments: 'range', 'invariances'|'invariances', and 'statistic'"
    },
    "Elsewhere": {"facts": "lacks invariances, identity, metric, differentiable, min_examples, group, host"},
    "OddGroups": {"facts": "group is 3; expected a whole number of at least 1 that divides min_examples"},
    "Contradicting": {
        "facts": "range is .1.0, 0.0.[^§]*statistic is 'some'[^§]*min_examples is 1[^§]*names 'rotation'[^§]*lacks permutation"
    },
    "Backwards": {"permuted": "a permuted state scores[^§]*permuted changes the state"},
    "LeavesOutTheNext": {"leave_one_out": "where the layers without example"},
    "OneOfAll": {"leave_one_out": r"returned shape \(16, 1, 1\) for 2 x 1 layers"},
    "RowsOfGram": {"resampled": "not made of HSICs alone returns None"},
    "PoolsTheFirst": {"pool": "the pool of one layer scores[^§]*in the other order"},
    "NoFacts": {"definition": "does not define facts"},
    "Nameless": {"definition": "cannot be made|required"},
}

KERNELS = {
    "RowWise": {
        "tiles": "a tile of shape .* depends on other rows",
        "cka_by_tiles": "over tiles is",
        "cka_on_dask": "of Dask arrays is",
    },
    "Refitting": {"tiles": "depends on other rows"},
    "Indefinite": {"positive_semidefinite": "HKH has the eigenvalue -"},
    "Signed": {"cka": "expected a number from 0 to 1"},
    "Lopsided": {"symmetry": "mirror image"},
    "FalselyHomogeneous": {"homogeneous": "declared homogeneous", "crosses": "translation is not among"},
    "FalselyScaleFree": {"invariances": "isotropic_scaling, but HKH changes"},
    "KernelOnNumPy": {"on_torch": "is an array of numpy; expected one of torch"},
    "KernelInDouble": {"on_numpy": "float32 arrays has dtype float64; expected float32"},
    "KernelMutating": {"inputs_unchanged": "X, an array of numpy, was changed"},
    "KernelCut": {"gradient_in_torch": "no gradient flows", "gradient_in_jax": "slope"},
    "RootOfZero": {"gradient_in_torch": "says nan", "gradient_in_jax": "says nan"},
    "FallsApart": {"degenerate": "integers: .* not finite"},
    "FitsToSomethingElse": {"fit": "expected a FitsToSomethingElse"},
    "FitsAgain": {"fit": "gives another"},
    "MeanDistance": {
        "facts": "MeanDistance has a fit of its own and does not declare",
        "fit_needs": "fit.X. is not with_median",
        "cka_by_tiles": "Set fit_needs",
        "cka_on_dask": "Set fit_needs",
    },
    "FalselyOfTheMedian": {"fit_needs": "fit.X. is not with_median"},
    "FalselyOfNothing": {"fit_needs": "fit returns another kernel"},
    "KernelRandom": {"same_twice": "from one call to the next"},
    "KernelFalselyWithout": {"on_torch": "of arrays of torch works, although", "traced_by_jax": "jax.jit works, although"},
    "KernelDeciding": {"traced_by_jax": "cannot be traced"},
    "KernelSelecting": {"on_array_api_strict": "raised"},
    "KernelInverting": {"degenerate": "three pairs of equal examples: raised LinAlgError"},
    "KernelOfLists": {"definition": "reference is ''.*\n.*no docstring", "values": "cannot be hashed"},
    "Undeclared": {"facts": "expected a frozenset.*"},
}


def only_here(expected):
    """The expectations whose library is installed."""
    return {name: text for name, text in expected.items() if find_spec(OPTIONAL.get(name, "numpy"))}


# --- what is right passes -------------------------------------------------------------------------------------------------


def test_a_right_index_passes():
    report = check_index(wrong.Congruence())
    assert report.ok
    assert not report.failed
    assert {"invariances", "symmetry", "dask", "stream", "gradient_in_torch", "traced_by_jax"} - set(OPTIONAL) <= set(
        report.passed
    )
    skipped = dict(report.skipped)
    assert skipped["metric"] == "not declared a metric"
    assert set(report.passed) | set(skipped) == set(index_checks())
    assert "0 failed" in str(report)
    assert check_index(wrong.Congruence, only=["values"]).passed == ("values",)
    assert pickle.loads(pickle.dumps(report)) == report


def test_an_index_of_numpy_alone_passes_and_is_refused_elsewhere():
    report = check_index(wrong.OfNumPyAlone)
    assert {"on_numpy", "on_torch", "on_jax", "on_array_api_strict", "dask", "stream"} - set(OPTIONAL) <= set(report.passed)
    assert dict(report.skipped)["gradient_in_jax"] == "does not run on jax, as declared"
    torch = pytest.importorskip("torch")
    x = torch.ones((5, 2)).cumsum(0)
    with pytest.raises(UnsupportedError, match="congruence.*does not run on arrays of torch, as it declares. Convert"):
        wrong.OfNumPyAlone()(x, x)
    assert float(wrong.OfNumPyAlone()(x.numpy(), x.numpy())) == pytest.approx(1)


def test_a_traced_layer_is_refused_where_declared():
    jax, torch = pytest.importorskip("jax"), pytest.importorskip("torch")
    x = np.cumsum(np.ones((5, 2)), axis=0)
    for spec in (wrong.FalselyOnTheHost(), "bipartite_match"):
        with pytest.raises(UnsupportedError, match="[Cc]all it outside of them"):
            jax.eval_shape(lambda a, spec=spec: simkit.compare(a, a, spec), x)
        with pytest.raises(UnsupportedError, match="[Cc]all it outside of them"):
            torch.func.vmap(lambda a, spec=spec: simkit.compare(a, a, spec))(torch.tensor(np.stack([x, x])))


def test_a_right_kernel_passes():
    report = check_kernel(wrong.Gauss(sigma=1.5))
    assert report.ok
    assert {"tiles", "positive_semidefinite", "symmetry", "fit", "cka"} <= set(report.passed)
    assert set(report.passed) | {finding.check for finding in report.skipped} == set(kernel_checks())


def test_a_kernel_that_needs_all_examples_passes():
    assert check_kernel(wrong.OfAllExamples(fraction=0.7)).ok


def test_every_check_says_what_it_expects():
    for about in (*index_checks().values(), *kernel_checks().values()):
        assert len(about) > 20


# --- what is wrong is caught ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INDEXES)
def test_wrong_indexes(name):
    caught(examine_index(getattr(wrong, name), skip=compiling(index_checks(), INDEXES[name])), only_here(INDEXES[name]))


@pytest.mark.parametrize("name", KERNELS)
def test_wrong_kernels(name):
    caught(examine_kernel(getattr(wrong, name), skip=compiling(kernel_checks(), KERNELS[name])), only_here(KERNELS[name]))


def compiling(checks, expected):
    """The checks that compile for about a second each, and that are not expected to catch something."""
    costly = {"on_jax", "gradient_in_jax", "compiled_by_torch"} & set(checks) - set(expected)
    return {} if THOROUGH else dict.fromkeys(costly, "compiles")


def caught(report, expected):
    assert not report.ok
    for check, text in expected.items():
        messages = "\n".join(finding.message for finding in report.failed if finding.check == check)
        assert messages, f"{check} did not fail:\n{report}"
        assert re.search(text, messages), f"{text!r} is not in:\n{messages}"


def test_every_check_of_an_index_catches_something():
    """Each check is here for something that no other would find."""
    covered = {check for expected in INDEXES.values() for check in expected}
    elsewhere = {"chance", "half_precision", "on_torch_cuda", "on_cupy"}
    assert set(index_checks()) - covered == elsewhere
    covered = {check for expected in KERNELS.values() for check in expected}
    assert set(kernel_checks()) - covered == {"on_numpy_readonly", "on_jax", "on_torch_cuda", "on_cupy"}


def test_all_failures_are_reported_at_once():
    with pytest.raises(ConformanceError) as caught:
        check_index(wrong.AllWrong)
    error = caught.value
    failed = {finding.check for finding in error.report.failed}
    assert {"facts", "invariances", "in_range", "identity", "same_twice"} <= failed
    for check in failed:
        assert f"\n  {check}: " in str(error)
    assert str(error).startswith(f"congruence fails {len(failed)} checks of its conformance test:")
    assert isinstance(error, AssertionError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_other_checks_go_on_when_facts_are_missing():
    report = examine_index(wrong.Elsewhere)
    assert {finding.check for finding in report.failed} == {"facts"}
    assert "values" in report.passed
    assert dict(report.skipped)["symmetry"] == "the declared facts cannot be read, see facts"


# --- what can be asked ----------------------------------------------------------------------------------------------------


def test_names_that_do_not_exist():
    report = examine_index("no_such_index")
    assert report.failed[0].check == "definition"
    assert "UnknownNameError: No index is called 'no_such_index'" in report.failed[0].message
    assert not report.passed
    with pytest.raises(ConformanceError, match="no parameter 'estimater'"):
        check_index("cka(estimater=unbiased)")
    with pytest.raises(ConformanceError, match="not a subclass of simkit.Kernel"):
        check_kernel(wrong.Congruence)
    with pytest.raises(ValueError, match="no check 'symetry' for this index. Did you mean symmetry"):
        check_index("cka", only=["symetry"])
    with pytest.raises(ValueError, match="no check 'metric' for this kernel"):
        check_kernel("rbf", skip={"metric": "none"})
    with pytest.raises(ValueError, match="no option 'tolerence'.*Did you mean tolerance"):
        check_index("cka", tolerence=1)
    with pytest.raises(ValueError, match="expected a sequence"):
        check_index("cka", only="symmetry")
    with pytest.raises(ValueError, match="at least one"):
        check_index("cka", shapes=[])


def test_some_checks_can_be_left_out_with_a_reason():
    report = examine_index(wrong.OutOfRange, skip={"in_range": "known", "identity": "known"}, only=["in_range", "symmetry"])
    assert report.passed == ("symmetry",)
    assert report.skipped == (("in_range", "left out: known"),)


def test_layers_of_one_width():
    numerical = ["invariances", "in_range", "degenerate", "all_pairs", "fewest_examples", "constant", "dask", "stream"]
    assert examine_index(wrong.Fussy, only=numerical).failed
    assert check_index(wrong.Fussy, only=numerical, shapes=[(25, 5, 5), (30, 7, 7)]).ok


# --- pytest ---------------------------------------------------------------------------------------------------------------


def test_parametrize(tmp_path):
    (tmp_path / "test_plugin.py").write_text(
        textwrap.dedent(
            """
            import wrong, simkit.testing

            @simkit.testing.parametrize("rbf(fraction=0.5)", wrong.OutOfRange(power=2.0), wrong.Gauss,
                                        only=["symmetry", "in_range", "fit", "on_cupy"])
            def test_conformance(check):
                check()

            @simkit.testing.parametrize("no_such_thing")
            def test_unknown(check):
                check()
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-rs", "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "COLUMNS": "200"},
        check=False,
    )
    lines = done.stdout
    assert "test_conformance[rbf(fraction=0.5)-symmetry] PASSED" in lines
    assert "test_conformance[gauss-fit] PASSED" in lines
    assert "test_conformance[congruence(power=2.0)-symmetry] PASSED" in lines
    assert "test_conformance[congruence(power=2.0)-in_range] FAILED" in lines
    assert "congruence(power=2.0)-fit" not in lines
    assert "ConformanceError: congruence(power=2.0) fails 1 check" in lines
    assert "outside of the declared range [0, 1]" in lines
    assert "test_unknown[no_such_thing-definition] FAILED" in lines
    if "on_cupy] SKIPPED" in lines:
        assert "cupy" in lines.split("short test summary")[1].lower()


def test_parametrize_tells_indexes_from_kernels():
    def ids(*things, **options):
        mark = simkit.testing.parametrize(*things, **options).mark
        return [case.id for case in mark.args[1]]

    assert "cka-stream" in ids("cka", wrong.Congruence)
    assert "rbf-positive_semidefinite" in ids("rbf", wrong.Gauss())
    assert ids("rbf", only=["symmetry"], kind="kernel") == ["rbf-symmetry"]
    assert ids("cka", "rbf", only=["stream"]) == ["cka-stream"]
    with pytest.raises(ValueError, match="no check 'nothing'"):
        ids("cka", only=["nothing"])


def test_importing_the_kit_needs_no_pytest_and_no_framework():
    code = """
    import sys, simkit.testing
    simkit.testing.check_index("cka", only=["symmetry", "invariances", "all_pairs"])
    print([m for m in ("pytest", "torch", "jax", "dask", "scipy", "hypothesis") if m in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_jax_is_left_as_it_was():
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    check_index("cka", only=["on_jax", "gradient_in_jax", "traced_by_jax"])
    assert jax.config.jax_enable_x64 == before
    assert np.asarray(jax.numpy.ones(1)).dtype == (np.float64 if before else np.float32)


def test_unknown_names_raise_in_the_registry_too():
    with pytest.raises(UnknownNameError):
        simkit.get_index("no_such_index")
