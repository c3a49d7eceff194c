"""A published dataset as what another one is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slaf.arrays import BATCH_NONZEROS, Batch, RowRange, cuts
from slaf.columns import described_table
from slaf.schema import CELLS, GENES
from slaf.tables.read import read_table
from slaf.verification.digests import entries_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from slaf.dataset import Dataset

__all__ = ["DatasetSource"]


class DatasetSource:
    """The cells, genes and values of a dataset, as a source gives them.

    Parameters
    ----------
    dataset
        Whose offsets are known to be right.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.n_cells, self.n_genes = dataset.shape

    def cells(self) -> pa.Table:
        """The user's columns of the cells, under their names."""
        return self._described(CELLS)

    def genes(self) -> pa.Table:
        """The user's columns of the genes, under their names."""
        return self._described(GENES)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        offsets = self._dataset.cell_offsets[rows.start : rows.stop + 1]
        for first, last in cuts(offsets, BATCH_NONZEROS):
            part = RowRange(rows.start + first, rows.start + last)
            pieces = list(entries_of(self._dataset, part))
            genes = [np.empty(0, np.uint32), *(genes for _, genes, _ in pieces)]
            yield Batch(
                part,
                np.diff(offsets[first : last + 1]),
                np.concatenate(genes).astype(np.uint32),
                np.concatenate([values for _, _, values in pieces] or [np.empty(0, np.uint16)]),
            )

    def _described(self, name: str) -> pa.Table:
        described = self._dataset.published.columns[name]
        names = [column.name for column in described.columns]
        table = read_table(self._dataset.table(name), names)
        return described_table(table.columns, described.columns, described.index_name)
