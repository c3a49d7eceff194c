"""Reads of what a program has stored, timed within one process."""

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


def timed(reads: dict[str, Callable[[Any], Any]], chosen: str) -> dict[str, Any]:
    """Do each read once for each choice; milliseconds, nonzeros and sums of what was found.

    Parameters
    ----------
    reads
        By name: from a choice to a SciPy matrix, an AnnData or a table of entries.
    chosen
        A JSON file of lists of choices by the names of reads.
    """
    found: dict[str, Any] = {}
    for name, choices in json.loads(Path(chosen).read_text()).items():
        if name in reads:
            try:
                found[name] = _timed(reads[name], choices)
            except Exception as error:  # noqa: BLE001 - a program may fail as it likes
                found[name] = {"failed": f"{type(error).__name__}: {error}"[:200]}
                sys.stderr.write(f"{name}: {error!r}\n")
    return found


def _timed(read: Callable[[Any], Any], choices: list[Any]) -> dict[str, Any]:
    milliseconds, nonzeros, totals = [], [], []
    for choice in choices:
        began = time.perf_counter()
        result = read(choice)
        milliseconds.append(1e3 * (time.perf_counter() - began))
        values = _values(result)
        nonzeros.append(int(np.count_nonzero(values)))
        totals.append(float(values.sum(dtype=np.float64)))
    return {"ms": milliseconds, "nonzeros": nonzeros, "totals": totals}


def _values(result: Any) -> NDArray[Any]:
    """All that was read, whether as a matrix, an AnnData or a table."""
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
