"""Where the rows of each cell begin, by what the parts of a run have written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slaf.dataset.dataset import Dataset
from slaf.format.schema import EXPRESSION
from slaf.runs.encode import part_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slaf.format.config import DatasetConfig
    from slaf.runs.checkpoint import Checkpoint, PartResult
    from slaf.storage.location import Location

__all__ = ["all_row_offsets", "layer_results", "row_offsets"]


def all_row_offsets(
    location: Location, checkpoint: Checkpoint, before: DatasetConfig | None
) -> dict[str, NDArray[np.int64]]:
    """Of each table that a run writes in the order of cells, what `offsets_of` gives."""
    tables = (EXPRESSION, *(companion.table for companion in checkpoint.plan.companions))
    return {table: row_offsets(location, checkpoint, table, before) for table in tables}


def row_offsets(
    location: Location, checkpoint: Checkpoint, table: str, before: DatasetConfig | None
) -> NDArray[np.int64]:
    """Where the rows of each cell begin in a table, and after the last, where they end.

    Parameters
    ----------
    before
        What readers see until now: the rows that stay as they are.
    """
    plan = checkpoint.plan
    known = np.zeros(1, np.int64)
    if plan.base is not None and table not in plan.rewrites:
        known = np.zeros(plan.base.n_cells + 1, np.int64)
        if before is not None and plan.adds_to(table):
            known = Dataset(location, before).offsets(table)
    counts = [part_counts(location, r.index, table) for r in layer_results(checkpoint, table)]
    ends = known[-1] + np.cumsum(np.concatenate([np.zeros(1, np.int64), *counts]))
    return np.append(known[:-1], ends)


def layer_results(checkpoint: Checkpoint, table: str) -> list[PartResult]:
    """The parts that have rows of a table, in order."""
    plan = checkpoint.plan
    return [result for result in checkpoint.results() if plan.writes(result.index, table)]
