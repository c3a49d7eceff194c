"""A transform takes bounded memory, however many values there are."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.test_view_memory import LIMIT, write

if TYPE_CHECKING:
    from pathlib import Path

# Imports and the first use of each library are allowed, and so much more.
_CODE = """
import resource, sys
import numpy as np
import anndata
import slaf

STEPS = dict(min_genes=1, mad={"counts": 9}, min_cells=1, normalize_total="median", log1p=True)
top = sys.argv[2]
adata = anndata.AnnData(np.eye(4, dtype=np.float32), obs={"half": [0, 1, 0, 1]})
slaf.transform(adata, top + "/warm.slaf", **STEPS)
slaf.transform(adata, top + "/warm.h5ad", sort_by="half")

status = dict(line.split(":", 1) for line in open("/proc/self/status"))
used = int(status["VmSize"].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[3]),) * 2)

made = slaf.transform(sys.argv[1], top + "/out.slaf", **STEPS, memory=64 << 20, scratch=top)
print(*made.shape, made.nnz)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells the memory of a process")
@pytest.mark.parametrize(
    "n_entries", [pytest.param(n, marks=pytest.mark.slow) for n in (1_000_000, 20_000_000)]
)
def test_a_transform_takes_bounded_memory(n_entries: int, tmp_path: Path) -> None:
    """Under a limit of 600 MB beyond the imports all values are filtered, normalised and logged."""
    per_cell = 250
    n_cells = n_entries // per_cell // 64 * 64
    write(tmp_path / "in.h5ad", n_cells, per_cell, "csr")
    words = [sys.executable, "-c", _CODE, str(tmp_path / "in.h5ad"), str(tmp_path), str(LIMIT)]
    ran = subprocess.run(words, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert int(ran.stdout.split()[0]) == n_cells
    assert int(ran.stdout.split()[2]) == n_cells * per_cell
