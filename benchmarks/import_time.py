"""What `import simkit` costs beside `import numpy`, each in fresh interpreters, in turn."""

from __future__ import annotations

import statistics
import subprocess
import sys

ROUNDS = 15
WAYS = {
    "import numpy": "import numpy",
    "import simkit": "import simkit",
    "import simkit, first compare": "import simkit, numpy; x = numpy.eye(9); simkit.compare(x, x)",
}


def seconds(statement: str) -> float:
    """Time of a statement in a fresh interpreter, without the start of the interpreter itself."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print medians and ratios."""
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name, statement in WAYS.items():
            times[name].append(seconds(statement))
    for name, own in times.items():
        ratio = statistics.median(a / b for a, b in zip(own, times["import numpy"], strict=True))
        print(f"{name:<32}{statistics.median(own) * 1e3:8.1f} ms{ratio:8.2f} x numpy")


if __name__ == "__main__":
    main()
