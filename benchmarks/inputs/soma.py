"""Counts as a TileDB-SOMA experiment, ingested from an h5ad file."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import tiledbsoma
import tiledbsoma.io

from benchmarks.inputs.h5ad import write_h5ad

if TYPE_CHECKING:
    from collections.abc import Iterator
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

    A table whose categories are written in the millisecond in which it is created may have none:
    TileDB then has two schemas of the same time. It happens in memory, and on fast disks.
    """
    for _ in range(_MOST_ATTEMPTS):
        tiledbsoma.io.from_h5ad(str(path), str(source), measurement_name="RNA")
        with tiledbsoma.Experiment.open(str(path)) as experiment:
            if all(map(_has_categories, _tables(experiment))):
                return
        shutil.rmtree(path)
    msg = f"{path}: tiledbsoma lost categories {_MOST_ATTEMPTS} times"
    raise RuntimeError(msg)


def _tables(collection: Any) -> Iterator[Any]:
    """All tables of an experiment."""
    for item in collection.values():
        if isinstance(item, tiledbsoma.DataFrame):
            yield item
        elif isinstance(item, tiledbsoma.Collection | tiledbsoma.Measurement):
            yield from _tables(item)


def _has_categories(table: Any) -> bool:
    names = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    return all(map(len, table.get_enumeration_values(names).values())) if names else True
