"""The cache of a loader: an SCDL folder of its selection, mapped into memory."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slaf.errors import ConflictError, Locked, OutputExists
from slaf.format.schema import EXPRESSION, LAYERS, RAW
from slaf.sources.scdl import COLUMNS, DATA, ROWS, array_dtypes, map_array
from slaf.storage.urls import local_path
from slaf.targets.atomic_rename import atomic_output, staging_dir
from slaf.targets.scdl import write_arrays, write_features
from slaf.training.columns import obs_columns
from slaf.training.rows import Rows, sums_of_rows

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from concurrent.futures import Executor
    from pathlib import Path

    from numpy.typing import NDArray

    from slaf.dataset.dataset import Dataset
    from slaf.dataset.matrix import StoredMatrix

__all__ = ["CacheContent", "CacheReader", "open_cache"]

_RECORD: Final = "slaf.json"
_TOTALS: Final = "slaf-totals.npy"

# Seconds between looks at a cache that another process makes.
_PAUSE: Final = 0.2


class CacheReader:
    """Read entries of cells from a cache.

    Parameters
    ----------
    path
        The folder.
    cells
        Its cells: ascending positions in the dataset.
    n_genes
        The number of its genes.
    dtype
        The type of values in the source.
    """

    entry_bytes = 0
    read_ahead = 1.0

    def __init__(
        self, path: Path, cells: NDArray[np.int64], n_genes: int, dtype: np.dtype[Any]
    ) -> None:
        self.n_genes, self.dtype, self._cells = n_genes, dtype, cells
        dtypes = array_dtypes(path)
        indptr, genes, values = (map_array(path / n, dtypes[n]) for n in (ROWS, COLUMNS, DATA))
        self._indptr = np.asarray(indptr).astype(np.int64)
        # Plain arrays: a slice of a memmap costs a microsecond.
        self._genes, self._values = np.asarray(genes), np.asarray(values)
        self._totals = np.load(path / _TOTALS) if (path / _TOTALS).exists() else None

    def lengths(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of entries of each of some cells."""
        rows = np.searchsorted(self._cells, cells)
        return self._indptr[rows + 1] - self._indptr[rows]

    def reading(self, cells: NDArray[np.int64]) -> MappedReading:
        """Cells, ascending and unique; the system reads them when they are used."""
        at = np.searchsorted(self._cells, cells)
        totals = None if self._totals is None else self._totals[at]
        piece = np.zeros(len(at), np.int64)
        starts, stops = self._indptr[at], self._indptr[at + 1]
        return MappedReading(Rows([self._genes], [self._values], piece, starts, stops, totals))


class MappedReading:
    """Cells that are mapped into memory."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def begin(self, pool: Executor, n_bytes: int | None = None) -> None:
        """The system reads them."""

    def rows(self) -> Rows:
        """The cells."""
        return self._rows


@dataclass(frozen=True)
class CacheContent:
    """The content of a cache.

    Attributes
    ----------
    dataset
        The dataset.
    matrix, layer
        The matrix, and its name; None for X.
    cells
        Its cells: ascending positions, each once.
    genes
        Its genes; None for all.
    """

    dataset: Dataset
    matrix: StoredMatrix
    layer: str | None
    cells: NDArray[np.int64]
    genes: NDArray[np.int64] | None

    @property
    def n_genes(self) -> int:
        """The number of its genes."""
        return self.matrix.n_columns if self.genes is None else len(self.genes)

    @property
    def record(self) -> dict[str, Any]:
        """A fingerprint of it, as JSON."""
        digests = repr(list(_block_digests(self.dataset))).encode()
        genes = None if self.genes is None else _digest(np.ascontiguousarray(self.genes).data)
        return {
            "dataset": _digest(digests),
            "cells": _digest(self.cells.data),
            "genes": genes,
            "layer": self.layer,
        }

    def write(self, path: Path) -> None:
        """Write the folder.

        Raises
        ------
        TargetError
            If values are negative integers.
        """
        dataset, n_cells = self.dataset, len(self.cells)
        raw = dataset.raw if self.layer == RAW and RAW not in dataset.layers else None
        var = dataset.var if raw is None else raw.var
        var = var.iloc[:, :0] if self.genes is None else var.iloc[self.genes, :0]
        path.mkdir()
        write_features(path / "var_features", "feature_id", var, n_cells)
        obs = obs_columns(dataset, ()).iloc[self.cells]
        write_features(path / "obs_features", "cell_id", obs, n_cells)
        batches = self.matrix.batches(self.cells, self.genes)
        write_arrays(path, batches, self.n_genes, self.matrix.value_type)
        if self.genes is not None:
            totals = _totals(self.matrix, self.cells)
            np.save(path / _TOTALS, np.concatenate([np.empty(0), *totals]))
        (path / _RECORD).write_text(json.dumps(self.record))


def open_cache(folder: str | os.PathLike[str], content: CacheContent) -> CacheReader:
    """Open a cache, which is made first if it does not exist.

    Of several processes one makes it, and the others wait.

    Parameters
    ----------
    folder
        The folder of the cache.
    content
        Its content.

    Raises
    ------
    ConflictError
        If the folder holds something else, or another selection or dataset.
    TargetError
        If values are negative integers, which the format does not hold.
    """
    path = local_path(folder)
    while not path.exists():
        try:
            staging = staging_dir(path)
            with atomic_output(path, _is_cache, overwrite=False, staging=staging) as new:
                content.write(new)
        except Locked:
            time.sleep(_PAUSE)
        except OutputExists:
            break
    _check(path, content.record)
    return CacheReader(path, content.cells, content.n_genes, content.matrix.read_dtype)


def _totals(matrix: StoredMatrix, cells: NDArray[np.int64]) -> Iterator[NDArray[np.float64]]:
    for counts, _, values in matrix.entries(cells):
        yield sums_of_rows(np.concatenate([[0], np.cumsum(counts)]), values)


def _check(path: Path, record: dict[str, Any]) -> None:
    if not _is_cache(path):
        msg = f"{path}: it exists, and is no cache of a loader; name another folder"
        raise ConflictError(msg)
    found = json.loads((path / _RECORD).read_text())
    other = [name for name, value in record.items() if found.get(name) != value]
    if other:
        msg = (
            f"{path}: the cache is of other content ({', '.join(other)}); remove it, so that it is "
            "made again, or name another folder"
        )
        raise ConflictError(msg)


def _block_digests(dataset: Dataset) -> Iterator[tuple[str, str, int, str]]:
    """The digest of each block of X, the layers and raw, which no compaction changes."""
    published = dataset.published
    for table in (EXPRESSION, LAYERS, RAW):
        if table in published.tables:
            for column, blocks in published.blocks_of(table).items():
                yield from ((table, column, block.start, block.digest) for block in blocks)


def _is_cache(path: Path) -> bool:
    return (path / _RECORD).is_file()


def _digest(data: Any) -> str:
    from xxhash import xxh3_128_hexdigest

    return xxh3_128_hexdigest(data)
