"""The laws of sources, for h5ad in each of its layouts and for AnnData in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import scipy.sparse as sp

from slaf.sources import ReadOptions, open_source
from slaf.testing.laws import SourceLaws
from slaf.testing.strategies import Stored
from tests.builders import names, write_stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slaf.sources import Source

# Cells 0 and 3 are empty; genes are out of order, one entry is repeated, one is zero.
STORED = Stored(
    (6, 5),
    np.array([1, 1, 1, 2, 4, 4, 5, 5, 5]),
    np.array([4, 0, 4, 3, 2, 1, 0, 1, 2]),
    np.array([2, 3, 4, 5, 0, 7, 8, 9, 10], np.float32),
)
# So little that even these entries are spilled in several bands.
LITTLE = ReadOptions(memory=100)


class TestCsr(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Compressed rows, unsorted."""
        path = write_stored(folder / "in.h5ad", STORED, "csr")
        return lambda: open_source(path)


class TestPackedCsr(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Compressed rows in small chunks, shuffled and deflated."""
        packing: dict[str, Any] = {"compression": "gzip", "shuffle": True, "chunks": (2,)}
        path = write_stored(folder / "in.h5ad", STORED, "csr", **packing)
        return lambda: open_source(path)


class TestCsc(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Compressed columns, spilled in bands."""
        path = write_stored(folder / "in.h5ad", STORED, "csc")
        return lambda: open_source(path, options=LITTLE)


class TestDense(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """A dense matrix without chunks."""
        path = write_stored(folder / "in.h5ad", STORED, "dense")
        return lambda: open_source(path)


class TestTallChunks(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """A dense matrix in chunks of one column, which are spilled."""
        path = write_stored(folder / "in.h5ad", STORED, "dense", chunks=(6, 1))
        return lambda: open_source(path, options=LITTLE)


class TestAnnDataCsr(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:  # noqa: ARG002 - it is in memory
        """Compressed rows in memory."""
        adata = in_memory(sp.csr_matrix(as_scipy(STORED), shape=STORED.shape))
        return lambda: open_source(adata)


class TestAnnDataCsc(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:  # noqa: ARG002 - it is in memory
        """Compressed columns in memory."""
        adata = in_memory(sp.csc_matrix(STORED.dense()))
        return lambda: open_source(adata, options=LITTLE)


class TestAnnDataDense(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:  # noqa: ARG002 - it is in memory
        """A numpy array."""
        adata = in_memory(STORED.dense())
        return lambda: open_source(adata)


def as_scipy(stored: Stored) -> tuple[Any, Any, Any]:
    """Compressed rows in the order that scipy wants: data, indices, indptr."""
    indptr, indices, data = stored.rows()
    return data, indices, indptr


def in_memory(matrix: object) -> anndata.AnnData:
    """An AnnData with ids and nothing else beside its matrix."""
    n_cells, n_genes = STORED.shape
    return anndata.AnnData(matrix, obs=names("cell", n_cells), var=names("gene", n_genes))
