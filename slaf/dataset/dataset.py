"""A published dataset, open for reading."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.annotations.dataframes import to_frame
from slaf.dataset.annotations import Annotations, StoredRaw, element_rows
from slaf.dataset.selection import as_filter, resolve_indexer
from slaf.errors import QueryError, SelectionError
from slaf.format.config import DatasetConfig, load_published
from slaf.format.schema import (
    BY_GENE,
    CELLS,
    EXPRESSION,
    GENES,
    LAYERS,
    RAW,
    TABLES,
    VALUE,
)
from slaf.sparse.ranges import as_positions
from slaf.storage.errors import safe_cause, translate_lance_error
from slaf.storage.location import Location

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import anndata
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    import scipy.sparse as sp
    from numpy.typing import NDArray

    from slaf.dataset.matrix import StoredMatrix, StoredRows
    from slaf.dataset.selection import Indexer
    from slaf.format.config import SourceRecord
    from slaf.format.records import MatrixRecord
    from slaf.sparse.ranges import Rows
    from slaf.tables.read import LanceTable

__all__ = ["Dataset", "open_dataset"]


# What Polars would do to tables that nobody sees again.
_CHANGES = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
    r"(ALTER|CREATE|DELETE|DROP|INSERT|MERGE|REPLACE|TRUNCATE|UPDATE)\b",
    re.IGNORECASE | re.DOTALL,
)


class Dataset:
    """A dataset as it was published: cells × genes, and their two tables.

    It reads the version of each table that config.json named when it was opened, and never
    another. What an append, say, replaces is removed: open it anew for what was not read before.
    Use `slaf.open` to make one.

    Parameters
    ----------
    location
        Where it is.
    published
        What config.json says of it.
    """

    def __init__(self, location: Location, published: DatasetConfig) -> None:
        self.location = location
        self.published = published
        self._rows: dict[str, StoredRows] = {}
        self._offsets: dict[str, NDArray[np.int64]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Dataset, (self.location, self.published)

    def __repr__(self) -> str:
        return (
            f"Dataset({str(self.location)!r}: {self.n_cells:,} cells × {self.n_genes:,} genes, "
            f"{self.nnz:,} nonzeros)"
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return (self.n_cells, self.n_genes)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.published.n_cells

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return self.published.n_genes

    @property
    def nnz(self) -> int:
        """Number of nonzeros, NaN among them."""
        return self.published.expression_count

    @property
    def sources(self) -> tuple[SourceRecord, ...]:
        """The inputs, in the order of their cells."""
        return self.published.sources

    def measured(self, source: int | str) -> NDArray[np.bool_]:
        """Which genes of the dataset an input has: where it has not, a zero is no measurement.

        Parameters
        ----------
        source
            Its position in `sources`, or its name: as in the column `source_file`, or its `uri`.

        Returns
        -------
        numpy.ndarray
            For each gene, in order, whether it is one of the input's.

        Raises
        ------
        SelectionError
            If there is no such input, or several are called so that have different genes.
        """
        from slaf.sources.names import unique_names

        names = unique_names([record.uri for record in self.sources])
        found = {
            record.measured
            for at, record in enumerate(self.sources)
            if source in (names[at], record.uri) or (source == at and isinstance(source, int))
        }
        if len(found) != 1:
            what = "several inputs of different genes are" if found else "no input is"
            msg = (
                f"{self.location}: {what} called {source!r}; there are, from 0 on: "
                f"{', '.join(names)}"
            )
            raise SelectionError(msg)
        mask = np.zeros(self.n_genes, np.bool_)
        for start, stop in found.pop():
            mask[start:stop] = True
        return mask

    @cached_property
    def expression(self) -> LanceTable:
        """The nonzeros as a Lance dataset: cell and gene ids and the value, in order."""
        return self.table(EXPRESSION)

    @cached_property
    def cells(self) -> pa.Table:
        """The cells as they are stored, in order: ids, offsets, obs columns."""
        return self._columns(CELLS)

    @cached_property
    def genes(self) -> pa.Table:
        """The genes as they are stored, in order: ids, var columns."""
        return self._columns(GENES)

    @property
    def obs(self) -> pd.DataFrame:
        """The user's table of the cells, with the types and names that it had."""
        return self._frame(CELLS)

    @property
    def var(self) -> pd.DataFrame:
        """The user's table of the genes, with the types and names that it had."""
        return self._frame(GENES)

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the further matrices, which `read` takes as `layer`."""
        return tuple(self.annotations.layers)

    @property
    def raw(self) -> StoredRaw | None:
        """What AnnData calls raw, if the input had one that was not the matrix itself."""
        record = self.annotations.beside.raw
        if record is None:
            return None
        return StoredRaw(
            self.annotations, record, lambda: self._stored(RAW, record.matrix, record.n_genes)
        )

    @property
    def obsm(self) -> Mapping[str, Any]:
        """Arrays and tables of a row for each cell, by name; each is read when asked for."""
        return self.annotations.slot("obsm")

    @property
    def varm(self) -> Mapping[str, Any]:
        """Arrays and tables of a row for each gene, by name; each is read when asked for."""
        return self.annotations.slot("varm")

    @property
    def obsp(self) -> Mapping[str, Any]:
        """Matrices of cells × cells, by name; each is read when asked for."""
        return self.annotations.slot("obsp")

    @property
    def varp(self) -> Mapping[str, Any]:
        """Matrices of genes × genes, by name; each is read when asked for."""
        return self.annotations.slot("varp")

    @property
    def uns(self) -> dict[str, Any]:
        """Whatever else the input held, as it was; of several inputs brought together."""
        return self.annotations.uns

    def uns_of(self, source: int) -> dict[str, Any]:
        """The uns of one input, as it was.

        Parameters
        ----------
        source
            Its place in `sources`.
        """
        return self.annotations.uns_of(source)

    def table(self, name: str) -> LanceTable:
        """One of the tables that config.json lists, as a Lance dataset."""
        from slaf.tables.read import open_table

        return open_table(self.location, self.published.tables[name], self.published.versions[name])

    def lazy(self, name: str = EXPRESSION) -> pl.LazyFrame:
        """A table as a Polars LazyFrame: `expression`, unless another is named."""
        from slaf.tables.polars import lazy_frame

        return lazy_frame(self.table(name))

    def sql(self, query: str) -> pl.DataFrame:
        """The result of a query over the tables `expression`, `cells` and `genes`.

        Numbers are taken as 64-bit integers and floats, whatever the tables store, so that
        sums do not overflow.

        Parameters
        ----------
        query
            SQL as Polars understands it.

        Raises
        ------
        QueryError
            If it is not SQL, names what is not there, or would change something.
        """
        import polars as pl

        if changes := _CHANGES.match(query):
            msg = f"{changes[1].upper()} is no query: nothing is changed by SQL; SELECT something"
            raise QueryError(msg)

        from slaf.tables.polars import as_64bit

        tables = {name: as_64bit(self.lazy(name)) for name in self.published.tables}
        try:
            return pl.SQLContext(tables).execute(query).collect(engine="streaming")
        except pl.exceptions.PolarsError as error:
            columns = {name: ", ".join(self.table(name).schema.names) for name in tables}
            msg = f"the query cannot be run: {error}; the tables are " + "; ".join(
                f"{name} ({listed})" for name, listed in columns.items()
            )
            raise QueryError(msg) from error

    def read(
        self, cells: Indexer = None, genes: Indexer = None, layer: str | None = None
    ) -> sp.csr_matrix:
        """The matrix, or a part of it.

        Parameters
        ----------
        cells, genes
            None for all; a position or several; a slice; a mask; a list of ids; or a filter
            on the table, like ``"cell_type = 'B cell' AND pct_mt < 0.1"``.
        layer
            The layer to read instead of the matrix.

        Returns
        -------
        scipy.sparse.csr_matrix
            Cells × genes in the order asked for, in the type that the source had.

        Raises
        ------
        SelectionError
            If something asked for is not there.
        """
        rows = self.selected(CELLS, cells)
        columns = None if genes is None else self.selected(GENES, genes)
        return (
            self._read(rows, columns) if layer is None else self.matrix(layer).read(rows, columns)
        )

    def to_anndata(
        self,
        cells: Indexer = None,
        genes: Indexer = None,
        layers: Sequence[str] | None = None,
    ) -> anndata.AnnData:
        """The dataset, or a part of it, as the AnnData that it was made of.

        X, the layers and raw are CSR; all else is as it was. Raw keeps all of its genes.

        Parameters
        ----------
        cells, genes
            As for `read`.
        layers
            The layers to read; None for all.

        Raises
        ------
        SelectionError
            If something asked for is not there.
        """
        import anndata

        rows = self.selected(CELLS, cells)
        columns = None if genes is None else self.positions(GENES, genes)
        chosen = None if cells is None else as_positions(rows)
        raw = self.raw
        return anndata.AnnData(
            self._read(rows, columns),
            obs=self._frame(CELLS, chosen),
            var=self._frame(GENES, columns),
            layers={
                name: self.matrix(name).read(rows, columns)
                for name in (self.layers if layers is None else layers)
            },
            obsm=_aligned(self.obsm, chosen),
            varm=_aligned(self.varm, columns),
            obsp=_paired(self.obsp, chosen),
            varp=_paired(self.varp, columns),
            uns=self.uns,
            raw=None
            if raw is None
            else {"X": raw.matrix.read(rows), "var": raw.var, "varm": dict(raw.varm)},
        )

    def matrix(self, layer: str | None = None) -> StoredMatrix:
        """The matrix as it is stored, or a layer.

        Raises
        ------
        SelectionError
            If there is no such layer.
        """
        if layer is None:
            return self._values(EXPRESSION, self.n_genes)
        records = self.annotations.layers
        if layer not in records:
            have = ", ".join(records) or "none at all"
            msg = f"there is no layer {layer!r}; there are {have}"
            raise SelectionError(msg)
        return self._stored(LAYERS, records[layer], self.n_genes)

    @cached_property
    def annotations(self) -> Annotations:
        """The layers, raw and slots, with what config.json says of them."""
        return Annotations(self.location, self.published)

    def positions(self, name: str, selector: Indexer) -> NDArray[np.int64]:
        """Where in their table the cells or genes asked for are, in the order asked for.

        Parameters
        ----------
        name
            "cells" or "genes".
        selector
            As for `read`.

        Raises
        ------
        SelectionError
            If something asked for is not there.
        """
        return as_positions(self.selected(name, selector))

    def selected(self, name: str, selector: Indexer) -> Rows:
        """As `positions`; neighbours as a range."""
        size = self.n_cells if name == CELLS else self.n_genes
        return resolve_indexer(
            selector, size, lambda: self._ids(name), lambda where: self._where(name, where), name
        )

    @property
    def cell_offsets(self) -> NDArray[np.int64]:
        """The first row of each cell in `expression`, and after the last the number of rows."""
        return self.offsets(EXPRESSION)

    def offsets(self, table: str) -> NDArray[np.int64]:
        """Where the rows of each cell begin in a table, and after the last, where they end.

        Parameters
        ----------
        table
            `expression`, `layers` or `raw`; or `expression_by_gene`, for those of each gene.

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
            starts = self._columns(spec.axis.name, [spec.start_index]).column(0).to_numpy()
            self._offsets[table] = np.append(starts, self.published.record(table).rows)
        return self._offsets[table]

    def rows(self, table: str) -> StoredRows:
        """The rows of a table in the order of cells, or of genes.

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
        from slaf.dataset.matrix import StoredRows
        from slaf.tables.rows import TableRows

        if table not in self._rows:
            opened = self.expression if table == EXPRESSION else self.table(table)
            reader = TableRows(self.location, self.published.tables[table], opened)
            place = f"{self.location}: {table}"
            self._rows[table] = StoredRows(place, reader, TABLES[table].axis, self.offsets(table))
        return self._rows[table]

    def _values(self, table: str, width: int) -> StoredMatrix:
        """The matrix in one of its orders."""
        from slaf.dataset.matrix import StoredMatrix

        dtype, value_type = np.dtype(self.published.dtype), np.dtype(self.published.value_type)
        return StoredMatrix(self.rows(table), VALUE, width, dtype, dtype, value_type, self.nnz)

    def _stored(self, table: str, record: MatrixRecord, width: int) -> StoredMatrix:
        """A matrix of `layers` or `raw`."""
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

    def _columns(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        from slaf.tables.read import read_table

        return read_table(self.table(name), columns)

    def _ids(self, name: str) -> list[str]:
        column = self.published.columns[name].columns[0].name
        ids: list[str] = self._columns(name, [column]).column(0).to_pylist()
        return ids

    def _where(self, name: str, condition: str) -> NDArray[np.int64]:
        table = self.table(name)
        column = f"{name.removesuffix('s')}_integer_id"
        try:
            found = table.to_table([column], filter=as_filter(condition)).column(0).to_numpy()
        except (ValueError, OSError) as error:
            names = ", ".join(table.schema.names)
            raise translate_lance_error(
                table.uri,
                error,
                lambda text: SelectionError(
                    f"{condition!r} is not a filter on {name}: {text}; the columns are {names}"
                ),
            ) from safe_cause(table.uri, error)
        return np.asarray(found, dtype=np.int64)

    def _frame(self, name: str, chosen: NDArray[np.int64] | None = None) -> pd.DataFrame:
        from slaf.tables.read import take_rows

        described = self.published.columns[name]
        names = [column.name for column in described.columns]
        if chosen is None or not len(chosen):
            # Of no rows Lance would take no categories either.
            rows = self._columns(name, names)
            return to_frame(rows if chosen is None else rows.slice(0, 0), described)
        return to_frame(take_rows(self.table(name), chosen, names), described)

    def _read(self, cells: Rows, genes: Rows | None) -> sp.csr_matrix:
        by_cell = self.matrix()
        if genes is None or BY_GENE not in self.published.tables:
            return by_cell.read(cells, genes)
        by_gene = self._values(BY_GENE, self.n_cells)
        if by_gene.n_rows(genes) >= by_cell.n_rows(cells):
            return by_cell.read(cells, genes)
        # In the order of genes it is a matrix of genes × cells.
        return by_gene.read(genes, cells).T.tocsr()


def open_dataset(
    place: str | os.PathLike[str] | Location,
    *,
    storage_options: Mapping[str, str] | None = None,
) -> Dataset:
    """Open a published dataset for reading.

    Parameters
    ----------
    place
        The directory of the dataset, or its URL in a bucket.
    storage_options
        For a URL, how to reach it, by the names that Lance and obstore have for it; what is
        not said is taken from the environment.

    Raises
    ------
    NotADataset
        If there is none.
    ConversionInProgress
        If its conversion has not been finished: nothing of it is shown.
    UnsupportedFormat
        If another program wrote it, or a newer release.
    DamagedDataset
        If its config.json contradicts itself.
    StorageError
        If it cannot be reached.
    """
    location = Location.of(place, storage_options)
    return Dataset(location, load_published(location))


def _aligned(slot: Mapping[str, Any], rows: NDArray[np.int64] | None) -> dict[str, Any]:
    return {key: slot[key] if rows is None else element_rows(slot[key], rows) for key in slot}


def _paired(slot: Mapping[str, Any], rows: NDArray[np.int64] | None) -> dict[str, Any]:
    return {key: slot[key] if rows is None else slot[key][rows][:, rows] for key in slot}
