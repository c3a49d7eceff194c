"""Row offsets of each cell and gene, from the row counts of the parts of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slaf.dataset.dataset import Dataset
from slaf.runs.journal import read_row_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slaf.runs.output_run import OutputRun

__all__ = ["all_row_offsets", "row_offsets"]


def all_row_offsets(run: OutputRun) -> dict[str, NDArray[np.int64]]:
    """The row offsets of each table that a run writes in parts."""
    return {spec.name: row_offsets(run, spec.name) for spec in run.plan.partitioned}


def row_offsets(run: OutputRun, table: str) -> NDArray[np.int64]:
    """The first row of each cell or gene in a table, and after the last the number of rows."""
    plan = run.plan
    base = np.zeros(1, np.int64)
    if plan.base is not None and not plan.replaces(table):
        base = np.zeros(plan.base.n_cells + 1, np.int64)
        if run.previous is not None and plan.adds_to(table):
            base = Dataset(run.location, run.previous).offsets(table)
    parts = run.parts_of(table)
    counts = [read_row_counts(run.location, plan, table, part) for part in parts]
    ends = base[-1] + np.cumsum(np.concatenate([np.zeros(1, np.int64), *counts]))
    return np.append(base[:-1], ends)
