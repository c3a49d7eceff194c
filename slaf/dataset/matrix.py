"""A published dataset as a source: the first of several inputs, or what another is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.sources.base import MatrixSize
from slaf.sparse.batch import BATCH_NONZEROS, Batch
from slaf.sparse.ranges import RowRange, split_by_nnz
from slaf.tables.csr import read_matrix
from slaf.tables.read import scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from slaf.format.records import MatrixRecord
    from slaf.tables.read import LanceTable

__all__ = ["StoredMatrix"]

# Rows that are read to see what values there are.
PEEK_ROWS = 1 << 16


class StoredMatrix:
    """A layer of a dataset, or its raw, by ranges of cells.

    Parameters
    ----------
    table
        Which holds it.
    record
        What config.json says of it.
    offsets
        Where the rows of each cell begin in the table, and after the last, where they end.
    n_genes
        The genes it has.
    """

    def __init__(
        self,
        table: LanceTable,
        record: MatrixRecord,
        offsets: NDArray[np.int64],
        n_genes: int,
    ) -> None:
        self._table = table
        self._record = record
        self._offsets = offsets
        self.shape = (len(offsets) - 1, n_genes)
        self.dtype: np.dtype[Any] = np.dtype(record.source_dtype)
        self.read_dtype = record.dtype

    @property
    def size(self) -> MatrixSize:
        """Its values."""
        return MatrixSize("a dataset", self._record.nnz)

    def sample_values(self) -> NDArray[Any]:
        """Its first values."""
        rows = RowRange(0, min(PEEK_ROWS, int(self._offsets[-1])))
        found = [
            batch.column(0).drop_null().to_numpy()
            for batch in scan(self._table, rows, [self._record.name])
        ]
        return np.concatenate([np.empty(0, self._record.value_type), *found])

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """The rows of the table, which other layers may have values in."""
        return np.append(self._offsets[:-1][::step], self._offsets[-1])

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        bounds = self._offsets[rows.start : rows.stop + 1]
        for start, stop in split_by_nnz(bounds, BATCH_NONZEROS):
            cells = np.arange(rows.start + start, rows.start + stop)
            found = read_matrix(
                self._table,
                self._record.name,
                self._offsets,
                cells,
                None,
                n_genes=self.shape[1],
                dtype=np.dtype(self._record.value_type),
            )
            counts = np.diff(found.indptr).astype(np.int64)
            here = RowRange(rows.start + start, rows.start + stop)
            yield Batch(here, counts, found.indices.astype(np.uint32), found.data)
