"""What travels between the workers of a cluster: states of P x P numbers, however many examples a chunk has.

``python -m benchmarks.scale.traffic`` runs linear CKA of two .npy files on `LocalCluster`s of separate processes and reads
off the bytes that the workers received from each other.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from distributed import Client, LocalCluster

import simkit
from benchmarks.machine import machine
from simkit.scale.sources import open_source

WIDTHS = (64, 32)


def received(client: Client) -> int:
    """Bytes that all workers together have received from other workers."""
    logs = client.run(lambda dask_worker: [entry["total"] for entry in dask_worker.transfer_incoming_log])
    return sum(map(sum, logs.values()))


def main() -> None:
    """Print a table."""
    print(machine())
    state = 8 * sum(WIDTHS) ** 2
    print(f"linear CKA of {WIDTHS[0]} and {WIDTHS[1]} units; a state is {state / 1e3:.0f} kB")
    print(
        f"{'workers':>8}{'chunks':>8}{'rows each':>11}{'data MB':>9}{'received MB':>13}{'states a chunk':>16}{'seconds':>9}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for workers in (1, 2, 4):
            with (
                LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
                Client(cluster) as client,
            ):
                for chunks, rows in ((64, 2_000), (64, 20_000), (256, 5_000)):
                    x, y = (open_source(_written(Path(folder), chunks * rows, p), chunks=rows) for p in WIDTHS)
                    before, begin = received(client), time.perf_counter()
                    float(simkit.compare(x, y, "cka"))
                    seconds, moved = time.perf_counter() - begin, received(client) - before
                    print(
                        f"{workers:>8}{chunks:>8}{rows:>11,}{(x.nbytes + y.nbytes) / 1e6:>9.0f}{moved / 1e6:>13.2f}"
                        f"{moved / state / chunks:>16.2f}{seconds:>9.2f}"
                    )


def _written(folder: Path, n: int, p: int) -> Path:
    path = folder / f"{n}-{p}.npy"
    if not path.exists():
        np.save(path, np.random.default_rng(p).standard_normal((n, p), dtype=np.float32))
    return path


if __name__ == "__main__":
    main()
