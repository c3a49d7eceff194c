"""Where the rows of each cell begin, by what the parts of a run have written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slaf.conversion.encode import part_counts
from slaf.dataset import Dataset
from slaf.schema import EXPRESSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slaf.conversion.checkpoint import Checkpoint, PartResult
    from slaf.manifest import Published
    from slaf.storage import Location

__all__ = ["offsets_of", "results_of", "starts_of"]


def starts_of(
    location: Location, checkpoint: Checkpoint, before: Published | None
) -> dict[str, NDArray[np.int64]]:
    """Of each table that a run writes in the order of cells, what `offsets_of` gives."""
    tables = (EXPRESSION, *(companion.table for companion in checkpoint.plan.companions))
    return {table: offsets_of(location, checkpoint, table, before) for table in tables}


def offsets_of(
    location: Location, checkpoint: Checkpoint, table: str, before: Published | None
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
    counts = [part_counts(location, r.index, table) for r in results_of(checkpoint, table)]
    ends = known[-1] + np.cumsum(np.concatenate([np.zeros(1, np.int64), *counts]))
    return np.append(known[:-1], ends)


def results_of(checkpoint: Checkpoint, table: str) -> list[PartResult]:
    """The parts that have rows of a table, in order."""
    plan = checkpoint.plan
    return [result for result in checkpoint.results() if plan.writes(result.index, table)]
