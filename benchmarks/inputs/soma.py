"""Counts as a TileDB-SOMA experiment, ingested from an h5ad file."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import tiledbsoma
import tiledbsoma.io

from benchmarks.inputs.h5ad import write_h5ad
from slaf.targets.soma import has_all_categories

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.inputs.counts import Counts

__all__ = ["from_h5ad", "write_soma"]

_MOST_ATTEMPTS = 50


def write_soma(path: Path, counts: Counts) -> int:
    """Write an experiment; its number of nonzeros."""
    source = path.with_name(f"{path.name}.h5ad")
    nonzeros = write_h5ad(source, counts)
    try:
        from_h5ad(path, source)
    finally:
        source.unlink()
    return nonzeros


def from_h5ad(path: Path, source: Path) -> None:
    """Write an experiment with tiledbsoma; once more where it lost categories.

    As `has_all_categories` says, it happens in memory, and on fast disks.
    """
    for _ in range(_MOST_ATTEMPTS):
        tiledbsoma.io.from_h5ad(str(path), str(source), measurement_name="RNA")
        with tiledbsoma.Experiment.open(str(path)) as experiment:
            if has_all_categories(experiment):
                return
        shutil.rmtree(path)
    msg = f"{path}: tiledbsoma lost categories {_MOST_ATTEMPTS} times"
    raise RuntimeError(msg)
