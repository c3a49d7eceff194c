"""A scan runs in bounded memory, whatever the input holds, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from tests.builders import names, write_elements

if TYPE_CHECKING:
    from pathlib import Path

N_GENES = 2000
LIMIT = 600 << 20

# Of the address space, all that the imports and the first use of each library take is allowed, and
# so much more.
_CODE = """
import resource, sys
import numpy as np
import anndata, duckdb, polars, lance, scipy.sparse
import slaf

warm = slaf.scan(anndata.AnnData(np.eye(3, dtype=np.float32)))
warm["cell_integer_id > 0"].X.to_memory()
warm.write_h5ad(sys.argv[1] + "/warm.h5ad")
with slaf.scan(sys.argv[1] + "/warm.h5ad") as view:
    view[[2, 0]].obs_names

status = dict(line.split(":", 1) for line in open("/proc/self/status"))
used = int(status["VmSize"].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]),) * 2)

for path in sys.argv[3:]:
    with slaf.scan(path, memory=64 << 20, scratch=sys.argv[1]) as view:
        whole = sum(int(batch.values.sum()) for batch in view.X.batches())
        odd = view["cell_integer_id % 2 = 1"][:, ::-2]
        part = sum(int(batch.values.sum()) for batch in odd.X.batches())
        first = view[[7, 3]].X.to_memory().shape
        odd.write_h5ad(sys.argv[1] + "/part.h5ad", overwrite=True)
    print(whole, part, *first)
"""


def write(path: Path, n_cells: int, per_cell: int, layout: str) -> tuple[int, int]:
    """An h5ad with as many entries in each cell; the sums of all and of odd cells and genes."""
    rng = np.random.default_rng(0)
    genes = np.sort(rng.permuted(np.tile(np.arange(N_GENES), (64, 1)), axis=1)[:, :per_cell])
    indices = np.tile(genes, (n_cells // 64, 1))
    values = (np.arange(indices.size) % 7 + 1).astype(np.float32)
    odd = indices % 2 == 1
    odd[::2] = False
    whole, part = (int(some.sum(dtype=np.float64)) for some in (values, values[odd.ravel()]))
    indices, indptr = indices.ravel().astype("i4"), np.arange(n_cells + 1) * per_cell
    if layout == "csc":
        cells = np.repeat(np.arange(n_cells, dtype="i4"), per_cell)
        order = np.argsort(indices, kind="stable")
        counts = np.bincount(indices, minlength=N_GENES)
        indices, values = cells[order], values[order]
        indptr = np.concatenate([[0], np.cumsum(counts)])
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs.update({"encoding-type": f"{layout}_matrix", "encoding-version": "0.1.0"})
        group.attrs["shape"] = (n_cells, N_GENES)
        for name, array in (("indptr", indptr), ("indices", indices), ("data", values)):
            group.create_dataset(name, data=array, compression="gzip", compression_opts=1)
        write_elements(file, obs=names("cell", n_cells), var=names("gene", N_GENES))
    return whole, part


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells the memory of a process")
@pytest.mark.parametrize("n_entries", [1_000_000, pytest.param(20_000_000, marks=pytest.mark.slow)])
def test_a_scan_takes_bounded_memory(n_entries: int, tmp_path: Path) -> None:
    """Under a limit of 600 MB beyond the imports CSR and CSC are read, filtered and exported."""
    per_cell = 250
    n_cells = n_entries // per_cell // 64 * 64
    paths = [tmp_path / f"{layout}.h5ad" for layout in ("csr", "csc")]
    expected = [write(path, n_cells, per_cell, path.stem) for path in paths]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = [sys.executable, "-c", _CODE, str(scratch), str(LIMIT), *map(str, paths)]
    ran = subprocess.run(words, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = [tuple(map(int, line.split())) for line in ran.stdout.splitlines()]
    assert found == [(*sums, 2, N_GENES) for sums in expected]
    assert sorted(path.name for path in scratch.iterdir()) == ["part.h5ad", "warm.h5ad"]
