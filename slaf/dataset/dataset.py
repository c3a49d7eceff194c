"""Dataset: a published dataset, open for reading."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.annotations.dataframes import to_frame
from slaf.dataset.annotations import Annotations, StoredRaw, element_rows
from slaf.dataset.history import history
from slaf.dataset.selection import as_filter, resolve_indexer
from slaf.errors import DamagedDataset, QueryError, SelectionError
from slaf.format.config import DatasetConfig, load_former, load_published
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
    from slaf.training.loader import Loader

__all__ = ["Dataset", "open_dataset"]


# The statements of SQL that change tables, which Polars runs on tables that exist for one query.
_WRITE_STATEMENT = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
    r"(ALTER|CREATE|DELETE|DROP|INSERT|MERGE|REPLACE|TRUNCATE|UPDATE)\b",
    re.IGNORECASE | re.DOTALL,
)


class Dataset:
    """A published dataset: a matrix of cells × genes, two tables, layers, raw and annotations.

    It reads the table versions that config.json named when it was opened. Other processes may
    replace and remove these: open the dataset again for what was not read before. Use `slaf.open`
    to open one.

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
        """The table of cells, with the column names and types of the input."""
        return self._frame(CELLS)

    @property
    def var(self) -> pd.DataFrame:
        """The table of genes, with the column names and types of the input."""
        return self._frame(GENES)

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers, for the parameter `layer` of `read`."""
        return tuple(self.annotations.layers)

    @property
    def raw(self) -> StoredRaw | None:
        """The matrix that AnnData calls raw; None without one, or if it was converted as X."""
        record = self.annotations.record.raw
        if record is None:
            return None
        return StoredRaw(
            self.annotations,
            record,
            self.n_cells,
            lambda: self._stored(RAW, record.matrix, record.n_genes),
        )

    @property
    def obsm(self) -> Mapping[str, Any]:
        """Arrays and tables with a row for each cell, by name; each is read on access."""
        return self.annotations.slot("obsm")

    @property
    def varm(self) -> Mapping[str, Any]:
        """Arrays and tables with a row for each gene, by name; each is read on access."""
        return self.annotations.slot("varm")

    @property
    def obsp(self) -> Mapping[str, Any]:
        """Matrices of cells × cells, by name; each is read on access."""
        return self.annotations.slot("obsp")

    @property
    def varp(self) -> Mapping[str, Any]:
        """Matrices of genes × genes, by name; each is read on access."""
        return self.annotations.slot("varp")

    @property
    def uns(self) -> dict[str, Any]:
        """The unstructured annotation of the input; of several inputs, merged."""
        return self.annotations.uns

    def uns_of(self, source: int) -> dict[str, Any]:
        """The uns of one input.

        Parameters
        ----------
        source
            Its index in `sources`.
        """
        return self.annotations.uns_of(source)

    def table(self, name: str) -> LanceTable:
        """A table of the dataset, as a Lance dataset."""
        return self.annotations.table(name)

    def lazy(self, name: str = EXPRESSION) -> pl.LazyFrame:
        """A table as a Polars LazyFrame."""
        from slaf.tables.polars import lazy_frame

        return lazy_frame(self.table(name))

    def sql(self, query: str) -> pl.DataFrame:
        """The result of a query over the tables `expression`, `cells` and `genes`.

        Numbers are 64-bit integers and floats, whatever type the tables store, so that sums do
        not overflow.

        Parameters
        ----------
        query
            SQL in the dialect of Polars.

        Raises
        ------
        QueryError
            If it is not SQL, names an unknown table or column, or would change a table.
        """
        import polars as pl

        if statement := _WRITE_STATEMENT.match(query):
            msg = f"{statement[1].upper()} is no query: nothing is changed by SQL; SELECT something"
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
        """The matrix or a layer, or a part of it.

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
            Cells × genes in the requested order, in the type of the source.

        Raises
        ------
        SelectionError
            If a requested cell, gene or layer does not exist.
        """
        rows = self.resolve(CELLS, cells)
        columns = None if genes is None else self.resolve(GENES, genes)
        if layer is None:
            return self._read(rows, columns)
        return self.matrix(layer).read(rows, columns)

    def row(
        self, cell: int | str, layer: str | None = None, *, dense: bool = False
    ) -> tuple[NDArray[np.int32], NDArray[Any]] | NDArray[Any]:
        """The nonzeros of one cell.

        Parameters
        ----------
        cell
            Its position (negative ones count from the end) or its id.
        layer
            As for `read`.
        dense
            Whether to return a value for each gene.

        Returns
        -------
        tuple or numpy.ndarray
            The positions of genes and their values; or with `dense` all values.

        Raises
        ------
        SelectionError
            If there is no such cell or layer.
        """
        row = self.read([cell] if isinstance(cell, str) else cell, None, layer)
        if dense:
            values: NDArray[Any] = row.toarray()[0]
            return values
        return row.indices, row.data

    def value(self, cell: int | str, gene: int | str, layer: str | None = None) -> Any:
        """The value of one cell and gene; 0 where none is stored.

        Parameters
        ----------
        cell, gene
            A position (negative ones count from the end) or an id.
        layer
            As for `read`.

        Raises
        ------
        SelectionError
            If there is no such cell, gene or layer.
        """
        cells, genes = ([at] if isinstance(at, str) else at for at in (cell, gene))
        return self.read(cells, genes, layer)[0, 0]

    def loader(self, cells: Indexer = None, genes: Indexer = None, **options: Any) -> Loader:
        """Batches of cells for training, shuffled in every epoch, in bounded memory.

        Parameters
        ----------
        cells, genes
            As for `read`; `batch.X` has the genes in the requested order.
        options
            By keyword, each field of `slaf.training.options.LoaderOptions`.

        Returns
        -------
        slaf.training.loader.Loader
            Its iteration gives an epoch of batches; `torch()` is a dataset of PyTorch.

        Raises
        ------
        SelectionError
            If a requested cell, gene, column or layer does not exist.
        TypeError, ValueError
            If an option is unknown, or does not fit; the error names one that does.
        """
        from slaf.dataset.verbs import make_loader

        return make_loader(self, cells, genes, options)

    def annotate(self, **changes: Any) -> Dataset:
        """Add columns, elements and layers in place, replace them, or drop some.

        This dataset stays as it is.

        Parameters
        ----------
        changes
            By keyword, each parameter of `slaf.annotate`: `obs`, `obsm`, `from_anndata`, ….

        Returns
        -------
        Dataset
            The new dataset.

        Raises
        ------
        InputError
            If an id is unknown or repeated, or something is there with other values.
        """
        from slaf.dataset.verbs import annotate

        return annotate(self, changes)

    def to_anndata(
        self,
        cells: Indexer = None,
        genes: Indexer = None,
        layers: Sequence[str] | None = None,
    ) -> anndata.AnnData:
        """The dataset, or a part of it, as an AnnData.

        X, the layers and raw are CSR; all else is as in the input. Raw keeps all of its genes.

        Parameters
        ----------
        cells, genes
            As for `read`.
        layers
            The layers to read; None for all.

        Raises
        ------
        SelectionError
            If a requested cell, gene or layer does not exist.
        DamagedDataset
            If no AnnData can hold the dataset, or it cannot be read; `slaf.verify` says why.
        """
        rows = self.resolve(CELLS, cells)
        columns = None if genes is None else self.positions(GENES, genes)
        positions = None if cells is None else as_positions(rows)
        raw = self.raw
        return self._as_anndata(
            X=self._read(rows, columns),
            obs=self._frame(CELLS, positions),
            var=self._frame(GENES, columns),
            layers={
                name: self.matrix(name).read(rows, columns)
                for name in (self.layers if layers is None else layers)
            },
            obsm=_aligned(self.obsm, positions),
            varm=_aligned(self.varm, columns),
            obsp=_paired(self.obsp, positions),
            varp=_paired(self.varp, columns),
            uns=self.uns,
            raw=None
            if raw is None
            else {"X": raw.matrix.read(rows), "var": raw.var, "varm": dict(raw.varm)},
        )

    def _as_anndata(self, **parts: Any) -> anndata.AnnData:
        """An AnnData of these parts, which an earlier release may have stored unfit."""
        import anndata

        try:
            return anndata.AnnData(**parts)
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            msg = (
                f"{self.location}: no AnnData can hold it ({error}); `slaf verify` says why, and "
                "converting the inputs again mends it"
            )
            raise DamagedDataset(msg) from error

    def matrix(self, layer: str | None = None) -> StoredMatrix:
        """The matrix or a layer, as it is stored.

        Raises
        ------
        SelectionError
            If there is no such layer.
        """
        if layer is None:
            return self._values(EXPRESSION, self.n_genes)
        records = self.annotations.layers
        if layer not in records:
            names = ", ".join(records) or "none at all"
            msg = f"there is no layer {layer!r}; there are {names}"
            raise SelectionError(msg)
        return self._stored(LAYERS, records[layer], self.n_genes)

    @cached_property
    def annotations(self) -> Annotations:
        """The layers, raw and slots, and their records in config.json."""
        return Annotations(self.location, self.published)

    def positions(self, name: str, indexer: Indexer) -> NDArray[np.int64]:
        """The positions of the requested cells or genes in their table, in the requested order.

        Parameters
        ----------
        name
            "cells" or "genes".
        indexer
            As for `read`.

        Raises
        ------
        SelectionError
            If a requested cell, gene or layer does not exist.
        """
        return as_positions(self.resolve(name, indexer))

    def resolve(self, name: str, indexer: Indexer) -> Rows:
        """As `positions`; consecutive ones as a range."""
        size = self.n_cells if name == CELLS else self.n_genes
        return resolve_indexer(
            indexer, size, lambda: self._ids(name), lambda where: self._where(name, where), name
        )

    @property
    def cell_offsets(self) -> NDArray[np.int64]:
        """The first row of each cell in `expression`, and the number of rows."""
        return self.offsets(EXPRESSION)

    @property
    def gene_offsets(self) -> NDArray[np.int64] | None:
        """The first row of each gene in `expression_by_gene`, and the number of rows.

        None without that table.
        """
        return self.offsets(BY_GENE) if BY_GENE in self.published.tables else None

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
            starts = self._columns(spec.axis.name, [spec.start_index]).column(0).to_numpy()
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
        return StoredMatrix(self.rows(table), VALUE, width, dtype, dtype, value_type, self.nnz)

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

    def _columns(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        return self.annotations.read_columns(name, columns)

    def _ids(self, name: str) -> list[str]:
        column = self.published.columns[name].columns[0].name
        ids: list[str] = self._columns(name, [column]).column(0).to_pylist()
        return ids

    def _where(self, name: str, condition: str) -> NDArray[np.int64]:
        table = self.table(name)
        column = f"{name.removesuffix('s')}_integer_id"
        try:
            rows = table.to_table([column], filter=as_filter(condition))
        except (ValueError, OSError) as error:
            names = ", ".join(table.schema.names)
            raise translate_lance_error(
                table.uri,
                error,
                lambda text: SelectionError(
                    f"{condition!r} is not a filter on {name}: {text}; the columns are {names}"
                ),
            ) from safe_cause(table.uri, error)
        return np.asarray(rows.column(0).to_numpy(), dtype=np.int64)

    def _frame(self, name: str, positions: NDArray[np.int64] | None = None) -> pd.DataFrame:
        from slaf.tables.read import take_rows

        columns = self.published.columns[name]
        names = [column.name for column in columns.columns]
        if positions is None or not len(positions):
            # Lance would return no categories with no rows.
            rows = self._columns(name, names)
            return to_frame(rows if positions is None else rows.slice(0, 0), columns)
        return to_frame(take_rows(self.table(name), positions, names), columns)

    def _read(self, cells: Rows, genes: Rows | None) -> sp.csr_matrix:
        by_cell = self.matrix()
        if genes is None or BY_GENE not in self.published.tables:
            return by_cell.read(cells, genes)
        by_gene = self._values(BY_GENE, self.n_cells)
        if by_gene.n_rows(genes) >= by_cell.n_rows(cells):
            return by_cell.read(cells, genes)
        # In gene order it is a matrix of genes × cells.
        return by_gene.read(genes, cells).T.tocsr()


def open_dataset(
    dataset: str | os.PathLike[str] | Location,
    *,
    version: int | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> Dataset:
    """Open a published dataset for reading.

    Parameters
    ----------
    dataset
        The directory of the dataset, or its URL in a bucket.
    version
        A version that `slaf.history` lists, while its files are there; the newest by default.
    storage_options
        For a URL, credentials and settings of the bucket, by the names of Lance and obstore; the
        environment has the others.

    Raises
    ------
    NotADataset
        If there is none.
    ConversionInProgress
        If its conversion is unfinished.
    UnsupportedFormat
        If another program or a newer release wrote it.
    DamagedDataset
        If its config.json contradicts itself.
    StorageError
        If the bucket cannot be reached.
    """
    location = Location.of(dataset, storage_options)
    published = load_published(location)
    if version is None or version == published.version:
        return Dataset(location, published)
    former = load_former(location, version)
    if former is None:
        there = ", ".join(str(one.version) for one in history(location) if one.is_kept)
        msg = f"{location}: there is no version {version} to open; there is {there}"
        raise SelectionError(msg)
    return Dataset(location, former)


def _aligned(slot: Mapping[str, Any], rows: NDArray[np.int64] | None) -> dict[str, Any]:
    return {key: slot[key] if rows is None else element_rows(slot[key], rows) for key in slot}


def _paired(slot: Mapping[str, Any], rows: NDArray[np.int64] | None) -> dict[str, Any]:
    return {key: slot[key] if rows is None else slot[key][rows][:, rows] for key in slot}
