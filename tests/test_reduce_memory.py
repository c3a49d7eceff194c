"""Sums, metrics and aggregates take bounded memory, of a dataset and of an input as it lies."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pandas as pd
import pytest

from tests.builders import names, write_elements
from tests.test_view_memory import LIMIT, write

if TYPE_CHECKING:
    from pathlib import Path

# Of the address space, all that the imports and the first use of each library take is allowed, and
# so much more.
_CODE = """
import resource, sys
import numpy as np
import anndata, duckdb, polars, lance, scipy.sparse
import slaf

def compute(view):
    sums = view.sum("cells")
    assert sums.sum() == view.sum() == view.sum("genes").sum()
    view.variance("cells"), view.max("genes")
    metrics = view.qc_metrics(mask={"odd": np.arange(view.n_vars) % 2 == 1})
    groups = view.aggregate("batch", ["sum", "mean"])
    assert (groups.X.sum(0) == sums).all()
    largest = max(view.map_blocks(lambda block: block.X.to_memory().max()))
    return int(sums.sum()), int(metrics.obs["total_counts_odd"].sum()), int(largest)

def opened(path):
    if path.endswith(".slaf"):
        return slaf.open(path)
    return slaf.scan(path, memory=64 << 20, scratch=sys.argv[2])

for path in sys.argv[4:]:
    with opened(path) as view:
        compute(view[:3])
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
used = int(status["VmSize"].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[3]),) * 2)
with opened(sys.argv[1]) as view:
    print(*compute(view))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells the memory of a process")
@pytest.mark.parametrize(
    ("n_entries", "kind"),
    [
        (300_000, "csr"),
        *(
            pytest.param(20_000_000, kind, marks=pytest.mark.slow)
            for kind in ("csr", "csc", "slaf")
        ),
    ],
)
def test_sums_take_bounded_memory(n_entries: int, kind: str, tmp_path: Path) -> None:
    """Under a limit of 600 MB beyond the imports everything is computed, in whatever layout."""
    import slaf

    per_cell = 250
    n_cells = n_entries // per_cell // 64 * 64
    for name, size in (("small", 64), ("in", n_cells)):
        path = tmp_path / f"{name}.h5ad"
        whole, _ = write(path, size, per_cell, "csc" if kind == "csc" else "csr")
        with h5py.File(path, "r+") as file:
            del file["obs"]
            batch = pd.Categorical(np.arange(size) % 3)
            write_elements(file, obs=names("cell", size).assign(batch=batch))
    if kind == "slaf":
        for name in ("small", "in"):
            slaf.convert(tmp_path / f"{name}.h5ad", tmp_path / f"{name}.slaf")
    suffix = "slaf" if kind == "slaf" else "h5ad"
    small, large = (str(tmp_path / f"{name}.{suffix}") for name in ("small", "in"))
    words = [sys.executable, "-c", _CODE, large, str(tmp_path), str(LIMIT), small]
    ran = subprocess.run(words, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = tuple(map(int, ran.stdout.split()))
    assert found[0] == whole
    assert found[2] == 7
