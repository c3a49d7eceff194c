"""A published dataset as a source: the first of several inputs, or what another is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from slaf.arrays import Batch, RowRange
from slaf.columns import restored
from slaf.errors import DamagedDataset, MissingMatrix
from slaf.schema import CELLS, GENES
from slaf.sources.base import Extent, Slots
from slaf.sources.concat import Kept
from slaf.tables.read import read_table, scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.dataset import Dataset
    from slaf.sources.base import Matrix

__all__ = ["DatasetSource", "kept"]

_PEEK = 1 << 16


def kept(dataset: Dataset) -> Kept:
    """A dataset and the inputs that it was made of."""
    return Kept(DatasetSource(dataset), dataset.sources)


class DatasetSource:
    """The cells that a dataset holds, as a source.

    Parameters
    ----------
    dataset
        Its version is pinned, whatever is written meanwhile.
    """

    format = "slaf"

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.uri = str(dataset.location)
        self.matrix = " and ".join(dict.fromkeys(source.matrix for source in dataset.sources))
        self.dtype: np.dtype[Any] = np.dtype(dataset.published.dtype)
        self.n_cells, self.n_genes = dataset.shape

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is kept open."""

    def identity(self) -> Mapping[str, Any]:
        """The versions of its tables."""
        return {"versions": dict(self._dataset.published.versions)}

    def matrices(self) -> tuple[str, ...]:
        """X only."""
        return ("X",)

    def left_behind(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def extent(self) -> Extent:
        """Its nonzeros."""
        return Extent("a dataset", self._dataset.nnz)

    def peek(self, matrix: str | None = None) -> NDArray[Any]:
        """Its first values."""
        if matrix not in {None, *self.matrices()}:
            msg = f"{self.uri}: a dataset has no matrix {matrix!r}"
            raise MissingMatrix(msg)
        rows = RowRange(0, min(_PEEK, self._dataset.nnz))
        found = [
            batch.column(0).to_numpy() for batch in scan(self._dataset.expression, rows, ["value"])
        ]
        return np.concatenate([np.empty(0, self._dataset.published.value_type), *found])

    def nonzeros_before(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: exact."""
        offsets = self._dataset.cell_offsets
        return np.append(offsets[:-1][::step], offsets[-1])

    def cells(self) -> pa.Table:
        """Its cells with the columns that their inputs had."""
        return self._table(CELLS)

    def genes(self) -> pa.Table:
        """Its genes with the columns that their inputs had."""
        return self._table(GENES)

    def layers(self) -> Mapping[str, Matrix]:
        """None: to a dataset that has any nothing is added."""
        return {}

    def raw(self) -> None:
        """None, as of layers."""

    def slots(self) -> Slots:
        """None, as of layers."""
        return Slots()

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        offsets = self._dataset.cell_offsets
        columns = ["gene_integer_id", "value"]
        held: list[tuple[NDArray[Any], NDArray[Any]]] = []
        cell = rows.start
        seen = int(offsets[cell])
        span = RowRange(seen, int(offsets[rows.stop]))
        for batch in scan(self._dataset.expression, span, columns):
            genes, values = (column.to_numpy(zero_copy_only=False) for column in batch.columns)
            held.append((genes, values))
            seen += len(genes)
            whole = int(np.searchsorted(offsets, seen, side="right")) - 1
            stop = min(whole, rows.stop)
            if stop > cell:
                yield self._batch(RowRange(cell, stop), held)
                cell = stop
        if cell < rows.stop:
            yield self._batch(RowRange(cell, rows.stop), held)

    def _batch(self, rows: RowRange, held: list[tuple[NDArray[Any], NDArray[Any]]]) -> Batch:
        """The cells, of which `held` has all rows; what it has beyond them stays in it."""
        counts = np.diff(self._dataset.cell_offsets[rows.start : rows.stop + 1])
        total = int(counts.sum())
        genes = np.concatenate([np.empty(0, np.uint32), *(genes for genes, _ in held)])
        empty = np.empty(0, self._dataset.published.value_type)
        values = np.concatenate([empty, *(values for _, values in held)])
        if len(genes) < total:
            msg = f"{self.uri}: cells {rows.start} to {rows.stop} are not whole; `slaf verify` it"
            raise DamagedDataset(msg)
        held[:] = [(genes[total:], values[total:])]
        return Batch(rows, counts, genes[:total].astype(np.uint32), values[:total])

    def _table(self, name: str) -> pa.Table:
        described = self._dataset.published.columns[name]
        names = [column.name for column in described.columns]
        return restored(read_table(self._dataset.table(name), names), described)
