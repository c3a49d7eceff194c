"""A published dataset as a Source: an input, or one side of a comparison."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from slaf.annotations.columns import find_names, from_lance
from slaf.dataset.matrix import SelectedStored, StoredMatrix
from slaf.dataset.stored import StoredDataset
from slaf.errors import MissingMatrix
from slaf.format.config import CONFIG, load_published
from slaf.format.schema import CELLS, GENES, RAW, RAW_GENES
from slaf.options import ALIGNED_SLOTS, RAW_VARM
from slaf.runtime.forks import check_not_forked
from slaf.runtime.lazy import DeferredMapping
from slaf.sources import register
from slaf.sources.base import Source, SourceFormat, SourceInfo
from slaf.sources.contents import Coverage, Raw, Slots, measured_by
from slaf.sources.identity import file_identity
from slaf.sources.slots import dropped_with_raw, other_layers
from slaf.sparse.ranges import RowRange
from slaf.storage.location import Location
from slaf.storage.paths import is_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa
    import scipy.sparse as sp
    from numpy.typing import NDArray

    from slaf.annotations.columns import ColumnSet
    from slaf.options import ReadOptions
    from slaf.sources.concat.members import ExistingDataset
    from slaf.sources.contents import Measured
    from slaf.sources.matrix import Matrix

__all__ = ["FORMAT", "DatasetInput", "DatasetSource", "dataset_as_input"]

# Ids that Lance looks up; of more, all ids are read.
_MOST_LOOKUPS = 100


def dataset_as_input(dataset: StoredDataset) -> ExistingDataset:
    """A dataset and its inputs, for an append."""
    from slaf.sources.concat.members import ExistingDataset

    records, annotated = dataset.sources, dataset.published.annotated
    computed = () if annotated is None else annotated.computed
    if dataset.annotations.record.selection is None:
        # The release without a selection of slots converted none, and recorded no slots.
        records = tuple(structs.replace(record, slots=record.slots or ()) for record in records)
    return ExistingDataset(
        DatasetSource(dataset),
        records,
        lambda: [dataset.annotations.uns_of(at) for at in range(len(records))],
        frozenset(_not_of_inputs(dataset)),
        frozenset(name for one in computed for name in one.names),
    )


def _not_of_inputs(dataset: StoredDataset) -> Iterator[str]:
    """The names of what is not from the inputs that the dataset has: "obs:NAME", "varm:KEY", …."""
    yield from dataset.published.annotated_names
    if dataset.published.removed:
        yield from (f"varm:{key}" for key in dataset.annotations.slot("varm"))
        raw = dataset.stored_raw
        yield from () if raw is None else (f"{RAW_VARM}:{key}" for key in raw.varm)


class DatasetSource(Source):
    """A published dataset as a source.

    Parameters
    ----------
    dataset
        The dataset, at the versions at which it was opened.
    """

    def __init__(self, dataset: StoredDataset) -> None:
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
        raw, record = self._dataset.stored_raw, self._dataset.annotations.record.raw
        if raw is None or record is None:
            return None
        return Raw(
            raw.matrix, self._table(RAW_GENES, record.columns), raw.varm, record.genes_present
        )

    def measured(self, name: str | None = None) -> Sequence[Measured]:
        """The genes that each input of the dataset has measured."""
        if name in {None, "X", self.info.matrix}:
            return measured_by(self._dataset.sources)
        return measured_by(self._dataset.sources, name, self.raw() if name == RAW else None)

    def open_coverage(self) -> Coverage | None:
        """The coverage of the dataset; None without one."""
        record = self._dataset.annotations.record.coverage
        if record is None:
            return None
        contigs = tuple((contig.name, contig.length) for contig in record.contigs)
        return Coverage(contigs, self._dataset.coverage_columns())

    def slots(self) -> Slots:
        """obsm, varm, obsp, varp and uns of the dataset."""
        annotations = self._dataset.annotations
        aligned = {slot: annotations.slot(slot) for slot in ALIGNED_SLOTS}
        return Slots(**aligned, uns=DeferredMapping(lambda: annotations.uns))

    def _table(self, name: str, columns: ColumnSet | None = None) -> pa.Table:
        columns = columns or self._dataset.published.columns[name]
        names = [column.name for column in columns.columns]
        return from_lance(self._dataset.annotations.read_columns(name, names), columns)


class DatasetViewSource(DatasetSource):
    """A published dataset as the source of views, which reads what they ask for, and no more."""

    def select(
        self,
        name: str | None,
        cells: NDArray[np.int64] | None = None,
        genes: NDArray[np.int64] | None = None,
        reading: ReadOptions | None = None,
    ) -> Matrix:
        """Some cells and genes of a matrix."""
        matrix = self.matrix(name)
        if not isinstance(matrix, StoredMatrix) or (cells is None and genes is None):
            return matrix
        return SelectedStored(matrix, cells, genes, reading)

    def read(
        self,
        name: str | None,
        cells: NDArray[np.int64] | None = None,
        genes: NDArray[np.int64] | None = None,
    ) -> sp.csr_matrix:
        """Some cells and genes of a matrix, in memory, in the type in which it is read."""
        matrix = self.matrix(name)
        if not isinstance(matrix, StoredMatrix):
            return super().read(name, cells, genes)
        return matrix.read(RowRange(0, matrix.shape[0]) if cells is None else cells, genes)

    def columns(self, axis: str) -> ColumnSet:
        """The columns of cells or genes, as config.json has them."""
        return self._dataset.published.columns[axis]

    def schema(self, axis: str) -> pa.Schema:
        """The types of the columns of a table."""
        return self._dataset.table(axis).schema

    def read_columns(
        self, axis: str, names: Sequence[str], rows: NDArray[np.int64] | None = None
    ) -> pa.Table:
        """Some columns of some cells or genes."""
        from slaf.tables.read import take_rows

        if rows is not None and len(rows):
            return take_rows(self._dataset.table(axis), rows, names)
        # Lance would return no categories with no rows.
        table = self._dataset.annotations.read_columns(axis, names)
        return table if rows is None else table.slice(0, 0)

    def find(self, axis: str, names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where some ids are; Lance uses the index of ids, if there is one, for a few."""
        from slaf.tables.read import read_where

        if len(names) > _MOST_LOOKUPS:
            return super().find(axis, names)
        column = self.columns(axis).columns[0].name
        quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
        ids = f"{axis.removesuffix('s')}_integer_id"
        table = self._dataset.table(axis)
        found = read_where(table, [column, ids], f"{column} IN ({quoted})")
        which, at = find_names(names, found.column(0))
        positions = found.column(1).to_numpy().astype(np.int64)[at]
        order = np.argsort(positions)
        return which[order], positions[order]


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
        check_not_forked()
        location = Location.of(str(path), options.storage_options)
        super().__init__(StoredDataset(location, load_published(location)))
        chosen, stored = options.matrix, self._dataset
        names = [
            "X",
            *(["raw"] if stored.stored_raw is not None else []),
            *self.info.layers.values(),
        ]
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
        raw = self._dataset.stored_raw
        if name == RAW and raw is not None:
            return raw.matrix
        return self._dataset.matrix(None if name == "X" else name.removeprefix("layer:"))

    def _of_inputs(self) -> tuple[str, ...]:
        """Records of each of several inputs, by name, which one input does not have."""
        if len(self._dataset.sources) < 2:  # noqa: PLR2004 - several
            return ()
        names = ["source_file of the cells", "the uns of each input"]
        if len({source.genes_present for source in self._dataset.sources}) > 1:
            names.append("the genes that each input has measured")
        return tuple(names)


FORMAT = SourceFormat(
    name="slaf",
    description="SLAF dataset (.slaf)",
    recognises=is_dataset,
    open=DatasetInput,
    looks_for="a folder with the config.json of a dataset",
)
register(FORMAT)
