"""SCDL folders as bionemo-scdl writes them."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from pathlib import Path

    import scipy.sparse as sp

__all__ = ["write_scdl"]


def write_scdl(path: Path, matrix: sp.csr_matrix, release: str = "0.1.3") -> Path:
    """A folder as bionemo-scdl writes one, written out: 0.1.3, or without a header 0.0.5."""
    path.mkdir()
    matrix.data.astype("f4").tofile(path / "data.npy")
    matrix.indices.astype("u4").tofile(path / "col_ptr.npy")
    matrix.indptr.astype("u8").tofile(path / "row_ptr.npy")
    n_cells, n_genes = matrix.shape
    (path / "metadata.json").write_text(json.dumps({"num_rows": n_cells}))
    tables = {"features": pd.DataFrame({"feature_id": [f"g{at}" for at in range(n_genes)]})}
    if release == "0.1.3":
        data = b"SCDL" + bytes([0, 1, 0, 1]) + struct.pack(">II", 1, 3)
        for name, length, kind in (
            ("DATA", matrix.nnz, 6),
            ("ROWPTR", n_cells + 1, 4),
            ("COLPTR", matrix.nnz, 3),
        ):
            data += struct.pack(">I", len(name)) + name.encode()
            data += struct.pack(">QIB", length, kind, 0)
        (path / "header.sch").write_bytes(data + struct.pack(">I", 0))
        tables = {
            "var_features": tables["features"],
            "obs_features": pd.DataFrame({"cell_id": [f"c{at}" for at in range(n_cells)], "n": 1}),
        }
    else:
        dtypes = {"data.npy": "float32", "col_ptr.npy": "uint32", "row_ptr.npy": "uint64"}
        (path / "dtypes.json").write_text(json.dumps(dtypes))
    for name, frame in tables.items():
        (path / name).mkdir()
        frame.to_parquet(path / name / "dataframe_0.parquet")
        np.save(path / name / "cumulative_sum_index.npy", np.array([-1, n_cells]))
    return path
