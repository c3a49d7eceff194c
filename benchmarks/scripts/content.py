"""The content that a program reads back, as comparable digests.

The scripts of this folder run in the environments of the programs, without our packages.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

__all__ = ["FIRST", "content", "print_result"]

# Cells that are also read separately.
FIRST = 10


def print_result(result: Any) -> None:
    """Print a result as the last line."""
    sys.stdout.flush()
    sys.stdout.write(f"\nRESULT{json.dumps(result)}\n")


def content(
    matrix: Any, obs: pd.DataFrame, var: pd.DataFrame, first: float | None = None
) -> dict[str, Any]:
    """Digests of the matrix, of the ids and of the columns of obs and var.

    Parameters
    ----------
    matrix
        Cells × genes, sparse or dense.
    obs, var
        Tables with the ids as index; without ids, with a default index.
    first
        Sum of the first cells, if the program reads cells by another function than the matrix.
    """
    return {
        "shape": [int(size) for size in matrix.shape],
        "matrix": _matrix(matrix),
        "first": float(_sums(matrix[:FIRST]) if first is None else first),
        "cells": _ids(obs),
        "genes": _ids(var),
        "obs": _columns(obs),
        "var": _columns(var),
    }


def _sums(matrix: Any) -> float:
    return float(sp.csr_matrix(matrix).sum(dtype=np.float64))


def _ids(table: pd.DataFrame) -> str | None:
    return None if isinstance(table.index, pd.RangeIndex) else _digest(map(str, table.index))


def _matrix(matrix: Any) -> str:
    rows = sp.csr_matrix(matrix)
    # SciPy does not support two index widths in one matrix, which a file may have.
    positions = (rows.indices.astype(np.int64), rows.indptr.astype(np.int64))
    entries = sp.csr_matrix((rows.data, *positions), shape=rows.shape)
    entries.sum_duplicates()
    entries.eliminate_zeros()
    digest = hashlib.blake2b(digest_size=16)
    for piece, dtype in ((entries.indptr, "<i8"), (entries.indices, "<i8"), (entries.data, "<f8")):
        digest.update(np.ascontiguousarray(piece, dtype).data)
    return digest.hexdigest()


def _columns(table: pd.DataFrame) -> dict[str, list[str]]:
    return {str(name): [_kind(table[name]), _digest(_texts(table[name]))] for name in table}


def _kind(column: pd.Series[Any]) -> str:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "categories"
    if pd.api.types.is_bool_dtype(column.dtype):
        return "booleans"
    if pd.api.types.is_numeric_dtype(column.dtype):
        return "numbers"
    return "text"


def _texts(column: pd.Series[Any]) -> Any:
    if _kind(column) == "numbers":
        return (float(value).hex() for value in column)
    return map(str, column)


def _digest(texts: Any) -> str:
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=16).hexdigest()
