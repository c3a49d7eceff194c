"""The laws of sources, for h5ad in each of its layouts and for AnnData in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from slaf.options import ReadOptions
from slaf.sources import open_source
from slaf.sources.selection import SelectedSource
from slaf.sparse.ranges import RowRange
from slaf.testing.laws import SourceLaws
from slaf.testing.strategies import Stored
from tests.builders import as_matrix, names, write_stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slaf.sources.base import Source

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


class TestEverything(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Layers in every layout, raw, and something in every slot, on disk."""
        everything().write_h5ad(folder / "in.h5ad")
        return lambda: open_source(folder / "in.h5ad", options=LITTLE)


class TestEverythingInMemory(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:  # noqa: ARG002 - it is in memory
        """Layers in every layout, raw, and something in every slot, in memory."""
        adata = everything()
        return lambda: open_source(adata, options=LITTLE)


class TestSomeGenes(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:  # noqa: ARG002 - it is in memory
        """Of everything, three of the five genes."""
        adata = everything()
        return lambda: SelectedSource(open_source(adata, options=LITTLE), genes=np.array([0, 2, 4]))


class TestSomeCells(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:  # noqa: ARG002 - it is in memory
        """Of everything, some cells out of order and repeated, and genes too."""
        adata, cells = everything(), np.array([5, 1, 1, 3, 0])
        return lambda: SelectedSource(
            open_source(adata, options=LITTLE), cells, np.array([4, 0, 2, 0])
        )


def test_what_goes_along_of_some_genes() -> None:
    """Layers, varm and varp are those of the genes that are kept; obsm, obsp and raw are whole."""
    adata, kept = everything(), [0, 2, 4]
    source = SelectedSource(open_source(adata), genes=np.array(kept))
    slots, raw = source.slots(), source.raw()
    np.testing.assert_array_equal(slots.varm["loadings"], adata.varm["loadings"][kept])
    np.testing.assert_array_equal(slots.varp["dense"], adata.varp["dense"][kept][:, kept])
    np.testing.assert_array_equal(slots.obsp["graph"].toarray(), adata.obsp["graph"].toarray())
    assert list(slots.varm["table"].index) == [f"gene-{gene}" for gene in kept]
    for name, layer in source.layers().items():
        found = np.zeros((6, 3))
        for batch in layer.batches(RowRange(0, 6)):
            found[batch.cells(), batch.genes] = batch.values
        np.testing.assert_array_equal(found, as_matrix(adata.layers[name])[:, kept])
    assert raw is not None
    assert raw.genes.num_rows == 7


def everything() -> anndata.AnnData:
    """An AnnData with something in every slot."""
    adata = in_memory(sp.csr_matrix(STORED.dense()))
    adata.layers["csc"] = sp.csc_matrix(STORED.dense())
    adata.layers["dense"] = STORED.dense() * 2
    adata.obsm["X_pca"] = np.arange(12.0).reshape(6, 2)
    adata.varm["loadings"] = np.arange(10.0).reshape(5, 2)
    adata.varm["table"] = pd.DataFrame({"a": range(5)}, index=adata.var_names)
    adata.obsp["graph"] = sp.csr_matrix(np.eye(6, k=1))
    adata.varp["dense"] = np.arange(25.0).reshape(5, 5)
    adata.uns["deep"] = {"a": 1, "b": np.arange(2)}
    raw = anndata.AnnData(sp.csr_matrix(np.eye(6, 7)), obs=adata.obs, var=names("raw", 7))
    raw.varm["x"] = np.ones((7, 1))
    adata.raw = raw
    return adata


def as_scipy(stored: Stored) -> tuple[Any, Any, Any]:
    """Compressed rows in the order that scipy wants: data, indices, indptr."""
    indptr, indices, data = stored.rows()
    return data, indices, indptr


def in_memory(matrix: object) -> anndata.AnnData:
    """An AnnData with ids and nothing else beside its matrix."""
    n_cells, n_genes = STORED.shape
    return anndata.AnnData(matrix, obs=names("cell", n_cells), var=names("gene", n_genes))
