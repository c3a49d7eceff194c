"""Cells in another order are sorted in one pass, with the bits of their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.options import ReadOptions
from slaf.sources import selected_matrix
from slaf.sources.csr import CompressedRows
from slaf.sources.matrix import MatrixView
from slaf.sources.selected_matrix import SelectedMatrix
from slaf.sparse.csr import csr_from_batches
from slaf.sparse.ranges import RowRange
from tests.sources.test_laws import TestSomeCells as _SomeCells

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slaf.sparse.batch import Batch


@pytest.fixture(autouse=True)
def in_scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few entries there are, they are sorted in scratch."""
    monkeypatch.setattr(selected_matrix, "_REORDERED", 0)


class TestSomeCellsInScratch(_SomeCells):
    """The laws of sources hold for cells that are sorted in scratch."""


class Counted(MatrixView):
    """A matrix that counts the cells that are read of it."""

    n_read = 0

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        self.n_read += len(rows)
        return super().batches(rows)


DTYPES = ["float32", "float64", "uint8", "int16", "int64", "uint64", "bool"]


@given(data=st.data(), dtype=st.sampled_from(DTYPES), memory=st.sampled_from([1 << 10, 1 << 24]))
@settings(max_examples=30, deadline=None)
def test_any_order_in_one_pass(data: st.DataObject, dtype: str, memory: int) -> None:
    """Cells in any order, each any number of times, are those of scipy; the matrix is read once."""
    n_cells, n_genes = data.draw(st.integers(1, 20)), 5
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    largest = data.draw(st.sampled_from([1, 300, 70_000]))
    dense: Any = np.floor(rng.random((n_cells, n_genes)) * (largest + 1)).astype(dtype)
    matrix: Any = sp.csr_matrix(dense)
    counted = Counted(CompressedRows(matrix.indptr, matrix.indices, matrix.data, matrix.shape))
    cells = data.draw(st.lists(st.integers(0, n_cells - 1), max_size=30).map(np.array))
    cells = cells.astype(np.int64)
    genes = data.draw(st.sampled_from([None, np.array([3, 0]), np.array([1, 1, 4])]))
    chosen = SelectedMatrix(counted, cells, genes, ReadOptions(memory=memory))
    found: list[tuple[np.ndarray, ...]] = []
    for part in RowRange(0, len(cells)).split(7):
        for batch in chosen.batches(part):
            assert batch.rows.start == sum(len(one) for one, _, _ in found)
            found.append((batch.counts, batch.genes, batch.values))
    width = n_genes if genes is None else len(genes)
    read = csr_from_batches(found, width, np.dtype(dtype)).toarray()
    expected = dense[cells] if genes is None else dense[cells][:, genes]
    np.testing.assert_array_equal(read, expected.reshape(read.shape))
    assert counted.n_read <= n_cells


def test_a_sum_wider_than_its_type() -> None:
    """A sum of repeated entries, and a number beyond float64, survive the sorting."""
    values = np.array([2**63, 2**63 + 1, 5, 6, 9], np.uint64)
    rows = CompressedRows(np.array([0, 2, 4, 5]), np.array([0, 1, 1, 1, 0]), values, (3, 2))
    chosen = SelectedMatrix(rows, np.array([2, 0, 1]), None, ReadOptions())
    (batch,) = chosen.batches(RowRange(0, 3))
    assert batch.values.tolist() == [9, 2**63, 2**63 + 1, 11]


def test_datasets_and_exports(tmp_path: Path) -> None:
    """A sorted view of a dataset, with its layers and raw, is exported and converted as it is."""
    rng = np.random.default_rng(0)
    counts = sp.csr_matrix(rng.poisson(1.0, (40, 6)).astype(np.float32))
    adata = anndata.AnnData(counts, obs={"age": rng.integers(0, 5, 40)}, layers={"c": counts * 2})
    adata.raw = adata.copy()
    made = slaf.convert(adata, tmp_path / "in.slaf", chunk_size=9)
    order = np.argsort(adata.obs["age"], kind="stable")
    expected = adata[order]
    view = made.sort_by("age")
    slaf.export(view, tmp_path / "out.h5ad", scratch=tmp_path, memory=1 << 12)
    slaf.transform(made, tmp_path / "out.slaf", sort_by="age", chunk_size=9)
    for found in (
        anndata.read_h5ad(tmp_path / "out.h5ad"),
        slaf.open(tmp_path / "out.slaf").to_anndata(),
        view.to_anndata(),
    ):
        assert found.obs_names.to_list() == expected.obs_names.to_list()
        np.testing.assert_array_equal(found.X.toarray(), expected.X.toarray())
        np.testing.assert_array_equal(found.layers["c"].toarray(), expected.layers["c"].toarray())
        np.testing.assert_array_equal(found.raw.X.toarray(), counts[order].toarray())
    with pytest.raises(slaf.StorageError, match="name another directory with --scratch"):
        slaf.export(view, tmp_path / "again.h5ad", scratch=tmp_path / "none")
