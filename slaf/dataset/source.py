"""A published dataset as a source: the first of several inputs, or what another is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from msgspec.structs import replace

from slaf.annotations.columns import from_lance
from slaf.dataset.matrix import PEEK_ROWS, StoredMatrix
from slaf.errors import DamagedDataset, MissingMatrix
from slaf.format.schema import CELLS, GENES, LAYERS, RAW, RAW_GENES
from slaf.runtime.lazy import DeferredMapping, LazyMapping
from slaf.sources.base import MatrixSize, Raw, Slots
from slaf.sources.concat.members import ExistingDataset
from slaf.sparse.batch import Batch
from slaf.sparse.ranges import RowRange
from slaf.tables.read import read_table, scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.annotations.columns import ColumnSet
    from slaf.dataset.dataset import Dataset
    from slaf.sources.base import Matrix

__all__ = ["DatasetSource", "dataset_as_input"]


def dataset_as_input(dataset: Dataset) -> ExistingDataset:
    """A dataset and the inputs that it was made of."""
    records = dataset.sources
    if dataset.annotations.beside.taken is None:
        # Then nothing was taken of them, which an older release did not record.
        records = tuple(replace(record, holds=()) for record in records)
    return ExistingDataset(
        DatasetSource(dataset),
        records,
        lambda: [dataset.annotations.uns_of(at) for at in range(len(records))],
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

    def extent(self) -> MatrixSize:
        """Its nonzeros."""
        return MatrixSize("a dataset", self._dataset.nnz)

    def sample_values(self, matrix: str | None = None) -> NDArray[Any]:
        """Its first values."""
        if matrix not in {None, *self.matrices()}:
            msg = f"{self.uri}: a dataset has no matrix {matrix!r}"
            raise MissingMatrix(msg)
        rows = RowRange(0, min(PEEK_ROWS, self._dataset.nnz))
        found = [
            batch.column(0).to_numpy() for batch in scan(self._dataset.expression, rows, ["value"])
        ]
        return np.concatenate([np.empty(0, self._dataset.published.value_type), *found])

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
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
        held = self._dataset.annotations
        return LazyMapping(
            held.layers,
            lambda name: StoredMatrix(
                held.table(LAYERS), held.layers[name], held.offsets(LAYERS), self.n_genes
            ),
        )

    def raw(self) -> Raw | None:
        """Its raw, if it has one."""
        held, record = self._dataset.annotations, self._dataset.annotations.beside.raw
        if held.raw is None or record is None:
            return None
        genes = self._table(RAW_GENES, record.columns)
        matrix = StoredMatrix(held.table(RAW), record.matrix, held.offsets(RAW), record.n_genes)
        return Raw(matrix, genes, held.raw.varm, record.measured)

    def slots(self) -> Slots:
        """Its obsm, varm, obsp, varp and uns."""
        held = self._dataset.annotations
        aligned = {slot: held.slot(slot) for slot in ("obsm", "varm", "obsp", "varp")}
        return Slots(**aligned, uns=DeferredMapping(lambda: held.uns))

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
        return from_lance(read_table(self._dataset.table(name), names), described)
