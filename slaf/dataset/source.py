"""A published dataset as a Source: an input, or one side of a comparison."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import structs

from slaf.annotations.columns import from_lance
from slaf.dataset.dataset import open_dataset
from slaf.errors import MissingMatrix
from slaf.format.config import CONFIG
from slaf.format.schema import CELLS, GENES, RAW, RAW_GENES
from slaf.options import ALIGNED_SLOTS
from slaf.runtime.lazy import DeferredMapping
from slaf.sources import register
from slaf.sources.base import Raw, Slots, Source, SourceFormat, SourceInfo
from slaf.sources.concat.members import ExistingDataset
from slaf.sources.identity import file_identity
from slaf.sources.slots import dropped_with_raw, other_layers
from slaf.sources.unsupported import is_dataset

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from slaf.annotations.columns import ColumnSet
    from slaf.dataset.dataset import Dataset
    from slaf.options import ReadOptions
    from slaf.sources.base import Matrix

__all__ = ["FORMAT", "DatasetInput", "DatasetSource", "dataset_as_input"]


def dataset_as_input(dataset: Dataset) -> ExistingDataset:
    """A dataset and its inputs, for an append."""
    records = dataset.sources
    if dataset.annotations.record.selection is None:
        # The release without a selection of slots converted none, and recorded no slots.
        records = tuple(structs.replace(record, slots=record.slots or ()) for record in records)
    return ExistingDataset(
        DatasetSource(dataset),
        records,
        lambda: [dataset.annotations.uns_of(at) for at in range(len(records))],
        frozenset(dataset.published.annotated_names),
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
            uri=str(dataset.location),
            format="slaf",
            identity={"versions": dict(dataset.published.versions)},
            layers={name: f"layer:{name}" for name in dataset.annotations.layers},
        )

    def open_matrix(self, name: str) -> Matrix:
        """X, raw or a layer."""
        if name == "X":
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


class DatasetInput(DatasetSource):
    """A published dataset as an input: one of its matrices, and all that belongs to it.

    Parameters
    ----------
    path
        The directory of the dataset, local or in a bucket.
    options
        The matrix: X is `expression`; raw has its own genes.

    Raises
    ------
    MissingMatrix
        If it has no such matrix; the error lists its matrices.
    DatasetError
        If there is no published dataset, or it is damaged.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__(open_dataset(str(path), storage_options=options.storage_options))
        chosen, stored = options.matrix, self._dataset
        names = ["X", *(["raw"] if stored.raw is not None else []), *self.info.layers.values()]
        if chosen not in names:
            msg = (
                f"{path}: there is no matrix {chosen!r}; choose one with --matrix: "
                f"{', '.join(names)}"
            )
            raise MissingMatrix(msg)
        self._is_raw = chosen == RAW
        annotations = stored.annotations
        of_genes = [(slot, list(annotations.slot(slot))) for slot in ("varm", "varp")]
        self.info = SourceInfo.of(
            self._matrix(chosen),
            chosen,
            uri=str(path),
            format="slaf",
            identity=file_identity(path / CONFIG),
            matrices=tuple(names),
            layers=other_layers(chosen, names),
            not_converted=(*dropped_with_raw(chosen, names, of_genes), *self._of_inputs()),
        )

    def open_matrix(self, name: str) -> Matrix:
        """X, raw or a layer."""
        if name not in self.info.matrices:
            msg = f"{self.info.uri}: a dataset has no matrix {name!r}"
            raise MissingMatrix(msg)
        return self._matrix(name)

    def read_genes(self) -> pa.Table:
        """The genes of the chosen matrix, with the columns of the inputs."""
        raw = super().open_raw() if self._is_raw else None
        return super().read_genes() if raw is None else raw.genes

    def open_raw(self) -> Raw | None:
        """The raw of the dataset, unless it is the chosen matrix."""
        raw = None if self._is_raw else super().open_raw()
        # To the conversion it is one input, which has all of these genes.
        return None if raw is None else replace(raw, genes_present=())

    def slots(self) -> Slots:
        """The slots of the dataset; for raw, its varm and no varp."""
        slots = super().slots()
        raw = super().open_raw() if self._is_raw else None
        return slots if raw is None else replace(slots, varm=raw.varm, varp={})

    def _matrix(self, name: str) -> Matrix:
        raw = self._dataset.raw
        if name == RAW and raw is not None:
            return raw.matrix
        return self._dataset.matrix(None if name == "X" else name.removeprefix("layer:"))

    def _of_inputs(self) -> tuple[str, ...]:
        """What the dataset records of each of several inputs, in words."""
        several = len(self._dataset.sources) > 1
        return ("source_file of the cells, and the uns of each input",) if several else ()


FORMAT = SourceFormat(
    name="slaf",
    description="SLAF dataset (.slaf)",
    recognises=is_dataset,
    open=DatasetInput,
    looks_for="a folder with the config.json of a dataset",
)
register(FORMAT)
