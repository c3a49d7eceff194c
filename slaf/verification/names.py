"""Check the string ids that a dataset may also store in `expression`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slaf.arrays import RowRange
from slaf.schema import CELLS, GENES
from slaf.tables.read import read_table, scan

if TYPE_CHECKING:
    from slaf.dataset import Dataset
    from slaf.verification.report import Findings

__all__ = ["check_string_ids"]


def check_string_ids(dataset: Dataset, findings: Findings) -> None:
    """Compare them with the ids of `cells` and `genes`; there are none in most datasets.

    Parameters
    ----------
    dataset
        Whose offsets and blocks are known to be right.
    findings
        Takes the rows that differ.
    """
    if "cell_id" not in dataset.expression.schema.names:
        return
    for name in (CELLS, GENES):
        column = f"{name.removesuffix('s')}_id"
        with findings.reading(f"{column} of expression"):
            _check(dataset, column, read_table(dataset.table(name), [column]).column(0), findings)


def _check(dataset: Dataset, column: str, ids: pa.ChunkedArray, findings: Findings) -> None:
    whole = ids.combine_chunks()
    row = 0
    for batch in scan(
        dataset.expression, RowRange(0, dataset.nnz), [column, column.replace("_id", "_integer_id")]
    ):
        found, positions = batch.columns
        # A position that is not there was found, and named, by the digest of its block.
        within = pc.less(positions, pa.scalar(len(whole), positions.type))
        expected = whole.take(pc.if_else(within, positions, None))
        wrong = pc.fill_null(pc.not_equal(found, expected), fill_value=True)
        for at in np.flatnonzero(wrong.to_numpy(zero_copy_only=False)):
            where = f"{column} of row {row + at}"
            findings.note("names", where, expected[int(at)].as_py(), found[int(at)].as_py())
        row += len(found)
