"""Entries in any order come out in the order of cells, in the memory that was allowed."""

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
from slaf.sources.base import MatrixSize
from slaf.sources.unsorted import UnsortedMatrix
from slaf.sparse.external_sort import Coo
from slaf.sparse.ranges import RowRange
from slaf.testing.laws import contents
from slaf.testing.strategies import Stored, matrices
from tests.builders import totals, write_stored

if TYPE_CHECKING:
    from collections.abc import Iterator

_WHOLE = matrices(np.dtype(np.int32), max_cells=40, max_genes=6, values=st.integers(-3, 9))


def spilled(
    stored: Stored, order: np.ndarray, memory: int, *, at_once: int = 1 << 20
) -> UnsortedMatrix:
    """The entries of a matrix, given in an order of their own, so many at a time at the most."""

    def entries(size: int) -> Iterator[Coo]:
        step = min(size, at_once)
        for start in range(0, len(order), step):
            chosen = order[start : start + step]
            yield Coo(stored.cells[chosen], stored.genes[chosen], stored.values[chosen])

    extent = MatrixSize("CSC", len(order))
    return UnsortedMatrix(
        stored.shape, stored.values.dtype, extent, entries, ReadOptions(memory=memory)
    )


def places(matrix: UnsortedMatrix, rows: RowRange) -> dict[tuple[int, int], int]:
    """What it holds in some cells, by cell and gene, checked to come in order."""
    batches = list(matrix.batches(rows))
    cells = np.concatenate([np.empty(0, int), *(batch.cells() for batch in batches)])
    genes = np.concatenate([np.empty(0, int), *(batch.genes for batch in batches)])
    values = np.concatenate([np.empty(0, int), *(batch.values for batch in batches)])
    found = list(zip(cells.tolist(), genes.tolist(), strict=True))
    assert found == sorted(set(found))
    return dict(zip(found, values.tolist(), strict=True))


@given(_WHOLE, st.data(), st.integers(0, 3000))
def test_any_order_in_any_memory_is_the_order_of_cells(
    stored: Stored, data: st.DataObject, memory: int
) -> None:
    """One band or many, or bands of bands: the cells hold the sums of their entries."""
    order = np.array(data.draw(st.permutations(range(len(stored.cells)))), int)
    matrix = spilled(stored, order, memory)
    assert places(matrix, RowRange(0, stored.shape[0])) == totals(stored)


_NUMBERS = st.sampled_from([1, 65_535, 65_536, 2**32 - 1, 2**32, 2**62, -1, -(2**62)])


@given(
    matrices(np.dtype(np.int64), max_cells=20, max_genes=6, values=_NUMBERS, repeated=False),
    st.data(),
    st.integers(0, 3000),
)
def test_large_values_among_small_ones(stored: Stored, data: st.DataObject, memory: int) -> None:
    """Values are kept in as few bits as hold those so far: later ones may need more."""
    order = np.arange(len(stored.cells))
    if data.draw(st.booleans()):
        order = np.array(data.draw(st.permutations(order.tolist())), int)
    elif data.draw(st.booleans()):
        order = np.argsort(stored.cells, kind="stable")
    matrix = spilled(stored, order, memory, at_once=9)
    assert places(matrix, RowRange(0, stored.shape[0])) == totals(stored)


@given(_WHOLE, st.data())
def test_any_cells_in_any_order(stored: Stored, data: st.DataObject) -> None:
    """Cells may be asked for backwards and again: bands that were let go are sorted once more."""
    n_cells = stored.shape[0]
    assume(n_cells)
    matrix = spilled(stored, np.arange(len(stored.cells)), 200)
    for _ in range(4):
        start = data.draw(st.integers(0, n_cells))
        stop = data.draw(st.integers(start, n_cells))
        expected = {p: v for p, v in totals(stored).items() if start <= p[0] < stop}
        assert places(matrix, RowRange(start, stop)) == expected


def skewed(n_cells: int, n_genes: int, *, seed: int = 0) -> Stored:
    """Nearly all entries lie in a sixteenth of the cells, so that one band has them all."""
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
    """What sorting takes depends on the budget, not on the matrix, nor on how it is spread."""
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
def test_a_spilled_matrix_is_converted_like_any_other(layout: str, tmp_path: Path) -> None:
    """Bands of bands make the dataset that the same matrix in cell order makes."""
    matrix = skewed(300, 50)
    chunks: dict[str, Any] = {"chunks": (300, 1)} if layout == "dense" else {}
    spilt = write_stored(tmp_path / "spilt.h5ad", matrix, layout, **chunks)
    plain = write_stored(tmp_path / "plain.h5ad", matrix)
    one = slaf.convert(spilt, tmp_path / "one.slaf", memory=3000)
    other = slaf.convert(plain, tmp_path / "other.slaf")
    assert one.published.blocks == other.published.blocks
    assert one.expression.to_table().equals(other.expression.to_table())
    assert slaf.verify(one, spilt, memory=3000).ok
    assert slaf.verify(one, spilt).ok


@pytest.mark.parametrize("readers", [1, 3])
@pytest.mark.parametrize("memory", [1 << 20, 64 << 20, 2 << 30])
@pytest.mark.parametrize("n_entries", [1, 10_000_000, 10_000_000_000])
def test_what_sorting_takes_is_within_the_budget(n_entries: int, memory: int, readers: int) -> None:
    """However much is to be sorted, what is planned for it is no more than is allowed."""
    options = ReadOptions(memory=memory, workers=readers)
    extent = MatrixSize("CSC", n_entries)
    matrix = UnsortedMatrix((4_000_000, 9), np.dtype(np.int64), extent, lambda _: iter(()), options)
    assert 0 < matrix.size.memory <= memory


def test_more_cells_than_fit_a_few_bands() -> None:
    """The last of 257 bands, each of as many cells as one may have, is not taken for the first."""
    n_cells = (256 << 16) + 1
    stored = Stored((n_cells, 2), np.array([n_cells - 1, 0]), np.array([0, 1]), np.array([5, 7]))
    matrix = spilled(stored, np.arange(2), 1 << 20)
    assert places(matrix, RowRange(n_cells - 1, n_cells)) == {(n_cells - 1, 0): 5}
    assert places(matrix, RowRange(0, 1)) == {(0, 1): 7}


@pytest.mark.parametrize("workers", [0, 2, 5])
def test_workers_share_the_budget(workers: int, tmp_path: Path) -> None:
    """Threads that sort different bands at once make the dataset that one makes."""
    matrix = skewed(300, 50)
    path = write_stored(tmp_path / "in.h5ad", matrix, "csc")
    plain = write_stored(tmp_path / "plain.h5ad", matrix)
    one = slaf.convert(path, tmp_path / "one.slaf", chunk_size=20, memory=9000, workers=workers)
    other = slaf.convert(plain, tmp_path / "other.slaf", chunk_size=20)
    assert one.published.blocks == other.published.blocks


def test_nothing_is_left_in_the_scratch_directory(tmp_path: Path) -> None:
    """Scratch data has no name: there is nothing to clean, whatever becomes of the process."""
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
    """Genes are kept in as few bits as the matrix asks for, and none is taken for another."""
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
    """The space is given back at once, and not when Python next looks for what nobody uses."""
    made = write_stored(tmp_path / "in.h5ad", skewed(100, 20), "csc" if how == "csc" else "csr")
    source = made
    if how == "mtx":
        source = tmp_path / "mtx"
        slaf.export(slaf.convert(made, tmp_path / "made.slaf"), source, format="10x_mtx")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.TemporaryFile", seen := _Seen())
    gc.disable()
    try:
        slaf.convert(
            source, tmp_path / "out.slaf", scratch=tmp_path / "scratch", by_gene=how == "by gene"
        )
        assert seen.files
        assert [file for file in seen.files if not file.closed] == []
    finally:
        gc.enable()


class _Seen:
    """Makes temporary files, and knows all that it made."""

    def __init__(self) -> None:
        self.files: list[IO[bytes]] = []
        self._make = tempfile.TemporaryFile

    def __call__(self, **options: Any) -> IO[bytes]:
        self.files.append(self._make(**options))
        return self.files[-1]


def test_scratch_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A directory that is not there is an error of the system's; with another the run resumes."""
    path = write_stored(tmp_path / "in.h5ad", skewed(100, 20), "csc")
    with pytest.raises(StorageError, match=r"nowhere.*--scratch"):
        slaf.convert(path, tmp_path / "out.slaf", scratch=tmp_path / "nowhere")
    assert slaf.verify(slaf.convert(path, tmp_path / "out.slaf", scratch=tmp_path), path).ok


@pytest.mark.parametrize("cell", [-1, 6, 2**31 - 1])
def test_a_cell_that_is_not_there_is_named(cell: int, tmp_path: Path) -> None:
    """In compressed columns an index out of range is a cell's, and the error says so."""
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
