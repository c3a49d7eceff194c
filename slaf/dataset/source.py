"""A published dataset as a source: the first of several inputs, or what another is held against."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from slaf.annotations.columns import from_lance
from slaf.errors import MissingMatrix
from slaf.format.schema import CELLS, GENES, RAW_GENES
from slaf.runtime.lazy import DeferredMapping, LazyMapping
from slaf.sources.base import MatrixSize, Raw, Slots
from slaf.sources.concat.members import ExistingDataset
from slaf.tables.read import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.annotations.columns import ColumnSet
    from slaf.dataset.dataset import Dataset
    from slaf.sources.base import Matrix
    from slaf.sparse.batch import Batch
    from slaf.sparse.ranges import RowRange

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
        return self._dataset.matrix().sample_values()

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: exact."""
        return self._dataset.matrix().indptr_estimate(step)

    def cells(self) -> pa.Table:
        """Its cells with the columns that their inputs had."""
        return self._table(CELLS)

    def genes(self) -> pa.Table:
        """Its genes with the columns that their inputs had."""
        return self._table(GENES)

    def layers(self) -> Mapping[str, Matrix]:
        """Its layers."""
        return LazyMapping(self._dataset.layers, self._dataset.matrix)

    def raw(self) -> Raw | None:
        """Its raw, if it has one."""
        raw, record = self._dataset.raw, self._dataset.annotations.beside.raw
        if raw is None or record is None:
            return None
        genes = self._table(RAW_GENES, record.columns)
        return Raw(raw.matrix, genes, raw.varm, record.measured)

    def slots(self) -> Slots:
        """Its obsm, varm, obsp, varp and uns."""
        held = self._dataset.annotations
        aligned = {slot: held.slot(slot) for slot in ("obsm", "varm", "obsp", "varp")}
        return Slots(**aligned, uns=DeferredMapping(lambda: held.uns))

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        return self._dataset.matrix().batches(rows)

    def _table(self, name: str, described: ColumnSet | None = None) -> pa.Table:
        described = described or self._dataset.published.columns[name]
        names = [column.name for column in described.columns]
        return from_lance(read_table(self._dataset.table(name), names), described)
