"""Entries in any order are read in the order of cells, within the memory budget."""

from __future__ import annotations

import gc
import tempfile
import tracemalloc
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import slaf
from slaf.errors import DamagedInput, StorageError
from slaf.options import ReadOptions
from slaf.sources import open_source
from slaf.sources.matrix import MatrixSize
from slaf.sources.unsorted import UnsortedMatrix
from slaf.sparse.buckets import Coo
from slaf.sparse.ranges import RowRange
from slaf.testing.laws import contents
from slaf.testing.strategies import Stored, matrices
from tests.builders import totals, write_stored

if TYPE_CHECKING:
    from collections.abc import Iterator

_WHOLE = matrices(np.dtype(np.int32), max_cells=40, max_genes=6, values=st.integers(-3, 9))


def unsorted(
    stored: Stored, order: np.ndarray, memory: int, *, piece: int = 1 << 20
) -> UnsortedMatrix:
    """A matrix whose entries come in an order, in pieces of a size."""

    def entries(size: int) -> Iterator[Coo]:
        step = min(size, piece)
        for start in range(0, len(order), step):
            chosen = order[start : start + step]
            yield Coo(stored.cells[chosen], stored.genes[chosen], stored.values[chosen])

    extent = MatrixSize("CSC", len(order))
    return UnsortedMatrix(
        stored.shape, stored.values.dtype, extent, entries, ReadOptions(memory=memory)
    )


def entries_of(matrix: UnsortedMatrix, rows: RowRange) -> dict[tuple[int, int], int]:
    """The values of some cells by cell and gene, which must ascend."""
    batches = list(matrix.batches(rows))
    cells = np.concatenate([np.empty(0, int), *(batch.cells() for batch in batches)])
    genes = np.concatenate([np.empty(0, int), *(batch.genes for batch in batches)])
    values = np.concatenate([np.empty(0, int), *(batch.values for batch in batches)])
    positions = list(zip(cells.tolist(), genes.tolist(), strict=True))
    assert positions == sorted(set(positions))
    return dict(zip(positions, values.tolist(), strict=True))


@given(_WHOLE, st.data(), st.integers(0, 3000))
def test_any_order_and_memory_gives_the_order_of_cells(
    stored: Stored, data: st.DataObject, memory: int
) -> None:
    """With one bucket, many or nested ones, the cells hold the sums of their entries."""
    order = np.array(data.draw(st.permutations(range(len(stored.cells)))), int)
    matrix = unsorted(stored, order, memory)
    assert entries_of(matrix, RowRange(0, stored.shape[0])) == totals(stored)


_NUMBERS = st.sampled_from([1, 65_535, 65_536, 2**32 - 1, 2**32, 2**62, -1, -(2**62)])


@given(
    matrices(np.dtype(np.int64), max_cells=20, max_genes=6, values=_NUMBERS, repeated=False),
    st.data(),
    st.integers(0, 3000),
)
def test_large_values_among_small_ones(stored: Stored, data: st.DataObject, memory: int) -> None:
    """Values that need more bits than earlier ones are stored exactly."""
    order = np.arange(len(stored.cells))
    if data.draw(st.booleans()):
        order = np.array(data.draw(st.permutations(order.tolist())), int)
    elif data.draw(st.booleans()):
        order = np.argsort(stored.cells, kind="stable")
    matrix = unsorted(stored, order, memory, piece=9)
    assert entries_of(matrix, RowRange(0, stored.shape[0])) == totals(stored)


@given(_WHOLE, st.data())
def test_any_cells_in_any_order(stored: Stored, data: st.DataObject) -> None:
    """Cells are read in any order, and again: dropped buckets are sorted again."""
    n_cells = stored.shape[0]
    assume(n_cells)
    matrix = unsorted(stored, np.arange(len(stored.cells)), 200)
    for _ in range(4):
        start = data.draw(st.integers(0, n_cells))
        stop = data.draw(st.integers(start, n_cells))
        expected = {p: v for p, v in totals(stored).items() if start <= p[0] < stop}
        assert entries_of(matrix, RowRange(start, stop)) == expected


def skewed(n_cells: int, n_genes: int, *, seed: int = 0) -> Stored:
    """A matrix with nearly all entries in a sixteenth of the cells, and so in one bucket."""
    rng = np.random.default_rng(seed)
    full = max(n_cells // 16, 1)
    cells = np.repeat(np.arange(full), n_genes)
    genes = np.tile(np.arange(n_genes), full)
    rare = np.arange(full, n_cells)
    cells = np.append(cells, rare)
    genes = np.append(genes, rng.integers(0, n_genes, len(rare)))
    return Stored((n_cells, n_genes), cells, genes, rng.integers(1, 99, len(cells)).astype("i4"))


@pytest.mark.parametrize("layout", ["csc", "dense"])
@pytest.mark.parametrize("spread", ["even", "skewed"])
def test_memory_is_bounded_by_the_budget(layout: str, spread: str, tmp_path: Path) -> None:
    """The memory of sorting depends on the budget, not on the size or the shape of the matrix."""
    matrix = skewed(4096, 1200)
    if spread == "even":
        rng = np.random.default_rng(0)
        matrix = Stored(
            matrix.shape, rng.permutation(4096)[matrix.cells], matrix.genes, matrix.values
        )
    chunks: dict[str, Any] = {"chunks": (4096, 16)} if layout == "dense" else {}
    path = write_stored(tmp_path / "in.h5ad", matrix, layout, **chunks)
    budget = 1 << 20
    with open_source(path, options=ReadOptions(memory=budget)) as source:
        n_entries = 0
        tracemalloc.start()
        try:
            for batch in source.matrix().batches(RowRange(0, source.info.n_cells)):
                n_entries += batch.nnz
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert n_entries == len(matrix.values)
    # Sorting all entries at once takes some 20 MB.
    assert peak < 3 * budget


@pytest.mark.parametrize("layout", ["csc", "dense"])
def test_an_unsorted_matrix_makes_the_same_dataset(layout: str, tmp_path: Path) -> None:
    """Nested buckets make the dataset that the same matrix in cell order makes."""
    matrix = skewed(300, 50)
    chunks: dict[str, Any] = {"chunks": (300, 1)} if layout == "dense" else {}
    path = write_stored(tmp_path / "unsorted.h5ad", matrix, layout, **chunks)
    plain = write_stored(tmp_path / "plain.h5ad", matrix)
    result = slaf.convert(path, tmp_path / "unsorted.slaf", memory=3000)
    expected = slaf.convert(plain, tmp_path / "expected.slaf")
    assert result.published.blocks == expected.published.blocks
    assert result.expression.to_table().equals(expected.expression.to_table())
    assert slaf.verify(result, path, memory=3000).ok
    assert slaf.verify(result, path).ok


@pytest.mark.parametrize("readers", [1, 3])
@pytest.mark.parametrize("memory", [1 << 20, 64 << 20, 2 << 30])
@pytest.mark.parametrize("n_entries", [1, 10_000_000, 10_000_000_000])
def test_the_estimate_is_within_the_budget(n_entries: int, memory: int, readers: int) -> None:
    """The estimated memory of sorting is within the budget for any number of entries."""
    options = ReadOptions(memory=memory, workers=readers)
    extent = MatrixSize("CSC", n_entries)
    matrix = UnsortedMatrix((4_000_000, 9), np.dtype(np.int64), extent, lambda _: iter(()), options)
    assert 0 < matrix.size.memory <= memory


def test_more_buckets_than_fit_8_bits() -> None:
    """The last of 257 buckets of the largest size is distinct from the first."""
    n_cells = (256 << 16) + 1
    stored = Stored((n_cells, 2), np.array([n_cells - 1, 0]), np.array([0, 1]), np.array([5, 7]))
    matrix = unsorted(stored, np.arange(2), 1 << 20)
    assert entries_of(matrix, RowRange(n_cells - 1, n_cells)) == {(n_cells - 1, 0): 5}
    assert entries_of(matrix, RowRange(0, 1)) == {(0, 1): 7}


@pytest.mark.parametrize("workers", [0, 2, 5])
def test_workers_share_the_budget(workers: int, tmp_path: Path) -> None:
    """Threads that sort several buckets at once make the dataset that one thread makes."""
    matrix = skewed(300, 50)
    path = write_stored(tmp_path / "in.h5ad", matrix, "csc")
    plain = write_stored(tmp_path / "plain.h5ad", matrix)
    result = slaf.convert(
        path, tmp_path / "result.slaf", chunk_size=20, memory=9000, workers=workers
    )
    expected = slaf.convert(plain, tmp_path / "expected.slaf", chunk_size=20)
    assert result.published.blocks == expected.published.blocks


def test_nothing_is_left_in_the_scratch_directory(tmp_path: Path) -> None:
    """Scratch files have no name, so that a killed process leaves none."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    path = write_stored(tmp_path / "in.h5ad", skewed(100, 20), "csc")
    with open_source(path, options=ReadOptions(memory=500, scratch=scratch)) as source:
        before = len(list(Path("/dev/fd").iterdir()))
        batches = source.matrix().batches(RowRange(0, source.info.n_cells))
        next(batches)
        assert len(list(Path("/dev/fd").iterdir())) > before
        assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("gene", [6, 65_536 + 2, -1])
def test_a_gene_that_does_not_exist(gene: int) -> None:
    """A gene out of range is refused, even if its low bits are those of a valid gene."""
    entry = Coo(np.array([1]), np.array([gene]), np.array([7]))
    rows = UnsortedMatrix(
        (3, 6), np.dtype(int), MatrixSize("MTX", 1), lambda _: iter([entry]), ReadOptions()
    )
    with pytest.raises(DamagedInput, match=f"cell 1 has an entry for gene {gene}, but .* 6 genes"):
        next(rows.batches(RowRange(0, 3)))


@pytest.mark.parametrize("how", ["csc", "mtx", "by gene"])
def test_scratch_is_free_when_the_work_is_done(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scratch files are closed when the work is done, not when garbage is collected."""
    made = write_stored(tmp_path / "in.h5ad", skewed(100, 20), "csc" if how == "csc" else "csr")
    source = made
    if how == "mtx":
        source = tmp_path / "mtx"
        slaf.export(slaf.convert(made, tmp_path / "made.slaf"), source, format="10x_mtx")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.TemporaryFile", recorded := _RecordedFiles())
    gc.disable()
    try:
        slaf.convert(
            source, tmp_path / "out.slaf", scratch=tmp_path / "scratch", by_gene=how == "by gene"
        )
        assert recorded.files
        assert [file for file in recorded.files if not file.closed] == []
    finally:
        gc.enable()


class _RecordedFiles:
    """Makes temporary files and records them."""

    def __init__(self) -> None:
        self.files: list[IO[bytes]] = []
        self._make = tempfile.TemporaryFile

    def __call__(self, **options: Any) -> IO[bytes]:
        self.files.append(self._make(**options))
        return self.files[-1]


def test_scratch_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A missing scratch directory is an error that names it; with another one the run resumes."""
    path = write_stored(tmp_path / "in.h5ad", skewed(100, 20), "csc")
    with pytest.raises(StorageError, match=r"nowhere.*--scratch"):
        slaf.convert(path, tmp_path / "out.slaf", scratch=tmp_path / "nowhere")
    assert slaf.verify(slaf.convert(path, tmp_path / "out.slaf", scratch=tmp_path), path).ok


@pytest.mark.parametrize("cell", [-1, 6, 2**31 - 1])
def test_a_cell_out_of_range_is_named(cell: int, tmp_path: Path) -> None:
    """In compressed columns an index out of range is reported as a cell."""
    stored = Stored((6, 5), np.array([1, 5]), np.array([0, 3]), np.ones(2, np.float32))
    path = write_stored(tmp_path / "in.h5ad", stored, "csc")
    with h5py.File(path, "r+") as file:
        file["X/indices"][1] = cell
    with pytest.raises(DamagedInput, match=f"gene 3 has an entry for cell {cell}, .* 6 cells"):
        slaf.convert(path, tmp_path / "out.slaf")
    assert not (tmp_path / "out.slaf").exists()
    with (
        open_source(path) as source,
        pytest.raises(DamagedInput, match=r"in\.h5ad, X"),
    ):
        contents(source.matrix(), RowRange(0, 6))
