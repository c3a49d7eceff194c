"""A published dataset as a source: the first of several inputs, or what another is held against."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from slaf.arrays import BATCH_NONZEROS, Batch, RowRange, cuts
from slaf.columns import restored
from slaf.errors import DamagedDataset, MissingMatrix
from slaf.lazily import Lazily, WhenAsked
from slaf.schema import CELLS, GENES, LAYERS, RAW, RAW_GENES
from slaf.sources.base import Extent, Raw, Slots
from slaf.sources.inputs import Existing
from slaf.tables.matrix import read_matrix
from slaf.tables.read import read_table, scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import lance
    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.beside import MatrixRecord
    from slaf.columns import ColumnSet
    from slaf.dataset import Dataset
    from slaf.sources.base import Matrix

__all__ = ["DatasetSource", "HeldMatrix", "existing"]

_PEEK = 1 << 16


def existing(dataset: Dataset) -> Existing:
    """A dataset and the inputs that it was made of."""
    records = dataset.sources
    if dataset.held.beside.taken is None:
        # Then nothing was taken of them, which an older release did not record.
        records = tuple(replace(record, holds=()) for record in records)
    return Existing(
        DatasetSource(dataset),
        records,
        lambda: [dataset.held.uns_of(at) for at in range(len(records))],
    )


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
        """Its layers."""
        held = self._dataset.held
        return Lazily(
            held.layers,
            lambda name: HeldMatrix(
                held.table(LAYERS), held.layers[name], held.offsets(LAYERS), self.n_genes
            ),
        )

    def raw(self) -> Raw | None:
        """Its raw, if it has one."""
        held, record = self._dataset.held, self._dataset.held.beside.raw
        if held.raw is None or record is None:
            return None
        genes = self._table(RAW_GENES, record.columns)
        matrix = HeldMatrix(held.table(RAW), record.matrix, held.offsets(RAW), record.n_genes)
        return Raw(matrix, genes, held.raw.varm, record.measured)

    def slots(self) -> Slots:
        """Its obsm, varm, obsp, varp and uns."""
        held = self._dataset.held
        aligned = {slot: held.slot(slot) for slot in ("obsm", "varm", "obsp", "varp")}
        return Slots(**aligned, uns=WhenAsked(lambda: held.uns))

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

    def _table(self, name: str, described: ColumnSet | None = None) -> pa.Table:
        described = described or self._dataset.published.columns[name]
        names = [column.name for column in described.columns]
        return restored(read_table(self._dataset.table(name), names), described)


class HeldMatrix:
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
        table: lance.LanceDataset,
        record: MatrixRecord,
        offsets: NDArray[np.int64],
        n_genes: int,
    ) -> None:
        self._table = table
        self._record = record
        self._offsets = offsets
        self.shape = (len(offsets) - 1, n_genes)
        self.dtype: np.dtype[Any] = np.dtype(record.source_dtype)
        self.given_back = record.dtype

    def extent(self) -> Extent:
        """Its values."""
        return Extent("a dataset", self._record.nnz)

    def peek(self) -> NDArray[Any]:
        """Its first values."""
        rows = RowRange(0, min(_PEEK, int(self._offsets[-1])))
        found = [
            batch.column(0).drop_null().to_numpy()
            for batch in scan(self._table, rows, [self._record.name])
        ]
        return np.concatenate([np.empty(0, self._record.value_type), *found])

    def nonzeros_before(self, step: int) -> NDArray[np.int64]:
        """The rows of the table, which other layers may have values in."""
        return np.append(self._offsets[:-1][::step], self._offsets[-1])

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        bounds = self._offsets[rows.start : rows.stop + 1]
        for start, stop in cuts(bounds, BATCH_NONZEROS):
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
