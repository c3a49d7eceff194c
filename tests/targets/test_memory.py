"""Peak memory of exports."""

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
# Sorting all entries of the larger dataset would take 56 bytes each: 180 MB. The rest are batches
# of a million entries; the smaller dataset has fewer entries.
MAX_DIFFERENCE = 96 << 20

# In a process of its own, to measure its peak.
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
    # One of each five neighbours.
    genes = np.arange(0, N_GENES, 5) + rng.integers(0, 5, (n_cells, A_CELL))
    cells = np.repeat(np.arange(n_cells), A_CELL)
    values = rng.integers(1, 9, len(cells)).astype(np.float32)
    path = write_stored(
        folder / "in.h5ad", Stored((n_cells, N_GENES), cells, genes.ravel(), values)
    )
    slaf.convert(path, folder / "in.slaf")
    return folder / "in.slaf"


def peak(dataset: Path, layout: str) -> int:
    """The peak memory of a process that exports a dataset, in bytes."""
    output = dataset.with_name(f"{layout}.h5ad")
    words = [sys.executable, "-c", _PEAK, str(dataset), str(output), layout, str(ALLOWED)]
    output_text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return int(output_text) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc has the peak of a process")
def test_memory_does_not_grow_with_the_matrix(tmp_path: Path) -> None:
    """Sixteen times the cells take no more memory than the option allows, and some batches."""
    few, many = (make(tmp_path / str(n), n) for n in (FEW, MANY))
    for layout in ("csr", "csc"):
        assert peak(many, layout) - peak(few, layout) < MAX_DIFFERENCE
    with h5py.File(many.with_name("csc.h5ad")) as file:
        assert file["X"].attrs["encoding-type"] == "csc_matrix"
        assert len(file["X/data"]) == MANY * A_CELL
