"""An export takes the memory that was allowed, however large the matrix is."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

import slaf
from slaf.testing.strategies import Stored
from tests.builders import write_stored

if TYPE_CHECKING:
    from pathlib import Path

N_GENES = 2000
FEW, MANY = 500, 8_000
A_CELL = 400
ALLOWED = 8 << 20
# All entries of the larger one would take 56 bytes each to sort: 180 MB. What surrounds the
# sorting are batches of a million entries, of which the smaller one has not even one.
MOST_MORE = 96 << 20

# In a process of its own, so that the peak is that of this alone.
_PEAK = """
import sys
from pathlib import Path

from slaf_cli.process import keep_one_heap

keep_one_heap()
import slaf

dataset, output, layout, memory = sys.argv[1:]
slaf.export(dataset, output, layout=layout, memory=int(memory))
status = Path("/proc/self/status").read_text().split()
print(status[status.index("VmHWM:") + 1])
"""


def make(folder: Path, n_cells: int) -> Path:
    """A dataset of cells that have 400 of 2,000 genes each."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    genes = np.sort(np.argsort(rng.random((n_cells, N_GENES)), axis=1)[:, :A_CELL], axis=1).ravel()
    cells = np.repeat(np.arange(n_cells), A_CELL)
    values = rng.integers(1, 9, len(cells)).astype(np.float32)
    path = write_stored(folder / "in.h5ad", Stored((n_cells, N_GENES), cells, genes, values))
    slaf.convert(path, folder / "in.slaf")
    return folder / "in.slaf"


def peak(dataset: Path, layout: str) -> int:
    """The most memory that a process ever had that exports it, in bytes."""
    output = dataset.with_name(f"{layout}.h5ad")
    words = [sys.executable, "-c", _PEAK, str(dataset), str(output), layout, str(ALLOWED)]
    found = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return int(found) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells the peak of a process")
def test_memory_does_not_grow_with_the_matrix(tmp_path: Path) -> None:
    """Sixteen times the cells take no more memory than the allowance and what surrounds it."""
    few, many = (make(tmp_path / str(n), n) for n in (FEW, MANY))
    for layout in ("csr", "csc"):
        assert peak(many, layout) - peak(few, layout) < MOST_MORE
    with h5py.File(many.with_name("csc.h5ad")) as file:
        assert file["X"].attrs["encoding-type"] == "csc_matrix"
        assert len(file["X/data"]) == MANY * A_CELL
