"""A run tells whoever watches it how far it is."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import slaf
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path

N_CELLS, N_GENES = 40, 10


class Stopped(Exception):
    """A conversion that somebody stopped."""


class Counter:
    """Counts from each beginning on, and may stop the run."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.begun: list[tuple[int, int, int]] = []
        self.cells = 0
        self.nonzeros = 0
        self._stop_at = stop_at
        self._lock = threading.Lock()

    def begin(self, cells: int, nonzeros: int, total_cells: int) -> None:
        """Count from here."""
        self.begun.append((cells, nonzeros, total_cells))
        self.cells, self.nonzeros = cells, nonzeros

    def advance(self, cells: int, nonzeros: int) -> None:
        """Count on."""
        with self._lock:
            self.cells += cells
            self.nonzeros += nonzeros
        if self._stop_at is not None and self.cells > self._stop_at:
            raise Stopped


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An h5ad of forty cells."""
    return write_h5ad(tmp_path / "in.h5ad", counts(N_CELLS, N_GENES))


@pytest.mark.parametrize("workers", [0, 2])
def test_all_cells_and_nonzeros_are_counted(workers: int, source: Path, tmp_path: Path) -> None:
    """A run that nothing stops begins at zero and counts every cell and nonzero once."""
    watch = Counter()
    ds = slaf.convert(source, tmp_path / "out.slaf", chunk_size=7, workers=workers, progress=watch)
    assert watch.begun == [(0, 0, N_CELLS)]
    assert (watch.cells, watch.nonzeros) == (N_CELLS, ds.nnz)


def test_a_resumed_run_begins_where_it_was_stopped(source: Path, tmp_path: Path) -> None:
    """What is on disk counts as done from the beginning of a run that is resumed."""
    output = tmp_path / "out.slaf"
    with pytest.raises(Stopped):
        slaf.convert(source, output, chunk_size=10, progress=Counter(stop_at=20))
    watch = Counter()
    ds = slaf.convert(source, output, chunk_size=10, progress=watch)
    done = int(ds.offsets("expression")[20])
    assert watch.begun == [(20, done, N_CELLS)]
    assert (watch.cells, watch.nonzeros) == (N_CELLS, ds.nnz)


def test_a_wider_type_begins_again(tmp_path: Path) -> None:
    """When a value asks for a wider type the run begins again, and the count with it."""
    n_cells, n_genes = 700, 500
    matrix = counts(n_cells, n_genes)
    # The last of 70,000 values, which is not among the first that are looked at.
    matrix.data[-1] = 0.5
    source = write_h5ad(tmp_path / "in.h5ad", matrix)
    watch = Counter()
    ds = slaf.convert(source, tmp_path / "out.slaf", chunk_size=350, progress=watch)
    assert ds.published.value_type == "float32"
    assert watch.begun == [(0, 0, n_cells)] * 2
    assert (watch.cells, watch.nonzeros) == (n_cells, ds.nnz)


@pytest.mark.parametrize(("against", "passes"), [(False, 1), (True, 2)])
def test_a_verification_counts_each_pass(
    against: bool,  # noqa: FBT001
    passes: int,
    source: Path,
    tmp_path: Path,
) -> None:
    """Every cell is counted once for the digests, and once more for the source."""
    ds = slaf.convert(source, tmp_path / "out.slaf", chunk_size=7)
    watch = Counter()
    slaf.verify(ds, source if against else None, progress=watch)
    assert watch.begun == [(0, 0, passes * N_CELLS)]
    assert (watch.cells, watch.nonzeros) == (passes * N_CELLS, passes * ds.nnz)
