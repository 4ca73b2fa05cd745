"""Spec strings, discovery, and plugins that are broken."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simkit
from simkit import registry
from simkit.errors import PluginError, SpecError, UnknownNameError
from simkit.indexes import CKA, SVCCA
from simkit.kernels import RBF, Linear, Polynomial

# --- spec strings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("cka", CKA()),
        (" cka ( estimator = unbiased ) ", CKA(estimator="unbiased")),
        ("cka(kernel=rbf)", CKA(kernel=RBF())),
        ("cka(kernel=rbf(fraction=0.4))", CKA(kernel=RBF(fraction=0.4))),
        ("cka(kernel='rbf(fraction=0.4)', estimator='lange')", CKA(kernel=RBF(0.4), estimator="lange")),
        ("simkit-similarity:cka(kernel=simkit-similarity:linear)", CKA(kernel=Linear())),
        ("svcca(threshold=0.95, summary=rho)", SVCCA(threshold=0.95, summary="rho")),
        ("rv", CKA()),
        ("tucker_congruence", CKA()),
    ],
)
def test_read(text, index):
    assert simkit.get_index(text) == index


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (CKA(), "cka"),
        (CKA(kernel=RBF(fraction=0.4), estimator="unbiased"), "cka(kernel=rbf(fraction=0.4), estimator=unbiased)"),
        (SVCCA(threshold=0.5), "svcca(threshold=0.5)"),
        (CKA(kernel=Polynomial(degree=2, gamma=1e-05)), "cka(kernel=polynomial(degree=2, gamma=1e-05))"),
    ],
)
def test_write(index, text):
    assert str(index) == text


@given(
    st.sampled_from(["biased", "unbiased", "lange"]),
    st.one_of(
        st.builds(RBF, fraction=st.floats(1e-6, 1e6)),
        st.builds(RBF, sigma=st.floats(1e-6, 1e6)),
        st.builds(Polynomial, degree=st.integers(1, 9), gamma=st.none() | st.floats(1e-6, 9), coef0=st.floats(0, 9)),
    ),
)
def test_round_trip(estimator, kernel):
    index = CKA(kernel=kernel, estimator=estimator)
    assert simkit.get_index(str(index)) == index
    assert eval(repr(index), {"CKA": CKA, "RBF": RBF, "Polynomial": Polynomial}) == index


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cka(", "Cannot read the spec"),
        ("", "Cannot read the spec"),
        ("'cka'", "Cannot read the spec"),
        ("3", "Cannot read the spec"),
        ("cka(unbiased)", "given by name"),
        ("cka(**{})", "given by name"),
        ("cka(estimator=__import__('os').getcwd())", "Cannot read the spec"),
        ("svcca(threshold=1 + 1)", "Cannot read the spec"),
        ("cka.__class__", "Cannot read the spec"),
        ("cka(estimater=biased)", "no parameter 'estimater'; it takes kernel, estimator. Did you mean estimator"),
        ("linear_regression(x=1)", "takes none"),
        ("cka(estimator=unbaised)", "expected one of biased, unbiased, lange"),
        ("svcca(threshold=1.5)", "threshold=1.5; expected a number > 0 and <= 1"),
        ("svcca(threshold=True)", "expected a number"),
        ("cka(kernel=rbf(fraction=-1))", "fraction=-1; expected a number > 0"),
        ("cka(kernel=rbf(sigma=0))", "sigma=0; expected a number > 0"),
        ("cka(kernel=polynomial(degree=1.5))", "whole number"),
        ("cka(kernel=3)", "Expected the spec"),
    ],
)
def test_errors(text, message):
    with pytest.raises(SpecError, match=message.replace("(", r"\(").replace("[", r"\[")):
        simkit.get_index(text)


def test_parameters_beside_the_spec():
    assert simkit.get_index("cka", kernel="rbf", estimator="lange") == CKA(kernel=RBF(), estimator="lange")
    assert simkit.get_index(CKA(), estimator="lange") == CKA(estimator="lange")
    assert simkit.get_index(CKA, kernel="rbf") == CKA(kernel=RBF())
    with pytest.raises(SpecError, match="both in the spec and as a parameter"):
        simkit.get_index("cka(estimator=biased)", estimator="lange")


def test_unknown_names(monkeypatch):
    with pytest.raises(UnknownNameError, match=r"No index is called 'ckaa'\. Did you mean cka"):
        simkit.get_index("ckaa")
    with pytest.raises(UnknownNameError, match=r"No kernel is called 'gauss'.*Available: .*rbf"):
        simkit.get_kernel("gauss")
    monkeypatch.setitem(simkit.registry.OFFERED_ELSEWHERE, "faraway", "simkit-faraway")
    with pytest.raises(UnknownNameError, match="pip install simkit-faraway"):
        simkit.get_kernel("faraway")
    with pytest.raises(UnknownNameError, match="elsewhere:cka"):
        simkit.get_index("elsewhere:cka")


def test_listing():
    names = simkit.list_indexes()
    assert names == sorted(names)
    assert "cka" in names
    (cka,) = (entry for entry in names if entry == "cka")
    assert (cka.distribution, cka.version) == ("simkit-similarity", simkit.__version__)
    assert cka.entry.spec == "simkit-similarity:cka"
    assert str(cka.entry) == cka
    assert pickle.loads(pickle.dumps(names)) == names
    assert "cosine rbf" in " ".join(kernel for kernel in simkit.list_kernels() if kernel in ("cosine", "rbf"))


# --- this session ----------------------------------------------------------------------------------------------------------


def test_register_for_this_session():
    @simkit.register_kernel
    @dataclass(frozen=True)
    class Sign(simkit.Kernel):
        name = "sign_of_product"

        @property
        def invariances(self):
            return frozenset()

        def __call__(self, X, Y):
            return ((X @ Y.mT) > 0) * 1.0

    try:
        assert "sign_of_product" in simkit.list_kernels()
        X = np.random.default_rng(0).standard_normal((9, 3))
        K = np.sign(np.maximum(X @ X.T, 0))
        h = np.eye(9) - 1 / 9
        assert simkit.compare(X, X, "hsic(kernel=sign_of_product)") == pytest.approx(np.sum((h @ K @ h) ** 2) / 64)
    finally:
        registry.kernels.unregister("sign_of_product")
    assert "sign_of_product" not in simkit.list_kernels()


def test_what_cannot_be_registered():
    class NotFrozen(simkit.indexes.CKA):
        depth: int = 2

    @dataclass(frozen=True)
    class Taken(simkit.indexes.CKA):
        pass

    @dataclass(frozen=True)
    class Unfinished(simkit.Index):
        name = "unfinished"

    with pytest.raises(PluginError, match="not a subclass of simkit.Index"):
        simkit.register_index(dict)
    with pytest.raises(PluginError, match="not a subclass of simkit.Kernel"):
        simkit.register_kernel(simkit.indexes.CKA)
    with pytest.raises(PluginError, match="not a frozen dataclass, so depth cannot be set"):
        simkit.register_index(NotFrozen, name="not_frozen")
    with pytest.raises(PluginError, match="already offered by simkit-similarity"):
        simkit.register_index(Taken)
    with pytest.raises(PluginError, match="does not define facts, prepare, score"):
        simkit.register_index(Unfinished)
    with pytest.raises(PluginError, match="not an identifier"):
        simkit.register_index(Taken, name="two words")


# --- other distributions --------------------------------------------------------------------------------------------------

GOOD = """
from dataclasses import dataclass
from simkit.kernels import Linear
print("imported", __name__)

@dataclass(frozen=True)
class Doubled(Linear):
    name = "doubled"
    def __call__(self, X, Y):
        return 2 * (X @ Y.mT)
"""


def distribution(folder, name, kernels, version="1.2", module="", code="", requires=()):
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
    points = "\n".join(f"{key} = {value}" for key, value in kernels.items())
    (info / "entry_points.txt").write_text(f"[simkit.kernels]\n{points}\n")
    if module:
        (folder / f"{module}.py").write_text(code)


def python(folder, code, **environment):
    script = f"import sys; sys.path.insert(0, {str(folder)!r})\nimport simkit, json\n{textwrap.dedent(code)}"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    return done.stdout.strip()


def test_a_plugin_is_imported_when_it_is_asked_for(tmp_path):
    distribution(tmp_path, "Good_Plugin", {"doubled": "good_plugin:Doubled"}, module="good_plugin", code=GOOD)
    code = "print([(k, k.distribution, k.version) for k in simkit.list_kernels() if k == 'doubled'])"
    listed = python(tmp_path, code)
    assert listed == "[('doubled', 'good-plugin', '1.2')]"
    used = python(tmp_path, "print(simkit.get_index('hsic(kernel=doubled)'), simkit.get_kernel('good-plugin:doubled'))")
    assert used.splitlines() == ["imported good_plugin", "hsic(kernel=doubled) doubled"]


def test_nothing_loads_from_the_current_directory(tmp_path):
    """Python may have it on its path: whoever can write there would otherwise run code."""
    distribution(tmp_path, "here-by-chance", {"doubled": "by_chance:Doubled"}, module="by_chance", code=GOOD)
    code = """
    import simkit
    print("doubled" in simkit.list_kernels())
    try:
        simkit.get_kernel("doubled")
    except simkit.errors.PluginError as error:
        print(error)
    """
    for path in ("", str(tmp_path)):
        script = f"import sys; sys.path.insert(0, {path!r})\n{textwrap.dedent(code)}"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert done.stdout.startswith("False\n'doubled' of here-by-chance may not load: it lies in the current directory")
        assert "imported" not in done.stdout
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{textwrap.dedent(code)}"],
        capture_output=True, text=True, check=True, cwd=elsewhere,
    )  # fmt: skip
    assert done.stdout.startswith("True\nimported by_chance")


def test_broken_plugins_are_listed_and_break_nothing_else(tmp_path):
    distribution(
        tmp_path,
        "broken",
        {
            "absent": "no_such_module:K",
            "raising": "raises_at_import:K",
            "wrong": "raises_not:thing",
            "missing": "raises_not:Nothing",
            "not-a-name": "raises_not:thing",
        },
        module="raises_not",
        code="thing = dict",
    )
    (tmp_path / "raises_at_import.py").write_text("raise RuntimeError('no luck')")
    errors = json.loads(
        python(
            tmp_path,
            """
            X = [[1.0], [2.0], [4.0]]
            assert simkit.compare(X, X, "cka(kernel=rbf)") > 0.99
            print(json.dumps({k: k.error for k in simkit.list_kernels()}))
            """,
        )
    )
    assert errors["rbf"] is None
    assert "No module named 'no_such_module'" in errors["absent"]
    assert "RuntimeError: no luck" in errors["raising"]
    assert "not a subclass of simkit.Kernel" in errors["wrong"]
    assert "Nothing" in errors["missing"]
    assert "not an identifier" in errors["not-a-name"]
    assert all("broken 1.2" in error for error in errors.values() if error)
    message = python(
        tmp_path,
        """
        try:
            simkit.get_kernel("raising")
        except simkit.SimkitError as error:
            print(type(error).__name__, error)
        """,
    )
    assert message.startswith("PluginError Cannot import kernel 'raising' of broken 1.2 (raises_at_import:K): RuntimeError")


def test_two_distributions_with_one_name(tmp_path):
    distribution(
        tmp_path, "one", {"doubled": "good_plugin:Doubled", "rbf": "good_plugin:Doubled"}, module="good_plugin", code=GOOD
    )
    distribution(tmp_path, "two", {"doubled": "good_plugin:Doubled"})
    code = """
    print(type(simkit.get_kernel("rbf")).__module__)  # simkit's own wins
    print(type(simkit.get_kernel("one:rbf")).__name__)
    try:
        simkit.get_kernel("doubled")
    except simkit.SimkitError as error:
        print(error)
    print(simkit.get_kernel("two:doubled"))
    """
    lines = [line for line in python(tmp_path, code).splitlines() if not line.startswith("imported")]
    assert lines == [
        "simkit.kernels.rbf",
        "Doubled",
        "2 distributions offer a kernel called 'doubled'; say which: one:doubled and two:doubled.",
        "doubled",
    ]


def test_the_range_of_versions_that_a_plugin_declares_is_checked(tmp_path):
    needs = {
        "newer": "simkit_similarity>=99",
        "older": "simkit-similarity [cli] <0.1; python_version > '3'",
        "fits": "simkit-similarity>=0.1",
        "elsewhere": "simkit-similarity>=99; extra == 'test'",
        "unreadable": "simkit-similarity>>1",
    }
    for name, line in needs.items():
        distribution(tmp_path, name, {f"k_{name}": "good_plugin:Doubled"}, requires=("numpy", line))
    (tmp_path / "good_plugin.py").write_text(GOOD)
    code = "print(json.dumps({k: k.error for k in simkit.list_kernels() if k.startswith('k_')}))"
    errors = json.loads(python(tmp_path, code).splitlines()[-1])
    assert errors["k_fits"] is None
    assert errors["k_elsewhere"] is None
    assert "it needs simkit-similarity>=99, and this is simkit-similarity" in errors["k_newer"]
    assert "it needs simkit-similarity<0.1" in errors["k_older"]
    assert "cannot be read" in errors["k_unreadable"]


def test_an_environment_variable_limits_what_may_load(tmp_path):
    distribution(tmp_path, "One_Plugin", {"doubled": "good_plugin:Doubled", "once": "good_plugin:Doubled"})
    distribution(tmp_path, "two", {"doubled": "good_plugin:Doubled"})
    (tmp_path / "good_plugin.py").write_text(GOOD)
    code = """
    print([f"{k.distribution}:{k}" for k in simkit.list_kernels() if k in ("doubled", "once")])
    for name in ("doubled", "two:doubled", "rbf"):
        try:
            simkit.get_kernel(name)
        except simkit.SimkitError as error:
            print(type(error).__name__, error)
    """

    def lines(setting):
        return [line for line in python(tmp_path, code, SIMKIT_PLUGINS=setting).splitlines() if "imported" not in line]

    def refusal(where, setting):
        return (
            f"PluginError 'doubled' of {where} may not load: SIMKIT_PLUGINS={setting!r} does not name that distribution. "
            f"Set it to a list with {where} in it, separated by commas, or unset it."
        )

    assert lines("off") == ["[]", refusal("one-plugin", "off"), refusal("two", "off")]
    # one of two rivals is not a rival any more
    assert lines("nobody, One.plugin") == [
        "['one-plugin:doubled', 'one-plugin:once']",
        refusal("two", "nobody, One.plugin"),
    ]
    assert lines("one-plugin,two")[0] == lines("")[0] == "['one-plugin:doubled', 'one-plugin:once']"


def test_importing_simkit_imports_nothing_heavy():
    heavy = ["torch", "dask", "jax", "cupy", "matplotlib", "scipy", "pandas", "xarray", "rich", "typer"]
    code = (
        f"import simkit, sys; simkit.list_indexes(); simkit.list_kernels(); print([m for m in {heavy} if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_comparing_numpy_arrays_imports_no_other_framework():
    code = """
    import numpy as np, simkit, sys
    x = np.eye(5)[:, :3]
    for index in ("cka", "cca", "svcca", "pwcca", "linear_regression", "hsic", "procrustes"):
        simkit.compare(x, x, index)
    print([m for m in ("torch", "dask", "jax", "scipy", "pandas", "matplotlib") if m in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
