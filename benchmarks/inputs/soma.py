"""Counts as a TileDB-SOMA experiment, ingested from an h5ad file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tiledbsoma.io

from benchmarks.inputs.h5ad import write_h5ad

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.inputs.counts import Counts

__all__ = ["write_soma"]


def write_soma(path: Path, counts: Counts) -> int:
    """Write an experiment; its number of nonzeros."""
    source = path.with_name(f"{path.name}.h5ad")
    nonzeros = write_h5ad(source, counts)
    try:
        tiledbsoma.io.from_h5ad(str(path), source, measurement_name="RNA")
    finally:
        source.unlink()
    return nonzeros
