"""Counts as a folder of h5ad files, one for each sample, with the same genes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.inputs.h5ad import write_h5ad

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.inputs.counts import Counts

__all__ = ["N_SAMPLES", "write_samples"]

N_SAMPLES = 10


def write_samples(path: Path, counts: Counts) -> int:
    """Write the files; their total number of nonzeros."""
    path.mkdir()
    n_cells = counts.n_cells // N_SAMPLES
    return sum(
        write_h5ad(
            path / f"sample-{number:02d}.h5ad",
            replace(counts, n_cells=n_cells, seed=counts.seed + number),
        )
        for number in range(N_SAMPLES)
    )
