"""Row offsets of each cell, from what the parts of a run have written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slaf.dataset.dataset import Dataset
from slaf.format.schema import EXPRESSION
from slaf.runs.journal import read_row_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slaf.runs.output_run import OutputRun

__all__ = ["all_row_offsets", "row_offsets"]


def all_row_offsets(run: OutputRun) -> dict[str, NDArray[np.int64]]:
    """The row offsets of each table that a run writes in the order of cells."""
    tables = (EXPRESSION, *(companion.table for companion in run.plan.companions))
    return {table: row_offsets(run, table) for table in tables}


def row_offsets(run: OutputRun, table: str) -> NDArray[np.int64]:
    """Where the rows of each cell begin in a table, and after the last, where they end."""
    plan = run.plan
    known = np.zeros(1, np.int64)
    if plan.base is not None and table not in plan.rewrites:
        known = np.zeros(plan.base.n_cells + 1, np.int64)
        if run.previous is not None and plan.adds_to(table):
            known = Dataset(run.location, run.previous).offsets(table)
    counts = [read_row_counts(run.location, plan, table, r.index) for r in run.results(table)]
    ends = known[-1] + np.cumsum(np.concatenate([np.zeros(1, np.int64), *counts]))
    return np.append(known[:-1], ends)
