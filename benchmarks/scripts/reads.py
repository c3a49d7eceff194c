"""Timed reads of a program's output in one process."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

__all__ = ["rows_of", "timed"]


def timed(reads: dict[str, Callable[[Any], Any]], arguments_file: str) -> dict[str, Any]:
    """Time each read with each argument; milliseconds, nonzeros and sums of the results.

    Parameters
    ----------
    reads
        Functions by name, from an argument to a SciPy matrix, an AnnData or a table of entries.
    arguments_file
        A JSON file with a list of arguments for each read.
    """
    figures: dict[str, Any] = {}
    for name, arguments in json.loads(Path(arguments_file).read_text()).items():
        if name in reads:
            try:
                figures[name] = _timed(reads[name], arguments)
            except Exception as error:  # noqa: BLE001 - a program may raise anything
                figures[name] = {"failed": f"{type(error).__name__}: {error}"[:200]}
                sys.stderr.write(f"{name}: {error!r}\n")
    return figures


def _timed(read: Callable[[Any], Any], arguments: list[Any]) -> dict[str, Any]:
    milliseconds, nonzeros, totals = [], [], []
    for argument in arguments:
        start = time.perf_counter()
        result = read(argument)
        milliseconds.append(1e3 * (time.perf_counter() - start))
        values = _values(result)
        nonzeros.append(int(np.count_nonzero(values)))
        totals.append(float(values.sum(dtype=np.float64)))
    return {"ms": milliseconds, "nonzeros": nonzeros, "totals": totals}


def _values(result: Any) -> NDArray[Any]:
    """The values of a result: a matrix, an AnnData or a table."""
    if hasattr(result, "columns"):
        return np.asarray(result["value"].to_numpy())
    matrix = result.X if hasattr(result, "obs") else result
    return np.asarray(sp.csr_matrix(matrix).data)


def rows_of(entries: Iterable[NDArray[Any]], chosen: Any, n_genes: int) -> sp.csr_matrix:
    """The matrix whose rows are the chosen cells, of entries: cells, genes and values."""
    cells, genes, values = entries
    chosen = np.asarray(chosen)
    order = np.argsort(chosen)
    rows = order[np.searchsorted(chosen[order], cells)]
    return sp.csr_matrix((values, (rows, genes)), shape=(len(chosen), n_genes))
