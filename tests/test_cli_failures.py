"""What becomes of errors on the command line: one line each, an exit code, and remedies that work there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest

from simkit.errors import PluginError, SimkitError

typer = pytest.importorskip("typer")
app = pytest.importorskip("simkit.cli.app")
wording = pytest.importorskip("simkit.cli.wording")


@pytest.fixture
def run(capsys):
    def call(*arguments):
        code = app.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def failing(monkeypatch):
    """Reading a file raises."""

    def with_(error):
        def fail(*_, **__):
            raise error

        monkeypatch.setattr("simkit.cli.reading.read_activations", fail)

    return with_


class Strange(BaseException):
    """Of no family."""


FAILURES = [
    (KeyboardInterrupt(), 130, "interrupted"),
    (typer.Abort(), 1, "internal error: Abort"),
    (StopIteration(), 1, "internal error: StopIteration"),
    (EOFError("no data left"), 1, "internal error: EOFError: no data left"),
    (RuntimeError("several\nlines\x1b[31m"), 1, "internal error: RuntimeError: several lines\\x1b[31m"),
    (KeyError("a"), 1, "internal error: KeyError: 'a'"),
    (AssertionError(), 1, "internal error: AssertionError"),
    (RecursionError("too deep"), 1, "internal error: RecursionError"),
    (NotImplementedError(), 1, "internal error: NotImplementedError"),
    (SystemExit("bye"), 1, "internal error: SystemExit: bye"),
    (SystemExit(), 1, "internal error: SystemExit"),
    (GeneratorExit(), 1, "internal error: GeneratorExit"),
    (Strange("x"), 1, "internal error: Strange: x"),
    (ValueError("of a library"), 1, "internal error: ValueError: of a library"),
    (RuntimeError("x" * 10**6), 1, "xxx...xxx"),
    (MemoryError(), 1, "out of memory: read files in chunks"),
    (MemoryError("Unable to allocate 3 TiB"), 1, "out of memory: Unable to allocate 3 TiB"),
    (SimkitError("bad input"), 2, "simkit: bad input"),
    (PluginError("bad plugin"), 2, "simkit: bad plugin"),
    (ImportError("needs h5py"), 2, "simkit: needs h5py"),
    (PermissionError(13, "Permission denied", "x.npy"), 2, "Permission denied: 'x.npy'"),
]


@pytest.mark.parametrize(("error", "code", "message"), FAILURES, ids=lambda value: type(value).__name__)
def test_any_exception_is_one_line(run, failing, error, code, message):
    failing(error)
    found, out, err = run("compare", "a.npz")
    assert (found, out) == (code, "")
    assert len(err.splitlines()) == 1
    assert len(err) < 600
    assert message in err
    assert ("--traceback" in err) == ("internal error" in err)


@pytest.mark.parametrize("arguments", [("--traceback", "compare", "a.npz"), ("compare", "a.npz", "--traceback")])
@pytest.mark.parametrize(("error", "code"), [(RuntimeError("why"), 1), (SimkitError("bad"), 2)])
def test_the_traceback_is_shown_on_request(run, failing, arguments, error, code):
    failing(error)
    found, _, err = run(*arguments)
    assert found == code
    assert err.startswith("Traceback (most recent call last)")
    assert 'File "' in err
    assert err.splitlines()[-1].startswith("simkit: ")
    assert "--traceback" in run("--help")[1]


@pytest.mark.parametrize(
    ("module", "code", "own"),
    [
        ("simkit.io", "raise ValueError('a file')", True),
        ("numpy", "raise ValueError('a shape')", False),
    ],
)
def test_whose_error_it_is(module, code, own):
    with pytest.raises(ValueError, match="file|shape") as caught:
        exec(code, {"__name__": module})
    assert app._is_own(caught.value) == own


def test_warnings_are_as_before_afterwards(run, tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones((9, 2)), b=np.eye(9))
    before = warnings.showwarning
    code, _, err = run("compare", tmp_path / "a.npz")
    assert code == 0
    assert err.startswith("simkit: warning: ")
    assert warnings.showwarning is before


MAIN = "from simkit.cli import main; main()"


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_pipe_that_nobody_reads(tmp_path):
    done = subprocess.run(
        f'"{sys.executable}" -c "{MAIN}" indexes | head -1',
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_reader_that_is_gone_at_once(tmp_path):
    for arguments in (["indexes"], ["indexes", "--json"], ["--version"], ["--help"]):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run([sys.executable, "-c", MAIN, *arguments], stdout=write, stderr=subprocess.PIPE, check=False)
        os.close(write)
        assert done.stderr == b""
        assert done.returncode == 141


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c():
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # which jobs in the background ignore
    code += "import simkit.cli.listing as l, time; l.print_json = lambda _: (print('begun', flush=True), time.sleep(60)); "
    process = subprocess.Popen(
        [sys.executable, "-c", code + MAIN, "indexes", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err == "simkit: interrupted.\n"


# --- remedies -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("simkit.examples(X, 'flatten') (short: flatten=True) or so", "--examples flatten or so"),
        ("simkit.examples(A['it, (1)'], 'mean', channels='first');", "--examples mean:first;"),
        (
            "channels={'a:conv': 'first', \"it's\": 'last'}",
            "--examples 'a:conv'=RULE:first and --examples \"it's\"=RULE:last",
        ),
        ("pass force=True (--force) to replace it", "pass --force to replace it"),
        ("pass --force (force=True) to replace it", "pass --force to replace it"),
        ("ids='a b' (--ids 'a b'), or ids=False (--no-ids)", "--ids 'a b', or --no-ids"),
        ("inference: permutations=0; expected", "inference: --resamples 0; expected"),
        ("confidence=1.5; expected", "--confidence 1.5; expected"),
        ("cka: estimator='x'; bitmaps='y'", "cka: estimator='x'; bitmaps='y'"),
        ("chunks=-3; expected", "--chunks -3; expected"),
        ("groups=None", "no --groups"),
        ('say correspond=True; else pool="mean".', "say --correspond; else --pool mean."),
    ],
)
def test_parameters_become_options(message, expected):
    assert wording.in_options(message) == expected


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(1)
    maps = {f"conv{i}": rng.standard_normal((6, 3, 4, 5)) for i in (1, 2)}
    np.savez(tmp_path / "maps.npz", **maps)
    np.save(tmp_path / "map.npy", maps["conv1"])
    np.save(tmp_path / "tokens.npy", rng.standard_normal((6, 3, 4)))
    np.save(tmp_path / "x.npy", rng.standard_normal((6, 3)))
    np.save(tmp_path / "nan.npy", np.full((6, 3), np.nan))
    (tmp_path / "there.json").write_text("{}")
    return tmp_path


PYTHON = re.compile(
    r"\b(maps|channels|flatten|force|ids|chunks|check_finite|permutations|within|confidence|resamples)=|simkit\.\w"
)
REFUSED = [
    (
        ("compare", "maps.npz"),
        ["--examples flatten", "--examples mean:first", "--examples positions:last"],
    ),
    (("sanity", "maps.npz", "maps.npz"), ["--examples flatten"]),
    (("subspace", "maps.npz", "maps.npz"), ["--examples flatten"]),
    (("test", "map.npy", "map.npy", "--resamples", "9"), ["--examples flatten"]),
    (
        ("compare", "tokens.npy", "x.npy"),
        ["--examples flatten", "--examples mean", "--examples cls", "--examples mean:first"],
    ),
    (("compare", "maps.npz", "--examples", "mean"), []),
    (("compare", "map.npy", "tokens.npy", "--examples", "mean:first"), []),
    (("compare", "map.npy", "x.npy", "--examples", "tokens*=mean:first"), []),
    (("compare", "x.npy", "x.npy", "--output", "there.json"), ["--force"]),
    (("test", "x.npy", "x.npy", "--resamples", "0"), []),
    (("test", "x.npy", "x.npy", "--method", "interval", "--confidence", "1.5"), []),
    (("compare", "nan.npy", "x.npy"), []),
    (("compare", "x.npy", "x.npy", "--chunks", "2", "--index", "rsa"), []),
    (("compare", "x.npy", "x.npy", "--chunks", "0"), []),
    (("compare", "x.npy", "x.npy", "--examples", "no"), []),
    (("compare", "map.npy", "map.npy", "--examples", "mean:middle"), []),
    (("test", "x.npy", "x.npy", "--method", "no"), []),
    (("test", "x.npy", "x.npy", "--method", "bootstrap", "--interval", "no"), []),
]


@pytest.mark.parametrize(("arguments", "remedies"), REFUSED, ids=" ".join)
def test_remedies_are_options_and_work(run, files, monkeypatch, arguments, remedies):
    monkeypatch.chdir(files)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert not PYTHON.search(err)
    for remedy in remedies:
        assert all(word in err for word in re.findall(r"--\w+(?: [\w:]+)?", remedy))
        assert run(*arguments, *remedy.split())[0] == 0
