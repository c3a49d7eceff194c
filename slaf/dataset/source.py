"""A published dataset as a source: the first of several inputs, or what another is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from slaf.annotations.columns import from_lance
from slaf.errors import MissingMatrix
from slaf.format.schema import CELLS, GENES, RAW, RAW_GENES
from slaf.runtime.lazy import DeferredMapping
from slaf.sources.base import Raw, Slots, Source, SourceInfo
from slaf.sources.concat.members import ExistingDataset
from slaf.tables.read import read_table

if TYPE_CHECKING:
    import pyarrow as pa

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


class DatasetSource(Source):
    """The cells that a dataset holds, as a source.

    Parameters
    ----------
    dataset
        Its version is pinned, whatever is written meanwhile.
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
        raw = self.raw() if name == RAW else None
        if raw is not None:
            return raw.matrix
        if name not in self.info.layers.values():
            msg = f"{self.info.uri}: a dataset has no matrix {name!r}"
            raise MissingMatrix(msg)
        return self._dataset.matrix(name.removeprefix("layer:"))

    def read_cells(self) -> pa.Table:
        """Its cells with the columns that their inputs had."""
        return self._table(CELLS)

    def read_genes(self) -> pa.Table:
        """Its genes with the columns that their inputs had."""
        return self._table(GENES)

    def open_raw(self) -> Raw | None:
        """Its raw, if it has one."""
        raw, record = self._dataset.raw, self._dataset.annotations.beside.raw
        if raw is None or record is None:
            return None
        return Raw(raw.matrix, self._table(RAW_GENES, record.columns), raw.varm, record.measured)

    def slots(self) -> Slots:
        """Its obsm, varm, obsp, varp and uns."""
        held = self._dataset.annotations
        aligned = {slot: held.slot(slot) for slot in ("obsm", "varm", "obsp", "varp")}
        return Slots(**aligned, uns=DeferredMapping(lambda: held.uns))

    def _table(self, name: str, described: ColumnSet | None = None) -> pa.Table:
        described = described or self._dataset.published.columns[name]
        names = [column.name for column in described.columns]
        return from_lance(read_table(self._dataset.table(name), names), described)
