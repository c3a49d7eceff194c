"""The tables of a dataset, declared once, and their Arrow schemas: the only place of types."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pyarrow as pa

from slaf.errors import InexactValue
from slaf.sparse.casting import first_inexact

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.options import StoreOptions

__all__ = [
    "BY_GENE",
    "CELLS",
    "CELL_COLUMNS",
    "CELL_ORDER",
    "COVERAGE",
    "EXPRESSION",
    "FORMAT_VERSION",
    "GENES",
    "GENE_COLUMNS",
    "GENE_ORDER",
    "KNOWN_VERSIONS",
    "LAYERS",
    "RAW",
    "RAW_GENES",
    "SOURCE_FILE",
    "TABLES",
    "VALUE",
    "VALUE_TYPES",
    "Axis",
    "IndexKind",
    "TableSpec",
    "allowed_types",
    "common_type",
    "gene_encodings",
    "pair_table",
    "partitioned_tables",
    "read_dtype",
    "table_schema",
    "value_type_for",
    "widened",
]

FORMAT_VERSION: Final = "1.1"
KNOWN_VERSIONS: Final = ("1.0", FORMAT_VERSION)
IndexKind = Literal["ZONEMAP", "BTREE"]

EXPRESSION: Final = "expression"
BY_GENE: Final = "expression_by_gene"
LAYERS: Final = "layers"
RAW: Final = "raw"
CELLS: Final = "cells"
COVERAGE: Final = "coverage"
GENES: Final = "genes"
RAW_GENES: Final = "raw_genes"

# The value column of a table of one matrix, and the column of `cells` that names the input.
VALUE: Final = "value"
SOURCE_FILE: Final = "source_file"


@dataclass(frozen=True, slots=True)
class Axis:
    """An order of rows.

    Attributes
    ----------
    name
        "cells" or "genes".
    singular
        "cell" or "gene".
    ids
        The columns of positions: of this axis, and of the other one.
    """

    name: str
    singular: str
    ids: tuple[str, str]


CELL_ORDER: Final = Axis("cells", "cell", ("cell_integer_id", "gene_integer_id"))
CONTIG_ORDER: Final = Axis("cells", "cell", ("cell_integer_id", "contig"))
GENE_ORDER: Final = Axis("genes", "gene", ("gene_integer_id", "cell_integer_id"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """A table of a dataset.

    Attributes
    ----------
    name
        Its key in the `tables` of config.json.
    axis
        The order of its rows.
    slot
        The slot of AnnData that it stores.
    record
        The key of config.json that records it.
    required
        Whether every dataset has it.
    option
        The store option that adds it; "" if the inputs decide.
    ids
        The columns that identify a row.
    start_index
        Of a table that is written in parts, a row for each nonzero: the column of row offsets in
        the table that is named as the axis. "" for a table that is written whole.
    values
        Its value columns; none if they are in the record.
    value_types
        The types of its value columns, and those with plain types; none if the values decide.
    nullable
        Whether a row may lack a value.
    copies
        The table whose rows it has in another order.
    indices
        The columns that always have an index.
    optional_indices
        The columns that have one with the option `create_indices`.
    """

    name: str
    axis: Axis
    slot: str
    record: str
    required: bool = False
    option: str = ""
    ids: tuple[str, str]
    start_index: str = ""
    values: tuple[str, ...] = ()
    value_types: tuple[str, str] = ("", "")
    nullable: bool = False
    copies: str = ""
    indices: Mapping[str, IndexKind] = field(default_factory=dict)
    optional_indices: Mapping[str, IndexKind] = field(default_factory=dict)

    @property
    def directory(self) -> str:
        """The directory that it has by default."""
        return f"{self.name}.lance"

    @property
    def is_partitioned(self) -> bool:
        """Whether it is written in parts, a fragment or a few for each."""
        return bool(self.start_index)

    def indexed_columns(self, *, create_indices: bool) -> dict[str, IndexKind]:
        """The columns that have an index, in the order in which the indices are made."""
        return {**self.indices, **(self.optional_indices if create_indices else {})}


_SPECS: Final = (
    TableSpec(
        name=EXPRESSION,
        axis=CELL_ORDER,
        slot="X",
        record="blocks",
        required=True,
        ids=CELL_ORDER.ids,
        start_index="cell_start_index",
        values=(VALUE,),
        indices={"cell_integer_id": "ZONEMAP"},
        optional_indices={"gene_integer_id": "BTREE"},
    ),
    TableSpec(
        name=CELLS,
        axis=CELL_ORDER,
        slot="obs",
        record="columns",
        required=True,
        ids=("cell_id", "cell_integer_id"),
        optional_indices={"cell_id": "BTREE"},
    ),
    TableSpec(
        name=GENES,
        axis=GENE_ORDER,
        slot="var",
        record="columns",
        required=True,
        ids=("gene_id", "gene_integer_id"),
        optional_indices={"gene_id": "BTREE"},
    ),
    TableSpec(
        name=LAYERS,
        axis=CELL_ORDER,
        slot="layers",
        record="layers",
        ids=CELL_ORDER.ids,
        start_index="layers_start_index",
        nullable=True,
    ),
    TableSpec(
        name=RAW,
        axis=CELL_ORDER,
        slot="raw",
        record="raw",
        ids=CELL_ORDER.ids,
        start_index="raw_start_index",
        values=(VALUE,),
    ),
    TableSpec(
        name=COVERAGE,
        axis=CONTIG_ORDER,
        slot="coverage",
        record="coverage",
        ids=CONTIG_ORDER.ids,
        start_index="coverage_start_index",
        values=("strand", "start", "length", "depth"),
        value_types=("uint32", "int64"),
    ),
    TableSpec(
        name=BY_GENE,
        axis=GENE_ORDER,
        slot="X",
        record="by_gene",
        option="by_gene",
        ids=GENE_ORDER.ids,
        start_index="gene_start_index",
        values=(VALUE,),
        copies=EXPRESSION,
    ),
    TableSpec(
        name=RAW_GENES,
        axis=GENE_ORDER,
        slot="raw",
        record="raw",
        ids=("gene_id", "gene_integer_id"),
    ),
    TableSpec(
        name="cellsxcells",
        axis=CELL_ORDER,
        slot="obsp",
        record="obsp",
        ids=("cell_integer_id_i", "cell_integer_id_j"),
    ),
    TableSpec(
        name="genesxgenes",
        axis=GENE_ORDER,
        slot="varp",
        record="varp",
        ids=("gene_integer_id_i", "gene_integer_id_j"),
    ),
)

# The tables of a dataset by name.
TABLES: Final[Mapping[str, TableSpec]] = MappingProxyType({spec.name: spec for spec in _SPECS})


def partitioned_tables(names: Container[str] = TABLES) -> tuple[TableSpec, ...]:
    """The tables that are written in parts, of those named."""
    return tuple(spec for spec in _SPECS if spec.is_partitioned and spec.name in names)


def pair_table(slot: str) -> TableSpec:
    """The table that stores a slot of pairs, "obsp" or "varp"."""
    return next(spec for spec in _SPECS if spec.slot == slot)


def _reserved_columns(table: str) -> tuple[str, ...]:
    spec = TABLES[table]
    offsets = (one.start_index for one in partitioned_tables() if one.axis.name == spec.axis.name)
    return (*spec.ids, *offsets)


# The columns of `cells` and `genes` that belong to the format; a user's column of such a name is
# stored under another.
CELL_COLUMNS: Final = (*_reserved_columns(CELLS), SOURCE_FILE)
GENE_COLUMNS: Final = _reserved_columns(GENES)

# Tried in this order: the first that holds every value of the matrix is the column's type.
VALUE_TYPES: Final = tuple(
    np.dtype(name) for name in ("uint16", "uint32", "int32", "int64", "float32", "float64")
)
_MOST_UINT16_GENES = 2**16
_LARGEST_EXACT_FLOAT64 = 2.0**53
_ZSTD: Final = {b"lance-encoding:compression": b"zstd"}

# What Lance is told of a column by the name of its codec. "zstd default" is that of format 1.0.
_CODECS: Final = {
    "": None,
    "lz4": {b"lance-encoding:compression": b"lz4"},
    "zstd": {**_ZSTD, b"lance-encoding:compression-level": b"1"},
    "zstd default": _ZSTD,
}

# The codec of cells in gene order.
_CELL_CODECS: Final = {"fast": "", "balanced": "lz4", "small": "zstd"}


def allowed_types(options: StoreOptions) -> tuple[np.dtype[Any], ...]:
    """The types that values may be stored in, the preferred one first."""
    if options.plain_types:
        return tuple(t for t in VALUE_TYPES if t.kind == "f")
    # zstd leaves fewer bytes of 32-bit than of 16-bit integers.
    return VALUE_TYPES[1:] if options.compression == "small" else VALUE_TYPES


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


# The types of counts: the compression "small" stores all in the second.
COUNTS: Final = ("uint16", "uint32")


def read_dtype(source: str, value_type: str, *, dtype_overflowed: bool) -> str:
    """The numeric type that values are read back in: the source's, where it holds them.

    Parameters
    ----------
    source
        The type that the source has them in.
    value_type
        The type that they are stored in, as `narrowest_count` has it.
    dtype_overflowed
        Whether sums of repeated entries are beyond the source's type.
    """
    if dtype_overflowed:
        return value_type
    dtype = np.dtype(source).newbyteorder("=")
    # scipy has no matrices of half floats.
    return "float32" if dtype == np.float16 else str(dtype)


def narrowest_count(value_type: str, *, beyond_uint16: bool) -> str:
    """The type that values are stored in by every compression but "small"."""
    narrow, wide = COUNTS
    return narrow if value_type == wide and not beyond_uint16 else value_type


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


def gene_encodings(n_genes: int, options: StoreOptions) -> tuple[str, ...]:
    """The encodings that a new table may have for its gene ids, the one to assume first.

    Parameters
    ----------
    n_genes
        The number of genes that its rows may name.
    options
        Types and compression.

    Returns
    -------
    tuple of str
        Each is a type, "uint16", "uint32" or "int32", and for 32 bits perhaps a codec, as in
        "uint32 lz4".
    """
    wide = "int32" if options.plain_types else "uint32"
    if options.compression == "small":
        return (f"{wide} zstd",)
    narrow = wide if options.plain_types or n_genes > _MOST_UINT16_GENES else "uint16"
    return (narrow,) if options.compression == "fast" else (narrow, f"{wide} lz4")


def widened(gene_encoding: str, n_genes: int) -> str:
    """The encoding of gene ids once a table may name so many genes."""
    return "uint32" if gene_encoding == "uint16" and n_genes > _MOST_UINT16_GENES else gene_encoding


def table_schema(
    table: str,
    value_types: Mapping[str, np.dtype[Any]],
    n_genes: int,
    options: StoreOptions,
    gene_encoding: str = "",
) -> pa.Schema:
    """The columns of a table that is written in parts: a row for each nonzero.

    Parameters
    ----------
    table
        The name of the table.
    value_types
        The type of each value column, one of `VALUE_TYPES`.
    n_genes
        The number of genes that its rows may name.
    options
        Compression, types of the positions, and whether `cell_id` and `gene_id` come first.
    gene_encoding
        One of `gene_encodings`; "" for a table that is encoded as in format 1.0.
    """
    spec = TABLES[table]
    owner, other = spec.ids
    gene_type, _, codec = (gene_encoding or _gene_type_1_0(n_genes, options)).partition(" ")
    types = {"cell_integer_id": "int32" if options.plain_types else "uint32"}
    if not gene_encoding:
        is_packed = spec.axis == GENE_ORDER or options.compression == "small"
        codec = "zstd default" if is_packed and options.compression != "fast" else ""
    elif spec.axis == GENE_ORDER:
        codec = _CELL_CODECS[options.compression]
    fields = [_field(owner, types.get(owner, gene_type))]
    fields.append(_field(other, types.get(other, gene_type), codec))
    fields += [
        _field(
            name, str(dtype), _value_codec(dtype, options, gene_encoding), nullable=spec.nullable
        )
        for name, dtype in value_types.items()
    ]
    if table == EXPRESSION and options.string_ids:
        fields[:0] = [
            pa.field(name, pa.string(), nullable=False) for name in ("cell_id", "gene_id")
        ]
    return pa.schema(fields)


def _field(name: str, dtype: str, codec: str = "", *, nullable: bool = False) -> pa.Field:
    """A column; without a codec Lance packs the bits of integers."""
    return pa.field(
        name, pa.from_numpy_dtype(np.dtype(dtype)), nullable=nullable, metadata=_CODECS[codec]
    )


def _value_codec(dtype: np.dtype[Any], options: StoreOptions, gene_encoding: str) -> str:
    if options.compression == "fast":
        return ""
    if not gene_encoding:
        return "zstd default"
    # Integers whose bits are packed are read five times as fast; the bits of floats cannot be.
    return "" if options.compression == "balanced" and dtype.kind != "f" else "zstd"


def _gene_type_1_0(n_genes: int, options: StoreOptions) -> str:
    if options.plain_types:
        return "int32"
    is_wide = n_genes > _MOST_UINT16_GENES or options.compression == "small"
    return "uint32" if is_wide else "uint16"
