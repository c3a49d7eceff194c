"""Layers, raw and annotations of a dataset, read lazily."""

from __future__ import annotations

from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any

from slaf.annotations.arrays import column_to_array, table_to_matrix
from slaf.annotations.dataframes import to_frame
from slaf.errors import DamagedDataset
from slaf.format.config import load
from slaf.format.schema import CELLS, GENES, LAYERS, RAW_GENES, pair_table
from slaf.options import RAW_VARM
from slaf.runtime.imports import import_at_once
from slaf.runtime.lazy import LazyMapping

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa

    from slaf.annotations.arrays import ElementSpec
    from slaf.dataset.matrix import StoredMatrix
    from slaf.format.config import DatasetConfig
    from slaf.format.records import AnnotationsRecord, FileRecord, MatrixRecord, RawRecord
    from slaf.storage.location import Location
    from slaf.tables.read import LanceTable

__all__ = ["Annotations", "StoredRaw"]

_AXES = {"obsm": CELLS, "varm": GENES}


class Annotations:
    """The layers, raw and slots of a published dataset, and its tables.

    Parameters
    ----------
    location
        The location of the dataset.
    published
        The record of the dataset in config.json.
    """

    def __init__(self, location: Location, published: DatasetConfig) -> None:
        self._location = location
        self._published = published

    @property
    def record(self) -> AnnotationsRecord:
        """The record of layers, raw and slots in config.json."""
        return self._published.annotations

    @property
    def n_cells(self) -> int:
        """The number of cells."""
        return self._published.n_cells

    @property
    def layers(self) -> Mapping[str, MatrixRecord]:
        """The records of the layers, by the names that the user gave them."""
        return {layer.original: layer for layer in self.record.matrices().get(LAYERS, ())}

    def table(self, name: str) -> LanceTable:
        """A table of the dataset, as a Lance dataset.

        Raises
        ------
        DamagedDataset
            If it does not exist, or is that of another dataset that was written here since.
        """
        import_at_once("slaf.tables.read")
        from slaf.tables.read import open_table

        published = self._published
        table = open_table(self._location, published.tables[name], published.versions[name])
        if not self._has_recorded_files(name, table) and self._was_replaced():
            msg = (
                f"{self._location}: {published.tables[name]} is that of another dataset, which "
                "was written here since this one was opened; open it anew"
            )
            raise DamagedDataset(msg)
        return table

    def _has_recorded_files(self, name: str, table: LanceTable) -> bool:
        """Whether a table has a file of the record: one that was made again has none."""
        from slaf.tables.read import data_files

        directory = self._published.tables[name]
        recorded = {stored.file for stored in self._published.checksums.of(directory)}
        files = [f"{directory}/{file}" for file, _ in data_files(table)]
        return not (recorded and files) or not recorded.isdisjoint(files)

    def _was_replaced(self) -> bool:
        """Whether config.json is not the one that was opened."""
        now = load(self._location)
        return now is None or now.published != self._published

    def read_columns(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of a table: all columns, or these.

        Raises
        ------
        DamagedDataset
            If they cannot be read.
        """
        from slaf.tables.read import read_table

        return read_table(self.table(name), columns)

    def slot(self, name: str) -> Mapping[str, Any]:
        """The elements of obsm, varm, obsp or varp."""
        specs = {spec.key: spec for spec in self.record.specs.get(name, ())}
        return LazyMapping(specs, lambda key: self._element(name, specs[key]))

    @property
    def uns(self) -> dict[str, Any]:
        """The uns of the dataset."""
        return self._read_uns(self.record.uns)

    def uns_of(self, source: int) -> dict[str, Any]:
        """The uns of one input, by its index in the sources."""
        records = self.record.uns_per_source
        if records:
            return self._read_uns(records[source])
        return self.uns if len(self._published.sources) == 1 else {}

    @cached_property
    def elements(self) -> Mapping[str, Any]:
        """The elements that are in no table, by slot."""
        record = self.record.elements
        return {} if record is None else self.read_file(record)

    def read_file(self, record: FileRecord) -> dict[str, Any]:
        """The elements in a file.

        Raises
        ------
        DamagedDataset
            If the file does not exist, or cannot be read.
        """
        from slaf.annotations.uns import read_elements

        label = self._location.uri(record.file)
        content = self._location.read(record.file)
        if content is None:
            msg = f"{label}: there is no such file; restore it from a copy, or convert again"
            raise DamagedDataset(msg)
        try:
            return read_elements(BytesIO(content), list(record.notes))
        except (OSError, LookupError, RuntimeError, TypeError, ValueError) as error:
            msg = f"{label}: cannot be read ({error})"
            raise DamagedDataset(msg) from error

    def element(self, slot: str, table: str, spec: ElementSpec) -> Any:
        """An element of obsm or varm: a column of a table, or in the file of elements."""
        if spec.name is None:
            return self.elements[slot][spec.key]
        return column_to_array(self.read_columns(table, [spec.name]).column(0), spec)

    def _element(self, slot: str, spec: ElementSpec) -> Any:
        if slot in _AXES or spec.name is None:
            return self.element(slot, _AXES.get(slot, ""), spec)
        table = pair_table(slot)
        rows = self.read_columns(table.name, [*table.ids, spec.name])
        return table_to_matrix(rows, table.ids, spec)

    def _read_uns(self, record: FileRecord | None) -> dict[str, Any]:
        uns: dict[str, Any] = {} if record is None else self.read_file(record)["uns"]
        return uns


class StoredRaw:
    """The matrix that AnnData calls raw, with its own genes.

    Parameters
    ----------
    annotations
        The annotations of the dataset.
    record
        The record of raw in config.json.
    n_cells
        The number of cells.
    open_matrix
        Opens the matrix.
    """

    def __init__(
        self,
        annotations: Annotations,
        record: RawRecord,
        n_cells: int,
        open_matrix: Callable[[], StoredMatrix],
    ) -> None:
        self._annotations = annotations
        self._record = record
        self._open_matrix = open_matrix
        self.shape = (n_cells, record.n_genes)

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return self._record.n_genes

    @property
    def nnz(self) -> int:
        """Number of nonzeros."""
        return self._record.rows

    @property
    def matrix(self) -> StoredMatrix:
        """The matrix as it is stored."""
        return self._open_matrix()

    @property
    def genes_present(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """The genes in the raw of each of several inputs, as ranges; empty for one input."""
        return self._record.genes_present

    @property
    def var(self) -> pd.DataFrame:
        """The table of its genes."""
        columns = self._record.columns
        names = [column.name for column in columns.columns]
        return to_frame(self._annotations.read_columns(RAW_GENES, names), columns)

    @property
    def varm(self) -> Mapping[str, Any]:
        """Arrays and tables with a row for each of its genes, by name."""
        specs = {spec.key: spec for spec in self._record.varm}
        element = self._annotations.element
        return LazyMapping(specs, lambda key: element(RAW_VARM, RAW_GENES, specs[key]))
