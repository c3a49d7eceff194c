"""Cells a CPU second of an epoch of a loader: DATASET OPTIONS N_GENES."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import slaf


def main(dataset: str, options: str, n_genes: str) -> None:
    """Run an epoch and print cells, CPU seconds, and the peak of anonymous memory."""
    peak, stopped = [0], threading.Event()

    def watch() -> None:
        while not stopped.wait(0.02):
            lines = Path("/proc/self/status").read_text().splitlines()
            peak[0] = max(peak[0], *(int(x.split()[1]) for x in lines if x.startswith("RssAnon")))

    threading.Thread(target=watch, daemon=True).start()
    genes = slice(0, int(n_genes)) if int(n_genes) else None
    loader = slaf.open(dataset)[:, genes].loader(**json.loads(options))
    started, cells = time.process_time(), 0
    for batch in loader:
        cells += len(batch)
    stopped.set()
    print(json.dumps([cells, time.process_time() - started, peak[0] << 10]))


if __name__ == "__main__":
    main(*sys.argv[1:])
