"""Reading what is in any other order takes the memory that was allowed, however long it is."""

from __future__ import annotations

import gzip
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv

from slaf.testing.strategies import Stored
from tests.builders import write_stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N_GENES, N_CELLS = 2000, 3000
FEW, MANY = 200_000, 2_000_000
ALLOWED = 4 << 20
# All entries at once, in their order, would take 8 or 12 bytes each.
MOST_MORE = 3 * ALLOWED

# In a process of its own, so that the peak is that of this alone. What `resource` tells begins
# with the peak of the process that started it.
_PEAK = """
import sys
from pathlib import Path

from slaf.options import ReadOptions
from slaf.sources import open_source
from slaf.sparse.ranges import RowRange

with open_source(sys.argv[1], options=ReadOptions(memory=int(sys.argv[2]))) as source:
    source.matrix().sample_values()
    held = sum(batch.nnz for batch in source.matrix().batches(RowRange(0, source.info.n_cells)))
status = Path("/proc/self/status").read_text().split()
print(held, status[status.index("VmHWM:") + 1])
"""


def write_shuffled(folder: Path, n_entries: int) -> Path:
    """A packed folder whose entries are in no order, each at a place of its own."""
    folder.mkdir()
    places = np.random.default_rng(0).permutation(N_CELLS * N_GENES)[:n_entries]
    table = pa.table([places // N_CELLS + 1, places % N_CELLS + 1, places % 9 + 1], list("abc"))
    banner = b"%%MatrixMarket matrix coordinate integer general\n"
    with gzip.open(folder / "matrix.mtx.gz", "wb", compresslevel=1) as file:
        file.write(banner + f"{N_GENES} {N_CELLS} {n_entries}\n".encode())
        options = csv.WriteOptions(include_header=False, delimiter=" ")
        csv.write_csv(table, file, options)
    for name, count in (("genes.tsv", N_GENES), ("barcodes.tsv", N_CELLS)):
        (folder / name).write_text("".join(f"{number}\n" for number in range(count)))
    return folder


def write_columns(path: Path, n_entries: int) -> Path:
    """An h5ad of compressed columns, each entry at a place of its own."""
    places = np.random.default_rng(0).permutation(N_CELLS * N_GENES)[:n_entries]
    genes, cells = np.divmod(np.sort(places), N_CELLS)
    stored = Stored((N_CELLS, N_GENES), cells, genes, (places % 9 + 1).astype(np.float32))
    return write_stored(path, stored, "csc", compression="gzip")


def peak_of_reading(folder: Path) -> tuple[int, int]:
    """The nonzeros that were read, and the most memory that the process ever had, in bytes."""
    words = [sys.executable, "-c", _PEAK, str(folder), str(ALLOWED)]
    found = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    return int(found[0]), int(found[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells the peak of a process")
@pytest.mark.parametrize("write", [write_shuffled, write_columns])
def test_memory_does_not_grow_with_the_file(
    write: Callable[[Path, int], Path], tmp_path: Path
) -> None:
    """Ten times the entries take no more memory than the allowance and what surrounds it."""
    found = {n: peak_of_reading(write(tmp_path / str(n), n)) for n in (FEW, MANY)}
    assert {n: held for n, (held, _) in found.items()} == {FEW: FEW, MANY: MANY}
    assert found[MANY][1] - found[FEW][1] < MOST_MORE
