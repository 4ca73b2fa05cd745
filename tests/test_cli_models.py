"""`simkit activations` and `simkit models`: from a function of the user's to activations on disk and to a matrix."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest

import simkit
from simkit.errors import DataWarning, InvalidArrayError
from simkit.features import open_activations
from simkit.provenance import check_same_data, sides_of

torch = pytest.importorskip("torch")
pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("zarr")
app = pytest.importorskip("simkit.cli.app")

NETS = """
import torch

def net(seed):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 5))

def data(shift=0.0):
    return torch.linspace(-1, 1, 40 * 48).sin().reshape(40, 3, 4, 4).repeat_interleave(2, dim=-1)[..., :6].repeat(
        1, 1, 2, 1)[:, :, :6] * torch.arange(1.0, 41)[:, None, None, None] + shift

def first(): return net(0), data()
def second(): return [net(1), data()]
def shifted(): return net(1), data(1.0)
def drawn(): return net(0), torch.randn(40, 3, 6, 6, generator=torch.Generator().manual_seed(torch.seed() % 2**31))
def three(): return 1, 2, 3
def failing(): raise RuntimeError("no weights \\x1b[31m here")
def leaving(): raise SystemExit(3)
def no_model(): return "net", data()
def nothing(): return None
number = 3
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "simkit_test_nets.py").write_text(NETS)
    for name in ("simkit_test_nets", "simkit_broken", "simkit_lacking"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def call(*arguments, code=0):
        found = app.run([str(argument) for argument in arguments])
        done = capsys.readouterr()
        assert found == code, done.err
        assert "Traceback" not in done.err
        return done

    return call


def nets():
    space = {}
    exec(NETS, space)
    return space


def test_from_a_model_to_a_comparison(run):
    done = run("activations", "simkit_test_nets:first", "-o", "a.zarr", "--pool", "mean")
    assert "Written to a.zarr: 4 layers, 40 examples" in done.out
    assert "mean over 4 x 4 positions" in done.out
    done = run(
        "activations",
        "simkit_test_nets.py:second",
        "-o",
        "b.safetensors",
        "--pool",
        "0=max",
        "--pool",
        "**=mean:first",
        "--json",
    )
    record = json.loads(done.out)
    assert (record["examples"], record["layers"]["3"], record["model"]) == (40, [40, 5], "Sequential")
    assert record["rules"]["0"].startswith("max")
    space = nets()
    (model, data), (other, _) = space["first"](), space["second"]()
    expected = simkit.pairwise(
        simkit.torch.activations(model, data, pool="mean"),
        simkit.torch.activations(other, data, pool={"0": "max", "1": "mean"}),
    )
    found = json.loads(run("compare", "a.zarr", "b.safetensors", "--json").out)
    np.testing.assert_allclose(found["values"], expected.to_numpy(), rtol=1e-5)
    run("compare", "a.zarr", "b.safetensors", "-o", "m.npz")
    details = simkit.SimilarityMatrix.load("m.npz").details
    assert details["rows"]["fingerprint"] == details["columns"]["fingerprint"] == expected.details["rows"]["fingerprint"]
    assert details["columns"]["rules"] == record["rules"]
    for command in (["test", "--layer", "3", "--resamples", "20"], ["subspace", "--layer", "3"], ["sanity"]):
        assert "warning: The activations" not in run(command[0], "a.zarr", "b.safetensors", *command[1:]).err


def test_models(run):
    done = run("models", "simkit_test_nets:first", "simkit_test_nets:second", "--pool", "mean", "--index", "cka", "--json")
    space = nets()
    (model, data), (other, _) = space["first"](), space["second"]()
    expected = simkit.torch.compare_models(model, other, data, pool="mean")
    np.testing.assert_allclose(json.loads(done.out)["values"], expected.to_numpy(), rtol=1e-5)
    arguments = ("--layers", "0", "--layers-b", "3", "--pool", "mean", "-o", "m.npz")
    run("models", "simkit_test_nets:first", "simkit_test_nets:second", *arguments)
    matrix = simkit.SimilarityMatrix.load("m.npz")
    assert (matrix.rows, matrix.columns) == (("0",), ("3",))
    done = run("models", "simkit_test_nets:first", "--pool", "mean")
    assert "1.00000" in done.out
    assert (
        "warning: The activations"
        in run("models", "simkit_test_nets:first", "simkit_test_nets:shifted", "--pool", "mean").err
    )
    assert "one is given" in run("models", "simkit_test_nets:first", "--pool-b", "mean", code=2).err
    err = run("models", "simkit_test_nets:drawn", "simkit_test_nets:drawn", "--pool", "mean").err
    assert "warning: The activations" in err  # one function, and other data each time
    assert "rows, simkit_test_nets:drawn: " in err


def test_channels_are_those_of_the_rule_that_counts(run, tmp_path):
    (tmp_path / "simkit_broken.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv, self.enc = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 5)\n"
        "    def forward(self, x):\n"
        "        return self.enc(self.conv(x).flatten(2).transpose(1, 2))\n"
        "def make(): return Net(), torch.randn(20, 3, 6, 6)\n"
    )
    done = run(
        "activations", "simkit_broken:make", "-o", "a.safetensors", "--pool", "enc=mean", "--pool", "mean:first", "--json"
    )
    record = json.loads(done.out)
    assert record["layers"] == {"conv": [20, 4], "enc": [20, 5]}
    assert record["rules"]["enc"] == "mean over the tokens"


def test_positions_are_said_to_correspond(run):
    call = ("models", "simkit_test_nets:first", "simkit_test_nets:second", "--layers", "0", "--pool", "positions", "--json")
    assert "say --correspond; else --pool mean." in run(*call, code=2).err
    found = json.loads(run(*call, "--correspond").out)
    assert found["n"] == 40 * 4 * 4


def test_different_inputs_are_warned_of(run):
    for name in ("first", "shifted"):
        run("activations", f"simkit_test_nets:{name}", "-o", f"{name}.zarr", "--pool", "mean")
    for command in (["compare"], ["test", "--layer", "3", "--resamples", "20"], ["subspace", "--layer", "3"], ["sanity"]):
        done = run(command[0], "first.zarr", "shifted.zarr", *command[1:])
        assert done.err.count("taken from different inputs") == 1, command
    with pytest.warns(DataWarning, match="rows: .*columns: "):
        matrix = simkit.pairwise(open_activations("first.zarr"), simkit.features.open_activations("shifted.zarr"))
    assert matrix.details["rows"]["model"] == "Sequential"


def test_it_goes_on_where_it_stopped(run):
    space = nets()
    model, data = space["first"]()

    def cut():
        for k, batch in enumerate(data.split(8)):
            if k == 3:
                raise KeyboardInterrupt
            yield batch

    with pytest.raises(KeyboardInterrupt):
        simkit.torch.activations(model, cut(), pool="mean", out="a.zarr")
    assert "is not finished: 3 batches (24 examples)" in run("compare", "a.zarr", code=2).err
    assert "n = 24" in run("compare", "a.zarr", "--missing", "ignore").out
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    found = simkit.torch.activations(model, data, pool="mean", out="a.zarr", batch_size=8)
    assert len(calls) == 3  # a look at a few examples, and two batches
    in_memory = simkit.torch.activations(model, data, pool="mean", batch_size=8)
    assert found.fingerprint == in_memory.fingerprint
    assert found.rules == in_memory.rules
    for name, x in in_memory.items():
        np.testing.assert_array_equal(found[name], x.numpy())
    assert "holds finished activations" in run("activations", "simkit_test_nets:first", "-o", "a.zarr", code=2).err
    run("activations", "simkit_test_nets:first", "-o", "a.zarr", "--pool", "mean", "--force")


def test_rules_of_the_command_line_come_after_those_of_the_store(run):
    with simkit.features.ActivationWriter("maps.safetensors") as store:
        store.skip(np.arange(20.0))
        store.append({"conv": np.arange(20.0 * 12).reshape(20, 3, 4) % 7}, rules={"conv": "as it is"})
    run("compare", "maps.safetensors", "maps.safetensors", "--examples", "conv=mean", "-o", "m.npz")
    details = simkit.SimilarityMatrix.load("m.npz").details
    assert details["rows"]["rules"] == details["columns"]["rules"] == {"conv": "as it is, then mean"}
    run("report", "maps.safetensors", "--examples", "conv=mean", "-o", "r.html")
    with open("r.html", encoding="utf-8") as page:  # noqa: PTH123
        text = page.read()
    assert "as it is, then mean" in text
    assert simkit.features.open_activations("maps.safetensors").fingerprint in text


def test_rules_of_the_command_line_are_told_of_files_too(run):
    np.savez("a.npz", conv=np.arange(20.0 * 12).reshape(20, 3, 4) % 7, fc=np.arange(40.0).reshape(20, 2) % 5)
    run("compare", "a.npz", "--examples", "conv=mean:first", "-o", "m.json")
    with open("m.json", encoding="utf-8") as file:  # noqa: PTH123
        details = json.load(file)["details"]
    assert details["rows"] == details["columns"] == {"rules": {"conv": "mean:first"}}
    run("report", "a.npz", "--examples", "conv=mean:first", "-o", "r.html")
    with open("r.html", encoding="utf-8") as page:  # noqa: PTH123
        text = page.read()
    assert "Rule: mean:first" in text
    assert "all layers" not in text  # fc needs none


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "second"}, "weights with the fingerprint"),
        ({"pool": "max"}, "the setting pool: 'mean'"),
        ({"layers": ["0"]}, "the setting layers: None"),
        ({"batch_size": 7}, "batch 1 of the data"),
        ({"data": "shifted"}, "batch 1 of the data"),
    ],
)
def test_something_else_is_not_gone_on_with(tmp_path, change, message):
    space = nets()
    model, data = space["first"]()
    options = {"pool": "mean", "out": tmp_path / "a.zarr", "batch_size": 8}

    def cut():
        yield from data[:16].split(8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simkit.torch.activations(model, cut(), **options)
    if "model" in change:
        model = space[change.pop("model")]()[0]
    if "data" in change:
        data = space[change.pop("data")]()[1]
    with pytest.raises(InvalidArrayError, match=message):
        simkit.torch.activations(model, data, **options | change)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("simkit_test_nets", "expected MODULE:FUNCTION"),
        (":make", "expected MODULE:FUNCTION"),
        ("simkit_test_nets:", "expected MODULE:FUNCTION"),
        ("simkit_nope:make", "there is no module 'simkit_nope'"),
        ("simkit_test_nets.deeper:make", "cannot be imported|there is no module"),
        ("nope.py:make", "there is no file nope.py"),
        ("simkit_test_nets:nope", "has no function 'nope'; it has net, data, first"),
        ("simkit_test_nets:number", "has a int, no function, called 'number'"),
        ("simkit_test_nets:three", "returned 3 values; expected"),
        ("simkit_test_nets:nothing", "returned a NoneType, None; expected"),
        ("simkit_test_nets:failing", r"failed: RuntimeError: no weights \\x1b\[31m here"),
        ("simkit_test_nets:leaving", "failed: SystemExit: 3"),
        ("simkit_test_nets:no_model", "expected a torch.nn.Module"),
        ("simkit_broken:make", "simkit_broken cannot be imported: ZeroDivisionError"),
        ("simkit_lacking:make", "needs no_such_thing, which is not installed"),
    ],
)
@pytest.mark.parametrize("command", ["activations", "models"])
def test_what_is_wrong_with_a_function_is_said(run, tmp_path, command, target, message):
    (tmp_path / "simkit_broken.py").write_text("1 / 0")
    (tmp_path / "simkit_lacking.py").write_text("import no_such_thing")
    done = run(command, target, *(["-o", "x.zarr"] if command == "activations" else []), code=2)
    assert not list(tmp_path.glob("x.zarr"))
    assert re.search(message, done.err), done.err
    assert len(done.err.splitlines()) == 1


def test_options_are_checked_before_the_function_runs(run, tmp_path):
    for arguments, message in (
        (["-o", "x.h5"], "ends in .zarr or .safetensors"),
        (["-o", "no/x.zarr"], "make it first"),
        (["-o", "x.zarr", "--pool", "median"], "median"),
        (["-o", "x.zarr", "--pool", "mean:middle"], "middle"),
        (["-o", "x.zarr", "--pool", "mean", "--pool", "max"], "there is a rule for ** already"),
    ):
        assert message in run("activations", "simkit_test_nets:failing", *arguments, code=2).err
    assert "nope" in run("models", "simkit_test_nets:failing", "--index", "nope", code=2).err


def test_other_commands_do_not_import_torch(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.eye(5), y=np.arange(20.0).reshape(5, 4) ** 2)
    code = "import sys; from simkit.cli.app import run; run(['compare', 'a.npz']); run(['models', '--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_sides():
    assert sides_of({"x": 1}) == {}
    check_same_data({"rows": {"fingerprint": "a"}, "columns": {"fingerprint": None}, "more": {}})
    with pytest.warns(DataWarning, match="rows: aa, columns: bb"):
        check_same_data({"rows": {"fingerprint": "aa"}, "columns": {"fingerprint": "bb"}})
