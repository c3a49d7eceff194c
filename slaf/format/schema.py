"""The Arrow schemas of the tables: the only place where a type is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pyarrow as pa

from slaf.errors import InexactValue
from slaf.sparse.casting import first_inexact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.options import Compression, StoreOptions

__all__ = [
    "BY_CELL",
    "BY_GENE",
    "CELLS",
    "CELL_PAIRS",
    "EXPRESSION",
    "FORMAT_VERSION",
    "GENES",
    "GENE_PAIRS",
    "KNOWN_VERSIONS",
    "LAYERS",
    "PARTITIONED_TABLES",
    "RAW",
    "RAW_GENES",
    "START_INDEX",
    "VALUE_TYPES",
    "IndexKind",
    "allowed_types",
    "by_gene_schema",
    "common_type",
    "expression_schema",
    "gene_id_type",
    "indexed_columns",
    "layers_schema",
    "read_dtype",
    "value_type_for",
]

FORMAT_VERSION: Final = "1.1"
KNOWN_VERSIONS: Final = ("1.0", FORMAT_VERSION)

# The tables of a dataset, by the name that config.json gives them.
EXPRESSION: Final = "expression"
CELLS: Final = "cells"
GENES: Final = "genes"

# Those that a dataset may have beside them.
BY_GENE: Final = "expression_by_gene"
LAYERS: Final = "layers"
RAW: Final = "raw"
RAW_GENES: Final = "raw_genes"
CELL_PAIRS: Final = "cellsxcells"
GENE_PAIRS: Final = "genesxgenes"

# The tables with a row for each nonzero: they are written part by part, a fragment or a few for
# each, in the order of the cells, or, in the last of them, of the genes.
BY_CELL: Final = (EXPRESSION, LAYERS, RAW)
PARTITIONED_TABLES: Final = (*BY_CELL, BY_GENE)

# The column of `cells`, or of `genes`, that says where the rows of each begin in one of those.
START_INDEX: Final = {
    EXPRESSION: "cell_start_index",
    LAYERS: "layers_start_index",
    RAW: "raw_start_index",
    BY_GENE: "gene_start_index",
}
IndexKind = Literal["ZONEMAP", "BTREE"]

# The columns of each table that have an index in any case, and those that may have one.
_INDICES: Final[Mapping[str, Mapping[str, IndexKind]]] = {
    EXPRESSION: {"cell_integer_id": "ZONEMAP"},
}
_MORE_INDICES: Final[Mapping[str, Mapping[str, IndexKind]]] = {
    EXPRESSION: {"gene_integer_id": "BTREE"},
    CELLS: {"cell_id": "BTREE"},
    GENES: {"gene_id": "BTREE"},
}

# Columns of ours in `cells` and `genes`; a user's column of that name is stored under another.
CELL_COLUMNS: Final = (
    "cell_id",
    "cell_integer_id",
    "cell_start_index",
    "layers_start_index",
    "raw_start_index",
    "source_file",
)
GENE_COLUMNS: Final = ("gene_id", "gene_integer_id", "gene_start_index")

# Tried in this order: the first that holds every value of the matrix is the column's type.
VALUE_TYPES: Final = tuple(
    np.dtype(name) for name in ("uint16", "uint32", "int32", "int64", "float32", "float64")
)
_MOST_UINT16_GENES = 2**16
_LARGEST_EXACT_FLOAT64 = 2.0**53
_ZSTD = {b"lance-encoding:compression": b"zstd"}


def allowed_types(options: StoreOptions) -> tuple[np.dtype[Any], ...]:
    """The types that values may be stored in, the preferred one first."""
    return tuple(t for t in VALUE_TYPES if t.kind == "f") if options.plain_types else VALUE_TYPES


def value_type_for(
    values: NDArray[Any], allowed: Sequence[np.dtype[Any]] = VALUE_TYPES
) -> np.dtype[Any]:
    """The first of the allowed types that holds every one of these values exactly.

    Raises
    ------
    InexactValue
        If none does: whole numbers beyond 2**63, for one.
    """
    found = 0
    for dtype in allowed:
        wrong = first_inexact(values, dtype)
        if wrong is None:
            return dtype
        found = wrong
    names = ", ".join(str(dtype) for dtype in allowed)
    msg = f"the value {values[found]!s} is not held exactly by any of {names}"
    raise InexactValue(msg)


def read_dtype(source: str, value_type: str, *, dtype_overflowed: bool) -> str:
    """The numeric type that values are read back in: the source's, where it holds them.

    Parameters
    ----------
    source
        The type that the source has them in.
    value_type
        The type that they are stored in.
    outgrown
        Whether sums of repeated entries are beyond the source's type.
    """
    if dtype_overflowed:
        return value_type
    dtype = np.dtype(source).newbyteorder("=")
    # scipy has no matrices of half floats.
    return "float32" if dtype == np.float16 else str(dtype)


def common_type(given: Sequence[str], value_type: str, greatest: float) -> str:
    """The type that values of several inputs are read back in: one that holds those of each.

    Parameters
    ----------
    given
        The types that they would be given back in by themselves.
    value_type
        The type that they are stored in.
    greatest
        The greatest of their magnitudes.
    """
    common = np.result_type(*given) if given else np.dtype(value_type)
    # numpy takes float64 for a type of all 64-bit integers, which it is up to 2**53.
    integers = {np.dtype(name).kind for name in given} & {"i", "u"}
    if common.kind == "f" and integers and greatest >= _LARGEST_EXACT_FLOAT64:
        return value_type
    return str(common)


def gene_id_type(n_genes: int, compression: Compression) -> pa.DataType:
    """uint16 while it holds every position, uint32 past that and where zstd packs the ids."""
    if n_genes > _MOST_UINT16_GENES or compression == "small":
        return pa.uint32()
    return pa.uint16()


def expression_schema(value_type: np.dtype[Any], n_genes: int, options: StoreOptions) -> pa.Schema:
    """The columns of `expression`: one row a nonzero, ordered by cell and then gene.

    Parameters
    ----------
    value_type
        One of `VALUE_TYPES`.
    n_genes
        The width of the matrix, which decides the type of the gene ids.
    options
        Columns that zstd packs, types of the ids, and whether `cell_id` and `gene_id` come first.
    """
    packed = options.compression != "fast"
    gene_metadata = _ZSTD if options.compression == "small" else None
    cell_type, gene_type = pa.uint32(), gene_id_type(n_genes, options.compression)
    if options.plain_types:
        cell_type = gene_type = pa.int32()
    fields = [
        pa.field("cell_integer_id", cell_type, nullable=False),
        pa.field("gene_integer_id", gene_type, nullable=False, metadata=gene_metadata),
        pa.field(
            "value",
            pa.from_numpy_dtype(value_type),
            nullable=False,
            metadata=_ZSTD if packed else None,
        ),
    ]
    if options.string_ids:
        fields[:0] = [
            pa.field("cell_id", pa.string(), nullable=False),
            pa.field("gene_id", pa.string(), nullable=False),
        ]
    return pa.schema(fields)


def by_gene_schema(expression: pa.Schema, compression: Compression) -> pa.Schema:
    """The columns of `expression_by_gene`: the rows of `expression`, ordered by gene and cell.

    Parameters
    ----------
    expression
        The columns of that table, the types of which these have.
    compression
        Bit packing is of no use to the genes, which hardly change, nor enough for the cells,
        which ascend: zstd takes a third off.
    """
    cells, genes, values = (
        expression.field(name) for name in ("cell_integer_id", "gene_integer_id", "value")
    )
    packed = None if compression == "fast" else _ZSTD
    return pa.schema([genes.with_metadata(None), cells.with_metadata(packed), values])


def indexed_columns(table: str, *, create_indices: bool) -> dict[str, IndexKind]:
    """The columns of a table that have an index, in the order in which they are made.

    Parameters
    ----------
    table
        The name of the table.
    create_indices
        Whether genes, and the ids of cells, can be looked up too.
    """
    more = _MORE_INDICES.get(table, {}) if create_indices else {}
    return {**_INDICES.get(table, {}), **more}


def layers_schema(
    value_types: Mapping[str, np.dtype[Any]],
    n_genes: int,
    options: StoreOptions,
    *,
    nullable: bool,
) -> pa.Schema:
    """The columns of `layers` and of `raw`: as `expression`, with any number of values.

    Parameters
    ----------
    value_types
        Of each column of values, by its name.
    n_genes, options
        As for `expression_schema`.
    nullable
        Whether a row may be without one of the values.
    """
    first, *_ = value_types.values()
    like = expression_schema(first, n_genes, options)
    values = [
        pa.field(
            name,
            pa.from_numpy_dtype(dtype),
            nullable=nullable,
            metadata=like.field("value").metadata,
        )
        for name, dtype in value_types.items()
    ]
    return pa.schema([like.field("cell_integer_id"), like.field("gene_integer_id"), *values])
