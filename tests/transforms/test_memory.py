"""A transform takes bounded memory, however many values there are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import slaf
from tests.test_view_memory import LIMIT, write

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
# All cells in another order, sorted in scratch.
slaf.export(made[::-1], top + "/out.h5ad", compression="none", memory=64 << 20, scratch=top)
print(*made.shape, made.nnz)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells the memory of a process")
@pytest.mark.parametrize(
    "n_entries", [pytest.param(n, marks=pytest.mark.slow) for n in (1_000_000, 20_000_000)]
)
def test_a_transform_takes_bounded_memory(n_entries: int, tmp_path: Path) -> None:
    """Under 600 MB beyond the imports all values are filtered, normalised, logged and sorted."""
    per_cell = 250
    n_cells = n_entries // per_cell // 64 * 64
    write(tmp_path / "in.h5ad", n_cells, per_cell, "csr")
    words = [sys.executable, "-c", _CODE, str(tmp_path / "in.h5ad"), str(tmp_path), str(LIMIT)]
    ran = subprocess.run(words, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert int(ran.stdout.split()[0]) == n_cells
    assert int(ran.stdout.split()[2]) == n_cells * per_cell


# Modules that compute as a stream, besides all of `transforms`.
_STREAMS = (
    *("sparse/reduce.py", "dataset/reduce.py", "dataset/aggregate.py", "dataset/blocks.py"),
    *("dataset/steps.py", "dataset/dataset.py", "dataset/transformed_inputs.py"),
    *("conversion/transform.py", "conversion/aggregate.py", "runs/computed.py"),
)


def test_nothing_is_read_as_a_whole() -> None:
    """No module of transforms or reductions makes an AnnData or a data frame of all values."""
    top = Path(slaf.__file__).parent
    modules = [*(top / "transforms").glob("*.py"), *(top / name for name in _STREAMS)]
    assert len(modules) > len(_STREAMS)
    for module in modules:
        for call in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                is_lazy = any(keyword.arg == "lazy" for keyword in call.keywords)
                whole = call.func.attr in {"to_anndata", "to_df"}
                assert not whole or is_lazy, f"{module}:{call.lineno}"
