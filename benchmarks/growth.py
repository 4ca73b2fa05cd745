"""How time and memory grow with examples, features, layers and workers, beside what the formulas say.

    python -m benchmarks.growth              # some minutes; results/growth.json, RESULTS.md, docs/reference/speed.md
    python -m benchmarks.growth --only CCA   # some curves; the others keep their figures
    python -m benchmarks.growth --quick      # small sizes: that everything runs. Nothing is written
    python -m benchmarks.growth draw         # the tables and pictures again, from growth.json

Each point has a process of its own, in which all libraries are limited to one thread. Time is the least CPU time of some
runs, which other work on the machine hardly disturbs; memory is the peak of the resident set above its level before, the
data in it. Exponents are slopes of least squares in logarithms, over the larger half of the sizes. Workers are the
exception: wall time of a local Dask cluster, each worker a process of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import simkit
from benchmarks import results
from benchmarks.machine import ONE_THREAD, environment, in_a_process, machine, peak_memory

__all__ = ["CURVES", "exponent", "picture", "point", "table"]

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURES = DOCS / "reference" / "speed.md", DOCS / "images"
HEADER = ("what", "against", "time: measured", "theory", "memory: measured", "theory")
_FLOOR = 1.0  # MiB that are noise
_RUNS, _ENOUGH = 5, 1.5  # runs of a point, and seconds after which there are no more

Work = Callable[[], Any]


@dataclass(frozen=True)
class Curve:
    """One quantity that grows.

    Attributes
    ----------
    time, memory : float or pair of floats, or None
        Exponents by theory: of multiplications and additions, and of what is held besides the layers.
    wall : bool
        Whether wall time counts.
    """

    against: str
    sizes: tuple[int, ...]
    work: Callable[[int], Work]
    time: float | tuple[float, float]
    memory: float | tuple[float, float] | None
    wall: bool = False


# --- curves ----------------------------------------------------------------------------------------------------------------


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=np.float32)


def _pair(n: int, p: int, index: str = "cka", dtype: str = "float32") -> Work:
    x = _normal(n, p).astype(dtype)
    y = (x + _normal(n, p, seed=1)).astype(dtype)
    return lambda: simkit.compare(x, y, index)


def _heatmap(count: int, n: int, p: int) -> Work:
    layers = [_normal(n, p, seed=seed) for seed in range(count)]
    return lambda: simkit.pairwise(layers)


def _stream(n: int) -> Work:
    x, y = _normal(4096, 128), _normal(4096, 128, seed=1)

    def work() -> None:
        stream = simkit.stream("cka")
        for start in range(0, n, 4096):
            stream.update(x[: n - start], y[: n - start])
        stream.compute()

    return work


def _workers(count: int) -> Work:
    """RBF CKA over chunks on a local cluster; the cluster is started before."""
    import dask.array as da
    from distributed import Client, LocalCluster

    from simkit.scale.dask import compute

    cluster = LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None)
    client = Client(cluster)
    n = int(os.environ.get("SIMKIT_GROWTH_ROWS", "8000"))
    x, y = (da.from_array(_normal(n, 64, seed=seed), chunks=(n // 8, 64)) for seed in (0, 1))

    def work() -> None:
        compute(simkit.compare(x, y, "cka(kernel=rbf(sigma=8.0))"), progress=False)

    work.close = lambda: (client.close(), cluster.close())  # type: ignore[attr-defined]
    return work


CURVES = {
    "linear CKA, tall (p = 256)": Curve(
        "n", (4096, 8192, 16384, 32768, 65536, 131072), lambda n: _pair(n, 256), time=1, memory=0
    ),
    "linear CKA, tall (n = 16384)": Curve("p", (64, 128, 256, 512, 1024), lambda p: _pair(16384, p), time=2, memory=2),
    "linear CKA, wide (p = 8192)": Curve("n", (128, 256, 512, 1024, 2048), lambda n: _pair(n, 8192), time=2, memory=(0, 2)),
    "linear CKA, wide (n = 1024)": Curve(
        "p", (2048, 4096, 8192, 16384, 32768), lambda p: _pair(1024, p), time=1, memory=(0, 1)
    ),
    "RBF CKA (p = 32)": Curve(
        "n", (1024, 2048, 4096, 8192, 16384), lambda n: _pair(n, 32, "cka(kernel=rbf)"), time=2, memory=(1, 2)
    ),
    "CCA (n = 4 p, float64)": Curve(
        "p", (64, 128, 256, 512, 1024), lambda p: _pair(4 * p, p, "cca", "float64"), time=3, memory=2
    ),
    "Procrustes (n = 4 p)": Curve("p", (64, 128, 256, 512, 1024), lambda p: _pair(4 * p, p, "procrustes"), time=3, memory=2),
    "heatmap of L narrow layers (1024 x 64)": Curve(
        "L", (4, 8, 16, 32, 64), lambda count: _heatmap(count, 1024, 64), time=(1, 2), memory=(0, 2)
    ),
    "heatmap of L wide layers (512 x 2048)": Curve(
        "L", (4, 8, 16, 32), lambda count: _heatmap(count, 512, 2048), time=(1, 2), memory=(0, 1)
    ),
    "mutual_knn (p = 64)": Curve("n", (512, 1024, 2048, 4096, 8192), lambda n: _pair(n, 64, "mutual_knn"), time=2, memory=1),
    "RSA, Spearman (p = 64)": Curve("n", (256, 512, 1024, 2048), lambda n: _pair(n, 64, "rsa"), time=2, memory=2),
    "stream of batches (p = 128)": Curve("n", (2**14, 2**15, 2**16, 2**17, 2**18), _stream, time=1, memory=0),
    "RBF CKA on a Dask cluster (n = 8000)": Curve("workers", (1, 2), _workers, time=-1, memory=None, wall=True),
}


# --- measuring -------------------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> None:
    """Measure, fit, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("run", "draw"), default="run")
    parser.add_argument("--only", default="", metavar="WORD", help="curves whose names hold a word")
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing is written")
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.point:
        print(json.dumps(point(CURVES[options.point[0]], int(options.point[1]))))
        return
    if options.what == "run":
        about = environment(" ".join(["python -m benchmarks.growth", *(sys.argv[1:] if arguments is None else arguments)]))
        print(machine())
        for name, curve in CURVES.items():
            if options.only.lower() in name.lower():
                found = _curve(name, curve, options.quick)
                print(
                    *(
                        " ".join(f"{cell:<{width}}" for cell, width in zip(row, _COLUMNS, strict=True))
                        for row in rows({name: found})
                    )
                )
                if not options.quick:
                    results.store(results.FOLDER, "growth", {name: found | {"about": about}})
    if not options.quick:
        draw()


_COLUMNS = (44, 8, 16, 8, 16, 8)


def _curve(name: str, curve: Curve, quick: bool) -> dict[str, Any]:
    """Seconds and MiB at all sizes."""
    small = [max(2 + k, size // 16) for k, size in enumerate(curve.sizes)]
    sizes = small if quick and not curve.wall else list(curve.sizes)
    variables = {} if curve.wall else ONE_THREAD
    if quick:
        variables = variables | {"SIMKIT_GROWTH_ROWS": "400"}
    points = []
    for size in sizes:
        found = in_a_process("benchmarks.growth", "--point", name, str(size), variables=variables)
        if "failed" in found:
            raise SystemExit(f"{name} at {size} failed: {found['failed']}")
        points.append(found)
    seconds, memory = ([point[key] for point in points] for key in ("seconds", "memory"))
    return {"against": curve.against, "sizes": sizes, "seconds": seconds, "memory": memory, "wall": curve.wall}


def point(curve: Curve, size: int) -> dict[str, float]:
    """The least time of some runs, and the peak of the first."""
    with warnings.catch_warnings(action="ignore"):
        if not curve.wall:
            curve.work(min(size, curve.sizes[0]))()  # imports
        work = curve.work(size)
        memory = peak_memory(work)
        clock = time.perf_counter if curve.wall else time.process_time
        times: list[float] = []
        while len(times) < _RUNS and sum(times) < _ENOUGH:
            begin = clock()
            work()
            times.append(clock() - begin)
    if hasattr(work, "close"):
        work.close()
    return {"seconds": min(times), "memory": memory}


# --- exponents and pictures ------------------------------------------------------------------------------------------------


def exponent(sizes: list[int], values: list[float]) -> float:
    """Slope of log(values) over log(sizes), by least squares over the larger half, three sizes at least."""
    some = max(min(3, len(sizes)), (len(sizes) + 1) // 2)
    return float(np.polyfit(np.log(sizes[-some:]), np.log(values[-some:]), 1)[0])


def rows(found: Mapping[str, Any]) -> list[list[str]]:
    """Of the table: exponents measured and theoretical."""
    lines = []
    for name, curve in CURVES.items():
        if name not in found:
            continue
        one = found[name]
        memory = [max(_FLOOR, value) for value in one["memory"]]
        lines.append(
            [
                name,
                one["against"],
                f"{exponent(one['sizes'], one['seconds']):.2f}",
                _theory(curve.time),
                "-" if curve.memory is None else f"{exponent(one['sizes'], memory):.2f}",
                _theory(curve.memory),
            ]
        )
    return lines


def _theory(value: float | tuple[float, float] | None) -> str:
    return "-" if value is None else f"{value[0]:g} to {value[1]:g}" if isinstance(value, tuple) else f"{value:g}"


def table(found: Mapping[str, Any]) -> list[str]:
    """Lines of Markdown."""
    return results.table(HEADER, rows(found))


def draw() -> None:
    """RESULTS.md, the table in docs/reference/speed.md, and its pictures."""
    found = results.read(results.FOLDER, "growth")
    results.write(results.FOLDER)
    PAGE.write_text(results.with_table(PAGE.read_text(encoding="utf-8"), table(found)), encoding="utf-8")
    picture(found, "seconds", PICTURES / "growth_time.png")
    picture(found, "memory", PICTURES / "growth_memory.png")


def picture(found: Mapping[str, Any], what: str, path: Path) -> None:
    """One panel for each curve: points, their slope, and the slope of the theory through the last point."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    names = [name for name in CURVES if name in found and (what == "seconds" or CURVES[name].memory is not None)]
    columns = 4
    lines = -(-len(names) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(3.1 * columns, 2.5 * lines), layout="constrained", squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, names, strict=False):
        one, curve = found[name], CURVES[name]
        sizes = np.array(one["sizes"], dtype=float)
        values = np.array(one[what] if what == "seconds" else [max(_FLOOR, value) for value in one[what]])
        slope = exponent(one["sizes"], list(values))
        theory = curve.time if what == "seconds" else curve.memory
        for k, power in enumerate(theory if isinstance(theory, tuple) else (theory,)):
            axis.plot(
                sizes,
                values[-1] * (sizes / sizes[-1]) ** power,
                "--",
                color="0.6",
                lw=1,
                label=f"theory {power:g}",
                zorder=k,
            )
        axis.plot(sizes, values, "o-", color="#1f5fa8", ms=4, lw=1.2, label=f"measured {slope:.2f}", zorder=9)
        axis.set(xscale="log", yscale="log", title=name, xlabel=one["against"])
        axis.set_xticks(sizes, [f"{size:g}" if size < 10_000 else f"{size / 1024:g}k" for size in sizes])
        low, high = values.min() * 0.7, values.max() * 1.4
        if what == "memory" and high < 10 * low:  # what does not grow should look so
            low, high = low / 10, high * 10
        subs = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)
        axis.yaxis.set_major_locator(LogLocator(subs=subs))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_ylim(low, high)
        for direction in (axis.xaxis, axis.yaxis):
            direction.set_minor_formatter(NullFormatter())
        axis.xaxis.set_minor_locator(LogLocator(subs=()))
        axis.title.set_fontsize(8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=7, frameon=False)
    unit = "CPU seconds on one thread (Dask: wall seconds)" if what == "seconds" else "MiB above the layers"
    figure.supylabel(unit, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
