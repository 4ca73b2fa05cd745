"""``python -m benchmarks.paper table2 --cache DIR --output DIR``: one table or figure of the paper, or ``all``."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

import torch

from benchmarks.paper.cache import Cache
from benchmarks.paper.study import FULL, SMALL, Report, Study
from simkit.files import whole_file

__all__ = ["EXPERIMENTS", "main", "write"]

EXPERIMENTS = {
    "table2": "which index finds the same layer in a network trained from another seed",
    "figure1": "principal components of one layer in two networks",
    "figure2": "similarity of all layers between seeds, by six indexes",
    "figure3": "CKA within ever deeper networks, and what a linear probe reads from each layer",
    "figure4": "CKA within a residual network",
    "figure5": "CKA between architectures",
    "figure6": "CKA against the width of the layers",
    "figure7": "CKA between networks trained on different data, and untrained ones",
    "figure8": "the subspace that two networks share",
    "table_f1": "Table F.1 and Figure F.1: which index finds the same sublayer in another Transformer encoder",
    "figure_f2": "a sublayer of these encoders, drawn",
    "figure_f3": "SVCCA at other thresholds",
    "figure_f4": "CKA at initialisation",
    "figure_f5": "CKA at initialisation in deeper networks",
    "figure_f6": "CKA with and without batch normalisation",
    "figure_f7": "CKA within classes",
    "figure_f8": "Tiny-10 against ResNet-14 by all indexes",
    "causes": "why Table F.1 and Figure F.3 come out other than in the paper: width, training, examples, task",
}


def experiment(name: str, study: Study) -> Report:
    """Run one experiment."""
    return importlib.import_module(f"benchmarks.paper.{name}").run(study)


def write(report: Report, folder: Path) -> None:
    """Write ``<name>.md`` and ``<name>.png``, over what an earlier run wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / f"{report.name}.md", force=True) as temporary:
        temporary.write_text(report.text + "\n", encoding="utf-8")
    with whole_file(folder / f"{report.name}.png", force=True) as temporary:
        report.figure.savefig(temporary)


def main(arguments: list[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper",
        description=__doc__,
        epilog="\n".join(f"  {name:10} {what}" for name, what in EXPERIMENTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("experiment", choices=[*EXPERIMENTS, "all"], metavar="EXPERIMENT", help="one of those below, or all")
    parser.add_argument("--cache", type=Path, required=True, help="folder for weights, activations and similarities")
    parser.add_argument("--output", type=Path, required=True, help="folder for figures (.png) and tables (.md)")
    parser.add_argument("--data", choices=["digits", "cifar10", "cifar100"], default="digits")
    parser.add_argument("--folder", type=Path, help="where CIFAR lies, unpacked (the Python version)")
    parser.add_argument("--full", action="store_true", help="the paper's sizes; for a GPU")
    parser.add_argument("--device", default="cpu", help="as PyTorch calls it (default: cpu)")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (default: 1); another number is another network")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    size = FULL if options.full else SMALL
    study = Study(Cache(options.cache), size, options.data, options.folder, options.device)
    for name in EXPERIMENTS if options.experiment == "all" else [options.experiment]:
        start = time.perf_counter()
        report = experiment(name, study)
        write(report, options.output)
        print(f"\n## {name}: {EXPERIMENTS[name]}\n\n{report.text}\n", flush=True)
        print(f"{name}: {time.perf_counter() - start:.0f} s, {options.output / name}.png", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
