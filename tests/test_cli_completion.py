"""Completion: what is offered, and that bash offers it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

completion = pytest.importorskip("simkit.cli.completion")

# What bash does when somebody presses Tab after the words of each argument.
TAB = """
eval "$(simkit --show-completion bash)"
complete=$(complete -p simkit | sed 's/.*-F \\([^ ]*\\).*/\\1/')
for line in "$@"; do
    IFS='|' read -ra COMP_WORDS <<< "$line"
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    $complete simkit
    echo "${COMPREPLY[@]}"
done
"""
IN_BASH = {"simkit|sub": "subspace", "simkit|compare|a.npz|-o|m.s": "m.svg"}
OFFERED = {
    "simkit|compare|--index|cka": "cka",
    "simkit|kernels|r": "rbf",
    "simkit|compare|a.n": "a.npz",
    "simkit|compare|a.npz|--missing|e": "error",
    "simkit|report|a.n": "a.npz",
}


@pytest.mark.skipif(os.name != "posix" or shutil.which("bash") is None, reason="there is no bash that runs scripts")
def test_in_bash(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "simkit"
    program.write_text(f"#!{sys.executable}\nfrom simkit.cli import main\nmain()\n")
    program.chmod(0o755)
    np.savez(tmp_path / "a.npz", x=np.eye(3))
    done = subprocess.run(
        ["bash", "-c", TAB, "bash", *IN_BASH],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == list(IN_BASH.values()), done.stderr


@pytest.mark.parametrize("line", OFFERED)
def test_in_this_process(line, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from simkit.cli.app import app

    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "a.npz", x=np.eye(3))
    words = line.split("|")
    asked = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1), "_SIMKIT_COMPLETE": "complete_bash"}
    done = CliRunner().invoke(app, [], env=asked, prog_name="simkit")
    assert done.output.split() == [OFFERED[line]]


def test_names():
    assert completion.index_names("cka") == ["cka"]
    assert {"cca", "cka"} <= set(completion.index_names("c"))
    assert completion.kernel_names("rb") == ["rbf"]
    assert completion.index_names("zzz") == []


@pytest.mark.parametrize(
    ("incomplete", "expected"),
    [
        ("mea", ["mean"]),
        ("conv*=po", ["conv*=positions"]),
        ("mean:f", ["mean:first"]),
        ("b.npz:*=mean:l", ["b.npz:*=mean:last"]),
    ],
)
def test_rules(incomplete, expected):
    assert completion.rules(incomplete) == expected


def test_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.npz", "a.txt", ".hidden.npz", "net/b.npz", "d.zarr/x", "bad\x1b.npz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    find = completion.files((".npz", ".zarr"))
    assert find("") == ["a.npz", "d.zarr", "net/"]
    assert find("net/") == ["net/b.npz"]
    assert find("nowhere/") == []


def test_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    find = completion.results((".csv", ".png", ".pdf"))
    assert find("out/m") == ["out/m.csv", "out/m.png", "out/m.pdf"]
    assert find("m.p") == ["m.png", "m.pdf"]
    assert find("m.v2.c") == ["m.v2.csv"]
