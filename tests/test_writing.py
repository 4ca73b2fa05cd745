"""What is written is whole: kills, full disks, interrupts, many writers at once, names of all lengths."""

from __future__ import annotations

import errno
import multiprocessing
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from data import pair

import simkit
from simkit.files import whole_file
from simkit.scale.stream import Stream

X, Y = pair(40, 3, 2)
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals, limits and locks of POSIX")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(path, text, **options):
    with whole_file(path, **options) as temporary:
        temporary.write_text(text)


def python(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


# --- killed -------------------------------------------------------------------------------------------------------------

HANGS = """
import sys
from pathlib import Path
from simkit.files import whole_file
with whole_file(sys.argv[1], force=True) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    sys.stdin.read()
"""


def hanging_writer(path):
    writer = subprocess.Popen([sys.executable, "-c", HANGS, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return writer, writer.stdout.readline().strip()


@POSIX
def test_what_killed_writers_leave_is_swept_and_live_writers_are_not_disturbed(tmp_path):
    path = tmp_path / "pass.npz"
    path.write_text("old")
    dead = [hanging_writer(path) for _ in range(2)]
    live, temporary = hanging_writer(path)
    for writer, _ in dead:
        writer.kill()
        writer.communicate()
    assert path.read_text() == "old"
    assert len(names(tmp_path)) == 4
    write(tmp_path / "other.npz", "another target")
    assert len(names(tmp_path)) == 5
    write(path, "new", force=True)
    assert names(tmp_path) == sorted(["pass.npz", "other.npz", Path(temporary).name])
    assert path.read_text() == "new"
    live.communicate("")  # it goes on, and is the last
    assert path.read_text() == "half"
    assert names(tmp_path) == ["other.npz", "pass.npz"]


@POSIX
def test_debris_does_not_grow_over_many_kills(tmp_path):
    stream = simkit.stream("cka")
    stream.update(X, Y)
    stream.save(tmp_path / "pass.npz")
    code = """
import sys
from simkit.scale.stream import Stream
stream = Stream.load(sys.argv[1])
print("ready", flush=True)
while True:
    stream.save(sys.argv[1], force=True)
"""
    for pause in (0.001, 0.004, 0.009, 0.02):
        writer = python(code, tmp_path / "pass.npz")
        writer.stdout.readline()
        time.sleep(pause)
        writer.kill()
        writer.communicate()
        assert Stream.load(tmp_path / "pass.npz").compute() == stream.compute()
        assert len(names(tmp_path)) <= 2
    stream.save(tmp_path / "pass.npz", force=True)
    assert names(tmp_path) == ["pass.npz"]


@POSIX
def test_files_of_other_machines_are_left_for_a_day(tmp_path, monkeypatch):
    path = tmp_path / "m.json"
    writer, temporary = hanging_writer(path)
    writer.kill()
    writer.communicate()
    monkeypatch.setattr("simkit.files._host", lambda: "another1")
    write(path, "one", force=True)
    assert names(tmp_path) == sorted(["m.json", Path(temporary).name])
    os.utime(temporary, (time.time() - 90_000,) * 2)
    write(path, "two", force=True)
    assert names(tmp_path) == ["m.json"]


@POSIX
@pytest.mark.parametrize("kind", ["exception", "signal"])
def test_an_interrupted_save_leaves_the_old_file(kind, tmp_path):
    stream = simkit.stream("cka")
    stream.update(X, Y)
    stream.save(tmp_path / "pass.npz")
    before = (tmp_path / "pass.npz").read_bytes()
    stream.update(X, Y)
    done = python(
        """
import os, signal, sys
import numpy as np
from simkit.scale.stream import Stream
stream = Stream.load(sys.argv[1])
savez = np.savez
def interrupted(file, **arrays):
    savez(file, **arrays)
    if sys.argv[2] == "signal":
        os.kill(os.getpid(), signal.SIGINT)
    raise KeyboardInterrupt
np.savez = interrupted
try:
    stream.save(sys.argv[1], force=True)
except KeyboardInterrupt:
    np.savez = savez
    print(stream.compute())
    stream.save(sys.argv[1] + ".npz")
""",
        tmp_path / "pass.npz",
        kind,
    )
    out, problems = done.communicate()
    assert done.returncode == 0, problems
    assert (tmp_path / "pass.npz").read_bytes() == before
    assert names(tmp_path) == ["pass.npz", "pass.npz.npz"]
    assert str(Stream.load(tmp_path / "pass.npz.npz").compute()) == out.strip()


# --- no room ------------------------------------------------------------------------------------------------------------

FULL = """
import resource, signal, sys, warnings
from pathlib import Path
import numpy as np, simkit
from simkit.io import write_matrix, write_text
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
x = np.random.default_rng(0).standard_normal((400, 90))
layers = {f"layer{i}": x[:, i:i + 2] for i in range(60)}
stream = simkit.stream("cka")
stream.update(x, x)
matrix = simkit.pairwise(layers)
import matplotlib.pyplot
writers = {
    "stream.npz": lambda path: stream.save(path, force=True),
    **{f"matrix{s}": lambda path: write_matrix(matrix, path, force=True) for s in (".npz", ".csv", ".json", ".png")},
    "records.json": lambda path: write_text(path, list(range(10_000)), force=True),
}
for name, write in writers.items():
    write(folder / name)
    before = (folder / name).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) - 1000, hard))
    try:
        write(folder / name)
    except OSError as error:
        print(name, type(error).__name__, error.filename == str(folder / name), error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (folder / name).read_bytes() == before
assert sorted(p.name for p in folder.iterdir()) == sorted(writers), list(folder.iterdir())
"""


@POSIX
def test_no_room(tmp_path):
    """A limit on the size of files: every writer fails at its end, as on a full disk."""
    done = python(FULL, tmp_path)
    out, problems = done.communicate()
    assert done.returncode == 0, problems
    lines = out.splitlines()
    assert len(lines) == 6
    for line in lines:
        assert "OSError True" in line
        assert "There is no room for this file (File too large); what was there before is as it was. Free some space" in line


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_at_the_last_moment(number, tmp_path, monkeypatch):
    """Some file systems find out when data are flushed."""

    def full(_):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "m.json"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no room for this file .*m.json") as raised:
        write(path, "new", force=True)
    assert raised.value.errno == number
    assert names(tmp_path) == ["m.json"]
    assert path.read_text() == "old"


def test_the_command_line_says_so_in_one_line(tmp_path, monkeypatch, capsys):
    from simkit.cli.app import run

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    np.savez(tmp_path / "layers.npz", a=X, b=Y)
    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(
        sys, "argv", ["simkit", "compare", *[str(tmp_path / "layers.npz")] * 2, "-o", str(tmp_path / "m.csv")]
    )
    assert run() == 2
    problem = capsys.readouterr().err
    assert problem.startswith("simkit: [Errno 28] There is no room for this file")
    assert problem.count("\n") == 1


# --- many writers -------------------------------------------------------------------------------------------------------


def write_often(path, text, times, force):
    refused = 0
    for _ in range(times):
        try:
            write(path, text, force=force)
        except FileExistsError as error:
            refused += "choose another name" in str(error)
    sys.exit(refused)


@POSIX
@pytest.mark.parametrize("force", [True, False])
def test_of_many_writers_one_wins_wholly(force, tmp_path):
    context = multiprocessing.get_context("fork")
    path, texts = tmp_path / "m.json", [str(i) * 50_000 for i in range(4)]
    writers = [context.Process(target=write_often, args=(path, text, 10, force)) for text in texts]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            seen.add(path.read_text())
    for writer in writers:
        writer.join()
    assert sum(writer.exitcode for writer in writers) == (0 if force else 39)
    assert seen | {path.read_text()} <= set(texts)
    assert names(tmp_path) == ["m.json"]


def test_without_hard_links(tmp_path, monkeypatch):
    def link(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    write(tmp_path / "m.json", "one")
    with pytest.raises(FileExistsError, match="force"):
        write(tmp_path / "m.json", "two")
    with pytest.raises(FileExistsError, match="force"), whole_file(tmp_path / "late.json") as temporary:
        temporary.write_text("ours")
        (tmp_path / "late.json").write_text("theirs")
    assert (tmp_path / "m.json").read_text() == "one"
    assert (tmp_path / "late.json").read_text() == "theirs"
    assert names(tmp_path) == ["late.json", "m.json"]


def test_without_locks(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with whole_file(tmp_path / "m.json") as temporary:
        temporary.write_text("one")
        write(tmp_path / "m.json", "two", force=True)  # must not take the other's file away
        assert temporary.exists()
        (tmp_path / "m.json").unlink()
    assert (tmp_path / "m.json").read_text() == "one"


# --- names and kinds of targets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a" * 251 + ".npz", "é" * 125 + ".npz", "x." + "s" * 253, ".npz", "a b\n'.json"])
def test_names_of_all_lengths(name, tmp_path):
    write(tmp_path / name, "one")
    write(tmp_path / name, "two", force=True)
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "two"


@POSIX
def test_targets_that_are_not_ordinary(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, error in {"folder": IsADirectoryError, "pipe": FileExistsError}.items():
        for force in (True, False):
            with pytest.raises(error, match="give the name of a file"):
                write(tmp_path / name, "text", force=force)
    with pytest.raises(FileExistsError, match="device"):
        write("/dev/null", "text", force=True)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert names(tmp_path) == ["folder", "pipe"]


@POSIX
def test_links_and_permissions_stay(tmp_path):
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "m.json"
    (tmp_path / "link.json").symlink_to(target)
    write(tmp_path / "link.json", "one")
    target.chmod(0o600)
    write(tmp_path / "link.json", "two", force=True)
    assert (tmp_path / "link.json").is_symlink()
    assert target.read_text() == "two"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    before = os.umask(0o027)
    try:
        write(tmp_path / "new.json", "three")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.json").stat().st_mode) == 0o640
    assert names(tmp_path / "real") == ["m.json"]


@POSIX
def test_data_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace", "link"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, call=call, **k: (calls.append(name), call(*a, **k))[1])
    write(tmp_path / "m.json", "one")
    assert calls == ["fsync", "link", "fsync"]
    calls.clear()
    write(tmp_path / "m.json", "two", force=True)
    assert calls == ["fsync", "replace", "fsync"]
