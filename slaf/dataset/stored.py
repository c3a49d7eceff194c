"""StoredDataset: the tables and matrices of a published dataset, as they are stored."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.dataset.annotations import Annotations, StoredRaw
from slaf.dataset.query import ALIASES
from slaf.dataset.query_errors import nearest
from slaf.errors import SelectionError
from slaf.format.schema import (
    BY_GENE,
    CELLS,
    COVERAGE,
    EXPRESSION,
    GENES,
    LAYERS,
    RAW,
    TABLES,
    VALUE,
)
from slaf.runtime.imports import import_at_once

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from slaf.dataset.matrix import StoredMatrix, StoredRows
    from slaf.format.config import DatasetConfig, SourceRecord
    from slaf.format.records import MatrixRecord
    from slaf.storage.location import Location
    from slaf.tables.read import LanceTable

__all__ = ["StoredDataset"]


class StoredDataset:
    """The tables and matrices of a published dataset; the base class of `Dataset`.

    Parameters
    ----------
    location
        Its location.
    published
        Its record in config.json.
    """

    def __init__(self, location: Location, published: DatasetConfig) -> None:
        self.location = location
        self.published = published
        self._offsets: dict[str, NDArray[np.int64]] = {}
        self._rows: dict[str, StoredRows] = {}

    def close(self) -> None:
        """Forget what was read; the dataset can still be used."""
        self._offsets.clear()
        self._rows.clear()
        self.__dict__.pop("expression", None)

    @property
    def n_cells(self) -> int:
        """Number of cells, as `n_obs`."""
        return self.published.n_cells

    @property
    def n_genes(self) -> int:
        """Number of genes, as `n_vars`."""
        return self.published.n_genes

    @property
    def nnz(self) -> int:
        """Number of nonzeros, NaN included."""
        return self.published.expression_count

    @property
    def sources(self) -> tuple[SourceRecord, ...]:
        """The inputs, in the order of their cells."""
        return self.published.sources

    def genes_present(self, source: int | str) -> NDArray[np.bool_]:
        """The genes of the dataset that an input has; a zero of another gene is no measurement.

        Parameters
        ----------
        source
            Its index in `sources`, or its name in the column `source_file`, or its `uri`.

        Returns
        -------
        numpy.ndarray
            For each gene, in order, whether the input has it.

        Raises
        ------
        SelectionError
            If there is no such input, or several inputs of this name have different genes.
        """
        from slaf.sources.names import unique_names

        names = unique_names([record.uri for record in self.sources])
        ranges = {
            record.genes_present
            for at, record in enumerate(self.sources)
            if source in (names[at], record.uri) or (source == at and isinstance(source, int))
        }
        if len(ranges) != 1:
            what = "several inputs of different genes are" if ranges else "no input is"
            msg = (
                f"{self.location}: {what} called {source!r}; there are, from 0 on: "
                f"{', '.join(names)}"
            )
            raise SelectionError(msg)
        mask = np.zeros(self.n_genes, np.bool_)
        for start, stop in ranges.pop():
            mask[start:stop] = True
        return mask

    @cached_property
    def expression(self) -> LanceTable:
        """The nonzeros as a Lance dataset: cell and gene ids and the value, in cell order."""
        return self.table(EXPRESSION)

    @property
    def stored_raw(self) -> StoredRaw | None:
        """Raw as it is stored; None without one."""
        record = self.annotations.record.raw
        if record is None:
            return None
        return StoredRaw(
            self.annotations,
            record,
            self.n_cells,
            lambda: self._stored(RAW, record.matrix, record.n_genes),
        )

    def uns_of(self, source: int) -> dict[str, Any]:
        """The uns of one input.

        Parameters
        ----------
        source
            Its index in `sources`.
        """
        return self.annotations.uns_of(source)

    def table(self, name: str) -> LanceTable:
        """A table of the dataset, as a Lance dataset.

        Parameters
        ----------
        name
            The name of the table; `obs` and `var` are other names of `cells` and `genes`.

        Raises
        ------
        SelectionError
            If there is no such table.
        """
        name = ALIASES.get(name, name)
        if name not in self.published.tables:
            there = nearest(name, [*self.published.tables, *ALIASES])
            msg = f"{self.location}: there is no table {name!r}; {there}"
            raise SelectionError(msg)
        return self.annotations.table(name)

    def lazy(self, name: str = EXPRESSION) -> pl.LazyFrame:
        """A table as a Polars LazyFrame.

        Whole numbers are signed and wide enough for their sums. NaN in cells and genes is null.

        Parameters
        ----------
        name
            As for `table`.

        Raises
        ------
        SelectionError
            If there is no such table.
        """
        from slaf.tables.polars import lazy_frame

        nan_is_missing = ALIASES.get(name, name) in {CELLS, GENES}
        return lazy_frame(self.table(name), nan_is_missing=nan_is_missing)

    def matrix(self, layer: str | None = None) -> StoredMatrix:
        """The matrix, a layer or "raw", as it is stored.

        Raises
        ------
        SelectionError
            If there is no such layer.
        """
        if layer is None:
            return self._values(EXPRESSION, self.n_genes)
        raw = self.stored_raw if layer == RAW else None
        if raw is not None:
            return raw.matrix
        records = self.annotations.layers
        if layer not in records:
            names = ", ".join(map(repr, records)) or "none at all"
            msg = f"there is no layer {layer!r}; there are {names}"
            raise SelectionError(msg)
        return self._stored(LAYERS, records[layer], self.n_genes)

    def coverage_columns(self) -> dict[str, StoredMatrix]:
        """The strand, start, length and depth of the runs of coverage, as they are stored."""
        record = self.annotations.record.coverage
        if record is None:
            return {}
        return {
            column.original: self._stored(COVERAGE, column, record.n_genes)
            for column in record.matrices
        }

    @cached_property
    def annotations(self) -> Annotations:
        """The layers, raw and slots, and their records in config.json."""
        return Annotations(self.location, self.published)

    def offsets(self, table: str) -> NDArray[np.int64]:
        """The first row of each cell in a table, and the number of rows.

        Parameters
        ----------
        table
            `expression`, `layers` or `raw`; or `expression_by_gene`, for the rows of each gene.

        Raises
        ------
        DamagedDataset
            If they cannot be read.
        KeyError
            If the dataset has no such table, or its rows are in no such order.
        """
        spec = TABLES[table]
        if table not in self.published.tables or not spec.is_partitioned:
            raise KeyError(table)
        if table not in self._offsets:
            starts = (
                self.annotations.read_columns(spec.axis.name, [spec.start_index])
                .column(0)
                .to_numpy()
            )
            self._offsets[table] = np.append(starts, self.published.record(table).rows)
        return self._offsets[table]

    def rows(self, table: str) -> StoredRows:
        """The rows of a table in cell order, or in gene order.

        Parameters
        ----------
        table
            As for `offsets`.

        Raises
        ------
        DamagedDataset
            If its offsets cannot be read.
        KeyError
            If the dataset has no such table, or its rows are in no such order.
        """
        import_at_once("slaf.tables.rows")
        from slaf.dataset.matrix import StoredRows
        from slaf.tables.rows import TableRows

        if table not in self._rows:
            opened = self.expression if table == EXPRESSION else self.table(table)
            reader = TableRows(self.location, self.published.tables[table], opened)
            label = f"{self.location}: {table}"
            self._rows[table] = StoredRows(label, reader, TABLES[table].axis, self.offsets(table))
        return self._rows[table]

    def _values(self, table: str, width: int) -> StoredMatrix:
        """The matrix in cell order or gene order, by its table."""
        from slaf.dataset.matrix import StoredMatrix

        dtype, value_type = np.dtype(self.published.dtype), np.dtype(self.published.value_type)
        by_gene = None
        if table == EXPRESSION and BY_GENE in self.published.tables:
            by_gene = self._values(BY_GENE, self.n_cells)
        return StoredMatrix(
            self.rows(table), VALUE, width, dtype, dtype, value_type, self.nnz, by_gene
        )

    def _stored(self, table: str, record: MatrixRecord, width: int) -> StoredMatrix:
        """A layer, or raw."""
        from slaf.dataset.matrix import StoredMatrix

        return StoredMatrix(
            self.rows(table),
            record.name,
            width,
            dtype=np.dtype(record.source_dtype),
            read_dtype=np.dtype(record.dtype),
            value_type=np.dtype(record.value_type),
            nnz=record.nnz,
        )
