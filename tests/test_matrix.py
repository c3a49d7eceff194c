"""Rows of a stored matrix, however they are asked for, are those of the whole matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import anndata
import hypothesis.strategies as st
import lance
import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings

import slaf
from slaf.dataset.matrix import StoredMatrix, StoredRows
from slaf.errors import DamagedDataset
from slaf.format.schema import CELL_ORDER, GENE_ORDER
from slaf.sparse.ranges import RowRange, as_positions
from slaf.storage.location import Location
from slaf.tables import rows as table_rows
from slaf.tables.rows import TableRows
from tests.builders import counts

if TYPE_CHECKING:
    from pathlib import Path

    from hypothesis.strategies import DrawFn, SearchStrategy
    from numpy.typing import NDArray

    from slaf.dataset.dataset import Dataset
    from slaf.sparse.batch import Batch
    from slaf.sparse.ranges import Rows

F64 = np.dtype(np.float64)


@dataclass(frozen=True)
class Whole:
    """A matrix and where its table is cut.

    Attributes
    ----------
    values
        A dense matrix: zeros are no entries of it, NaN is.
    others
        Where another column of the table has a value.
    file_rows, batch_rows
        Rows of a data file, and of a batch.
    many, gap
        From how many rows on a range is read as one, and what gaps are small.
    by_gene
        Whether the table is in gene order, of which the matrix is transposed.
    """

    values: NDArray[np.float64]
    others: NDArray[np.bool_]
    file_rows: int
    batch_rows: int
    many: int
    gap: int
    by_gene: bool

    def table(self) -> tuple[pa.Table, NDArray[np.int64]]:
        """The rows, with a null where only the other column has a value; and their offsets."""
        owners, others = np.nonzero((self.values != 0) | self.others)
        axis = GENE_ORDER if self.by_gene else CELL_ORDER
        values = self.values[owners, others]
        columns = {
            axis.ids[0]: pa.array(owners.astype(np.uint32)),
            axis.ids[1]: pa.array(others.astype(np.uint16)),
            "value": pa.array(values, mask=values == 0),
        }
        lengths = np.bincount(owners, minlength=len(self.values))
        return pa.table(columns), np.append(0, np.cumsum(lengths))

    def stored(self, folder: Path) -> StoredMatrix:
        """The matrix as it is stored in a folder."""
        rows, offsets = self.table()
        table = lance.write_dataset(
            rows, folder / "a.lance", mode="overwrite", max_rows_per_file=self.file_rows
        )
        reader = TableRows(Location.of(folder), "a.lance", table)
        axis = GENE_ORDER if self.by_gene else CELL_ORDER
        n_values = int(np.count_nonzero(self.values))
        return StoredMatrix(
            StoredRows("a.lance", reader, axis, offsets),
            *("value", self.values.shape[1], F64, F64, F64, n_values),
        )


@st.composite
def wholes(draw: DrawFn) -> Whole:
    """Matrices with empty cells, or no cells at all, in several files and batches."""
    shape = draw(st.integers(0, 12)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    share, more = draw(st.sampled_from([0.0, 0.2, 0.9])), draw(st.sampled_from([0.0, 0.5]))
    values = np.where(rng.random(shape) < share, rng.integers(1, 9, shape).astype(float), 0.0)
    values[(values > 0) & (rng.random(shape) < 0.1)] = np.nan
    values[rng.random(shape[0]) < 0.3] = 0
    file_rows, batch_rows, many, gap = (draw(st.integers(1, 9)) for _ in range(4))
    others, by_gene = rng.random(shape) < more, draw(st.booleans())
    return Whole(values, others, file_rows, batch_rows, many, gap, by_gene=by_gene)


def rows_of(n: int) -> SearchStrategy[Rows]:
    """Neighbours, or positions in any order, some of them several times."""
    ends = st.tuples(st.integers(0, n), st.integers(0, n)).map(sorted)
    ranges = ends.map(lambda bounds: RowRange(*bounds))
    positions = st.lists(st.integers(0, n - 1), max_size=2 * n) if n else st.just([])
    arrays = positions.map(lambda found: np.array(found, np.int64))
    return ranges | arrays | arrays.map(np.unique)


def as_dense(batches: list[Batch], first: int, shape: tuple[int, int]) -> NDArray[np.float64]:
    """What is in some batches, of cells from the first on; each obeys the rules of a batch."""
    found, stop = np.zeros(shape), first
    for batch in batches:
        assert batch.rows.start == stop
        assert len(batch.rows) == len(batch.counts) > 0
        assert batch.genes.dtype == np.uint32
        cells = batch.cells().astype(np.int64) - first
        keys = cells * shape[1] + batch.genes
        assert (np.diff(keys) > 0).all()
        assert (batch.values != 0).all()
        found[cells, batch.genes] = batch.values
        stop = batch.rows.stop
    assert stop - first == shape[0]
    return found


@settings(max_examples=60)
@given(data=st.data(), whole=wholes())
def test_any_rows_and_genes(
    data: st.DataObject, whole: Whole, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Ranges and positions of any order, of all genes or some, are slices of the whole."""
    stored = whole.stored(tmp_path_factory.mktemp("stored"))
    n_rows, n_columns = whole.values.shape
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_rows, "_BATCH_ROWS", whole.batch_rows)
        patch.setattr(table_rows, "_MANY_ROWS", whole.many)
        patch.setattr(table_rows, "_SMALL_GAP", whole.gap)
        for _ in range(4):
            rows = data.draw(rows_of(n_rows))
            genes = data.draw(st.none() | rows_of(n_columns))
            expected = whole.values[as_positions(rows)]
            if genes is not None:
                expected = expected[:, as_positions(genes)]
            found = stored.read(rows, genes)
            assert found.dtype == F64
            assert found.has_canonical_format
            assert found.nnz == np.count_nonzero(expected)
            np.testing.assert_array_equal(found.toarray(), expected)
            first = rows.start if isinstance(rows, RowRange) else 0
            batches = list(stored.batches(rows, genes))
            np.testing.assert_array_equal(as_dense(batches, first, expected.shape), expected)


@given(data=st.data(), whole=wholes())
def test_any_partition(
    data: st.DataObject, whole: Whole, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Wherever cells are cut, the entries are those of all cells, and so are the columns."""
    stored = whole.stored(tmp_path_factory.mktemp("stored"))
    table, offsets = whole.table()
    n_rows = len(whole.values)
    cuts = sorted(data.draw(st.lists(st.integers(0, n_rows), max_size=4)))
    parts = [RowRange(*ends) for ends in zip([0, *cuts], [*cuts, n_rows], strict=True)]
    batches = [batch for part in parts for batch in stored.batches(part)]
    np.testing.assert_array_equal(as_dense(batches, 0, whole.values.shape), whole.values)
    chunks = [chunk for part in parts for chunk in stored.rows.chunks(part, table.column_names)]
    for at, name in enumerate(table.column_names):
        column = [value for chunk in chunks for value in chunk.columns[at].to_pylist()]
        assert repr(column) == repr(table.column(name).to_pylist())
    lengths = [length for chunk in chunks for length in chunk.counts.tolist()]
    assert lengths == np.diff(offsets).tolist()


def test_rows_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets that promise more rows than there are, or descend, are damage, and named."""
    values = counts(9, 5).toarray().astype(np.float64)
    whole = Whole(values, np.zeros(values.shape, np.bool_), 7, 5, 3, 3, by_gene=False)
    stored = whole.stored(tmp_path)
    offsets = stored.rows.offsets
    more = StoredRows("a.lance", stored.rows.reader, CELL_ORDER, np.append(offsets, 999))
    with pytest.raises(DamagedDataset, match=r"a\.lance: .* rows cannot be read"):
        list(more.chunks(RowRange(2, 10), ["value"]))
    monkeypatch.setattr(table_rows, "_MANY_ROWS", 1)
    with pytest.raises(DamagedDataset, match=r"a\.lance: it has fewer rows .* from 9 on"):
        list(more.chunks(RowRange(2, 10), ["value"]))
    with pytest.raises(DamagedDataset, match=r"a\.lance: it has fewer rows .* from 9 on"):
        list(more.chunks(np.array([np.argmax(np.diff(offsets)), 9]), ["value"]))
    less = StoredRows("a.lance", stored.rows.reader, CELL_ORDER, offsets[::-1].copy())
    with pytest.raises(DamagedDataset, match="offsets of its cells descend"):
        list(less.chunks(RowRange(0, 9), ["value"]))
    for damaged in (more, less):
        with pytest.raises(DamagedDataset):
            replace(stored, rows=damaged).read(RowRange(0, len(damaged)))


# ------------------------------------------------------------------------------------- of a dataset


@pytest.fixture(scope="module")
def adata() -> anndata.AnnData:
    """Layers that have values in different places, NaN among them, and a raw with more genes."""
    made = anndata.AnnData(counts(40, 12))
    for seed, name in enumerate(("one", "other"), 1):
        made.layers[name] = counts(40, 12, seed=seed)
    made.layers["other"].data[3] = np.nan
    made.raw = anndata.AnnData(counts(40, 20, seed=3))
    return made


@pytest.fixture(scope="module")
def dataset(adata: anndata.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset with both orders, in several parts."""
    place = tmp_path_factory.mktemp("matrix") / "a.slaf"
    return slaf.convert(adata, place, by_gene=True, chunk_size=7, layers="all")


@given(data=st.data())
def test_every_matrix_of_a_dataset(
    data: st.DataObject, dataset: Dataset, adata: anndata.AnnData
) -> None:
    """X, layers and raw are read, whole or in part, as AnnData slices them."""
    rows = data.draw(rows_of(40))
    cells = as_positions(rows)
    raw = dataset.raw
    assert raw is not None
    matrices = [
        (dataset.matrix(), adata.X),
        (dataset.matrix("raw"), adata.raw.X),
        *((dataset.matrix(name), adata.layers[name]) for name in ("one", "other")),
    ]
    for stored, whole in matrices:
        assert_same(stored.read(rows), sp.csr_matrix(whole)[cells])
        chosen = np.array(data.draw(st.lists(st.integers(0, 11), max_size=5)), np.int64)
        assert_same(stored.read(rows, chosen), sp.csr_matrix(whole)[cells][:, chosen])
    genes = data.draw(st.lists(st.integers(0, 11), min_size=1, max_size=2))
    assert_same(dataset[cells, genes].X.to_memory(), sp.csr_matrix(adata.X)[cells][:, genes])


def assert_same(found: sp.csr_matrix, expected: Any) -> None:
    """Compare type, shape and values."""
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.toarray(), expected.toarray())
