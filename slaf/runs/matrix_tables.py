"""The tables of matrices, `expression`, `layers` and `raw`: columns, types and sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from slaf.annotations.columns import safe_name
from slaf.errors import DamagedInput
from slaf.format.schema import (
    COVERAGE,
    EXPRESSION,
    LAYERS,
    RAW,
    TABLES,
    allowed_types,
    gene_encodings,
    partitioned_tables,
    table_schema,
    widened,
)
from slaf.format.validation import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from slaf.format.config import DatasetConfig
    from slaf.format.schema import TableSpec
    from slaf.options import StoreOptions
    from slaf.sources.base import Source
    from slaf.sources.matrix import Matrix

__all__ = [
    "MatrixTable",
    "ValueColumn",
    "matrix_tables",
    "recorded_matrix_tables",
    "source_matrices",
]


class ValueColumn(Record, frozen=True):
    """A value column.

    Attributes
    ----------
    name
        The column.
    original
        The user's name of the layer; of a table with one matrix the name of the table.
    dtype
        The numeric type in the source.
    value_type
        The type of the column.
    """

    name: str
    original: str
    dtype: str
    value_type: str

    def description(self, table: str) -> str:
        """The matrix, for errors."""
        return f"layer {self.original!r}" if table == LAYERS else table

    def exclusion(self, table: str) -> str:
        """The option that leaves the matrix out."""
        return f"--without layer:{self.original}" if table == LAYERS else f"--no-{table}"


class MatrixTable(Record, frozen=True):
    """A table with a row for each nonzero of one matrix or of several.

    Attributes
    ----------
    table
        "expression", "layers" or "raw".
    n_genes
        The genes that its rows may name.
    values
        Its value columns, one or more.
    gene_encoding
        The type and codec of its gene ids, one of `slaf.format.schema.gene_encodings`; "" if it
        is encoded as in format 1.0.
    """

    table: str
    n_genes: int
    values: tuple[ValueColumn, ...]
    gene_encoding: str = ""

    def schema(self, options: StoreOptions, table: str = "") -> pa.Schema:
        """The columns of the table, or of a copy of it in another order."""
        types = {column.name: np.dtype(column.value_type) for column in self.values}
        return table_schema(table or self.table, types, self.n_genes, options, self.gene_encoding)

    def widened(self, types: Mapping[str, str]) -> MatrixTable:
        """The same table with other types of some value columns."""
        values = (
            structs.replace(column, value_type=types.get(column.name, column.value_type))
            for column in self.values
        )
        return structs.replace(self, values=tuple(values))


def matrix_tables(
    source: Source, options: StoreOptions, recorded: Sequence[MatrixTable] = ()
) -> tuple[MatrixTable, ...]:
    """The tables that the matrices of a source are stored in.

    Parameters
    ----------
    source
        The inputs.
    options
        How they are stored.
    recorded
        The tables of the dataset that the source is added to, whose types stay.

    Raises
    ------
    InputError
        If a matrix cannot be read.
    """
    types = {
        (table.table, column.original): column.value_type
        for table in recorded
        for column in table.values
    }
    encodings = {table.table: table.gene_encoding for table in recorded}
    tables = []
    for spec in partitioned_tables():
        matrices, n_genes = source_matrices(source, spec.name)
        # The layers of a dataset come first, so that they keep their columns.
        used = {name.casefold() for name in spec.ids}
        values = tuple(
            ValueColumn(
                name=_column_name(spec, original, used),
                original=original,
                dtype=str(matrix.dtype),
                value_type=types.get((spec.name, original), _first_type(spec, options)),
            )
            for original, matrix in matrices.items()
        )
        for column in values:
            _check_shape(source, spec.name, column, (source.info.n_cells, n_genes))
        if values:
            encoding = encodings.get(spec.name, gene_encodings(n_genes, options)[0])
            tables.append(MatrixTable(spec.name, n_genes, values, widened(encoding, n_genes)))
    return tuple(tables)


def _column_name(spec: TableSpec, original: str, used: set[str]) -> str:
    if original in spec.values or not spec.values:
        return safe_name(original, used)
    return spec.values[0]


def _first_type(spec: TableSpec, options: StoreOptions) -> str:
    """The type to begin with: the only one, or the first of those that are allowed."""
    return spec.value_types[options.plain_types] or str(allowed_types(options)[0])


def _check_shape(
    source: Source, table: str, column: ValueColumn, expected: tuple[int, int]
) -> None:
    shape = source_matrices(source, table)[0][column.original].shape
    if shape != expected:
        msg = (
            f"{source.info.uri}: {column.description(table)} is of the shape {shape}, not "
            f"{expected}; leave it out with {column.exclusion(table)}"
        )
        raise DamagedInput(msg)


def source_matrices(source: Source, table: str) -> tuple[Mapping[str, Matrix], int]:
    """The matrices of a source that a table stores, by their names; and their number of genes."""
    if table == EXPRESSION:
        return {EXPRESSION: source.matrix()}, source.info.n_genes
    coverage = source.coverage() if table == COVERAGE else None
    if coverage is not None:
        return coverage.columns, len(coverage.contigs)
    if table == LAYERS:
        return source.layers(), source.info.n_genes
    raw = source.raw() if table == RAW else None
    return ({}, 0) if raw is None else ({RAW: raw.matrix}, raw.genes.num_rows)


def recorded_matrix_tables(published: DatasetConfig) -> tuple[MatrixTable, ...]:
    """The tables of matrices of a dataset, as they are stored."""
    dtype = published.sources[0].dtype if published.sources else published.dtype
    (name,) = TABLES[EXPRESSION].values
    column = ValueColumn(name, EXPRESSION, dtype, published.value_type)
    encodings = published.checksums.storage.gene_encodings
    tables = [MatrixTable(EXPRESSION, published.n_genes, (column,), encodings.get(EXPRESSION, ""))]
    for table, matrices in published.annotations.matrices().items():
        values = tuple(
            ValueColumn(one.name, one.original, one.source_dtype, one.value_type)
            for one in matrices
        )
        n_genes = getattr(published.record(table), "n_genes", published.n_genes)
        tables.append(MatrixTable(table, n_genes, values, encodings.get(table, "")))
    return tuple(tables)
