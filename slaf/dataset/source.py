"""A published dataset as a Source: the first input of an append, or one side of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from slaf.annotations.columns import from_lance
from slaf.errors import MissingMatrix
from slaf.format.schema import CELLS, GENES, RAW, RAW_GENES
from slaf.options import ALIGNED_SLOTS
from slaf.runtime.lazy import DeferredMapping
from slaf.sources.base import Raw, Slots, Source, SourceInfo
from slaf.sources.concat.members import ExistingDataset

if TYPE_CHECKING:
    import pyarrow as pa

    from slaf.annotations.columns import ColumnSet
    from slaf.dataset.dataset import Dataset
    from slaf.sources.base import Matrix

__all__ = ["DatasetSource", "dataset_as_input"]


def dataset_as_input(dataset: Dataset) -> ExistingDataset:
    """A dataset and its inputs, for an append."""
    records = dataset.sources
    if dataset.annotations.record.selection is None:
        # The release without a selection of slots converted none, and recorded no slots.
        records = tuple(replace(record, slots=()) for record in records)
    return ExistingDataset(
        DatasetSource(dataset),
        records,
        lambda: [dataset.annotations.uns_of(at) for at in range(len(records))],
    )


class DatasetSource(Source):
    """A published dataset as a source.

    Parameters
    ----------
    dataset
        The dataset, at the versions at which it was opened.
    """

    def __init__(self, dataset: Dataset) -> None:
        super().__init__()
        self._dataset = dataset
        self.info = SourceInfo.of(
            dataset.matrix(),
            " and ".join(dict.fromkeys(source.matrix for source in dataset.sources)),
            uri=str(dataset.location),
            format="slaf",
            identity={"versions": dict(dataset.published.versions)},
            layers={name: f"layer:{name}" for name in dataset.annotations.layers},
        )

    def open_matrix(self, name: str) -> Matrix:
        """X, raw or a layer."""
        if name in {"X", self.info.matrix}:
            return self._dataset.matrix()
        if name == RAW and (raw := self.raw()) is not None:
            return raw.matrix
        if name not in self.info.layers.values():
            msg = f"{self.info.uri}: a dataset has no matrix {name!r}"
            raise MissingMatrix(msg)
        return self._dataset.matrix(name.removeprefix("layer:"))

    def read_cells(self) -> pa.Table:
        """The cells, with the columns of the inputs."""
        return self._table(CELLS)

    def read_genes(self) -> pa.Table:
        """The genes, with the columns of the inputs."""
        return self._table(GENES)

    def open_raw(self) -> Raw | None:
        """The raw of the dataset; None without one."""
        raw, record = self._dataset.raw, self._dataset.annotations.record.raw
        if raw is None or record is None:
            return None
        return Raw(
            raw.matrix, self._table(RAW_GENES, record.columns), raw.varm, record.genes_present
        )

    def slots(self) -> Slots:
        """obsm, varm, obsp, varp and uns of the dataset."""
        annotations = self._dataset.annotations
        aligned = {slot: annotations.slot(slot) for slot in ALIGNED_SLOTS}
        return Slots(**aligned, uns=DeferredMapping(lambda: annotations.uns))

    def _table(self, name: str, columns: ColumnSet | None = None) -> pa.Table:
        columns = columns or self._dataset.published.columns[name]
        names = [column.name for column in columns.columns]
        return from_lance(self._dataset.annotations.read_columns(name, names), columns)
