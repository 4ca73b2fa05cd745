"""The benchmarks run, in small; rivals compute what simkit does; what other commands found stays in RESULTS.md."""

from __future__ import annotations

import json
import sys

import numpy as np
import pages
import pytest

from benchmarks import __main__ as speed
from benchmarks import gpu, growth, memory, precision, results
from benchmarks.machine import environment
from benchmarks.speed.case import Target, duration
from benchmarks.speed.measuring import memory_of, times_of
from benchmarks.speed.rows import CASES

# Other interpreters, and JAX, which compiles each operation: slow.
SLOW = ("first call after import", "import", "one call, 10 x 3, JAX, not compiled")


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr("warnings.showwarning", lambda *a, **k: None)


@pytest.mark.parametrize("row", sorted({case.row for case in CASES.values()}))
def test_all_ways_of_a_row_give_the_score_of_the_definition(row):
    for title, case in CASES.items():
        if case.row != row or title in SLOW:
            continue
        found = times_of(case, quick=True, rounds=1)
        assert {target.way for target in case.targets} <= {"simkit"} | found["ways"].keys() | lacking(found)
        assert {target.rival for target in case.targets} - {""} <= found["ways"].keys() | lacking(found)
        for name, way in found["ways"].items():
            assert way["wall"] > 0
            ours = name.startswith("simkit") and "bf16" not in name
            limit = 1e-6 if ours else 2e-3  # float32 at an angle of 1e-3 is worth no more
            if way["exact"] and way["error"] is not None and not ("condition" in title and name != "simkit"):
                assert way["error"] < limit, (title, name)


def lacking(found):
    """The ways that were left out, since their library is not installed."""
    return {reason.partition(":")[0] for reason in found["lacking"]}


def test_fresh_interpreters():
    found = times_of(CASES["import"], quick=True, rounds=1)
    assert 0 < found["ways"]["simkit"]["wall"] < found["ways"]["import numpy"]["wall"]


def test_targets():
    ways = {"simkit": {"walls": [1.0, 2.0, 1.0], "memory": 90.0, "share": None}, "rival": {"walls": [2.0, 2.0, 3.0]}}
    assert Target("ratio", 2.0, "rival").reached(ways)
    assert not Target("ratio", 2.1, "rival").reached(ways)
    assert not Target("memory", 80).reached(ways)
    assert Target("share", 0.5).reached(ways) is None  # not measured
    assert Target("ratio", 1.0, "another").reached(ways) is None
    assert str(Target("ratio", 1 / 1.1, "rival", "simkit, unchecked")) == ">= 0.909 x rival (unchecked)"
    assert [duration(x) for x in (2.0, 0.0123, 4.56e-5)] == ["2 s", "12.3 ms", "45.6 us"]


def test_memory_of_a_way_is_counted(monkeypatch):
    case = CASES["linear CKA, 50000 x 256"]

    def make(quick):
        problem = case.make(True)
        way = problem.ways["simkit"]
        big = (lambda: np.ones(2**22)) if not quick else (lambda: None)  # 32 MiB
        return type(problem)({"simkit": type(way)(lambda: big)})

    if sys.platform == "linux":
        found = memory_of(type(case)("a", "", make), "simkit", quick=False)
        assert found == pytest.approx(32, abs=4)


def test_the_command_stores_and_draws(tmp_path, capsys):
    folder = tmp_path / "results"
    name, about = next(iter(memory.CASES)), environment("python -m benchmarks.memory")
    entry = {"data": 2048, "peak": 27, "promise": 200, "seconds": 9, "about": about}
    results.store(folder, "memory", {name: entry, "no case any more": entry})
    arguments = ["--quick", "--only", "50000 x 256", "--no-memory", "--rounds", "2", "--output", str(folder)]
    speed.main(arguments)
    assert "NOT reached" in (printed := capsys.readouterr().out) or "reached" in printed
    stored = json.loads((folder / "speed.json").read_text())
    assert list(stored) == ["linear CKA, 50000 x 256"]
    assert next(iter(stored["linear CKA, 50000 x 256"]["ways"])) == "simkit"
    page = (tmp_path / "RESULTS.md").read_text()
    for section in ("# Results", "## Speed", "### All ways", "## Memory", "## Growth", "## GPU"):
        assert f"\n{section}\n" in "\n" + page
    assert "`python -m benchmarks --quick" in page
    assert f"| {name} | 2,048 | 27 | 200 | yes | 9.0 |" in page  # of another command, and still there
    assert "no case any more" not in page
    results.store(folder, "speed", {"no case any more": {}})
    assert results.page(folder) == page


def test_a_case_that_fails_is_reported(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(speed, "_in_a_process", lambda *a: {"failed": "MemoryError"})
    speed.main(["--quick", "--only", "50000 x 256", "--output", str(tmp_path / "results")])
    assert "failed: MemoryError" in capsys.readouterr().out
    assert "failed (MemoryError)" in (tmp_path / "RESULTS.md").read_text()


def test_an_unknown_word_is_refused():
    with pytest.raises(SystemExit, match="No row and no title holds 'zebra'"):
        speed.main(["--only", "zebra"])


def test_results_are_drawn_from_what_is_stored():
    text = (results.FOLDER.parent / "RESULTS.md").read_text(encoding="utf-8")
    assert results.page() == text, "python -m benchmarks.results"


def test_exponents_and_pictures(tmp_path):
    sizes = [10, 20, 40, 80, 160]
    assert growth.exponent(sizes, [0.1 + 0.0 * n for n in sizes[:2]] + [n**2.0 for n in sizes[2:]]) == pytest.approx(2.0)
    curve = {"against": "n", "sizes": sizes, "seconds": [n**2.0 for n in sizes], "memory": sizes}
    curves = {name: curve for name in list(growth.CURVES)[:2]}  # noqa: C420 (they are not changed)
    assert [line.split("|")[3].strip() for line in growth.table(curves)[2:]] == ["2.00"] * 2
    growth.picture(curves, "memory", tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 10_000


def test_points_of_growth(monkeypatch):
    monkeypatch.setattr(growth, "_ENOUGH", 1e-9)  # one run
    for what, size in {"CCA": 16, "heatmap of L narrow": 3, "stream": 5000}.items():
        (curve,) = (curve for name, curve in growth.CURVES.items() if name.startswith(what))
        assert growth.point(curve, size)["seconds"] > 0


def test_the_page_on_speed_has_the_tables_of_today():
    page = growth.PAGE.read_text(encoding="utf-8")
    found = results.read(results.FOLDER, "growth")
    assert results.with_table(page, growth.table(found)) == page, "python -m benchmarks.growth draw"


def test_explain_on_the_page_on_speed(capsys):
    (block,) = pages.blocks("reference/speed.md")
    pages.run(block, {})
    assert capsys.readouterr().out.count("route") == 3


def test_errors_by_precision():
    for spec, definition in precision.INDEXES.items():
        assert precision.error(spec, definition, (60, 8), "float32", 1000.0) < 1e-6
        assert precision.error(spec, definition, (60, 8), "float64", 0.0) < 1e-11


def test_gpu_in_small_on_the_cpu(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    device = gpu.TorchDevice("cpu")
    for make in gpu.CASES.values():
        found = gpu.measure(device, make, quick=True, rounds=1)
        for name, way in found["ways"].items():
            if way["exact"] and way["error"] is not None:
                assert way["error"] < (1e-6 if name == "simkit" else 1e-2), name
    results.store(tmp_path, "gpu", {"PyTorch: a case": found | {"about": environment("python -m benchmarks.gpu")}})
    assert "| PyTorch: a case | bare joint scatter |" in results.page(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=r"PyTorch sees no CUDA device.*--device cpu --quick"):
        gpu.main(["--library", "torch"])


def test_memory_in_small(tmp_path, capsys):
    memory.main([str(tmp_path), "--quick", "--only", "200 x 200 layers, n = 1000, p = 64, cka"])
    assert "failed" not in capsys.readouterr().out
