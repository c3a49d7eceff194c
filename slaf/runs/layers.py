"""The tables beside `expression`, `layers` and `raw`: planned, and written part by part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from msgspec import structs

from slaf.annotations.columns import safe_name
from slaf.errors import DamagedInput, InexactValue
from slaf.format.digests import BlockDigest
from slaf.format.files import StoredFile
from slaf.format.records import Block
from slaf.format.schema import LAYERS, RAW, allowed_types, layers_schema
from slaf.format.validation import Record
from slaf.options import LAYER
from slaf.runs.value_types import overflows_source_dtype, unrepresentable_value_error, wider_type
from slaf.sparse.casting import as_float64, exact_cast
from slaf.tables.fragments import Fragment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from slaf.format.config import DatasetConfig
    from slaf.format.records import MatrixRecord
    from slaf.options import StoreOptions
    from slaf.runs.plan import Plan
    from slaf.runs.value_types import AxisIds
    from slaf.sources.base import Matrix, Source
    from slaf.sparse.batch import Batch
    from slaf.sparse.ranges import RowRange

__all__ = [
    "LayerPartWriter",
    "LayerResult",
    "LayerTable",
    "NeedsWiderLayerType",
    "ValueColumn",
    "layer_matrices",
    "layer_tables",
    "recorded_layer_tables",
]

_IDS = ("cell_integer_id", "gene_integer_id")
_SHIFT = np.uint64(32)
_LENGTHS = np.dtype("<u4")


class NeedsWiderLayerType(Exception):
    """Values that the types of a companion do not hold; it carries the one that holds them."""

    def __init__(self, wider: LayerTable) -> None:
        super().__init__(wider.table)
        self.wider = wider


class ValueColumn(Record, frozen=True):
    """A column of values.

    Attributes
    ----------
    name
        The column.
    original
        The user's name for the layer; "raw" of raw.
    dtype
        The numeric type in the source.
    value_type
        The type of the column.
    """

    name: str
    original: str
    dtype: str
    value_type: str


class LayerTable(Record, frozen=True):
    """A table beside `expression`, of the same cells, with one column of values or several.

    Attributes
    ----------
    table
        "layers" or "raw".
    n_genes
        The genes that its rows may name.
    values
        Its columns of values, one at the least.
    """

    table: str
    n_genes: int
    values: tuple[ValueColumn, ...]

    def schema(self, options: StoreOptions) -> pa.Schema:
        """The columns of the table."""
        return layers_schema(
            {values.name: np.dtype(values.value_type) for values in self.values},
            self.n_genes,
            options,
            nullable=self.table == LAYERS,
        )

    def widened(self, found: Mapping[str, NDArray[Any]], options: StoreOptions) -> LayerTable:
        """The same with types that hold these values too, by the name of their column.

        Raises
        ------
        InexactValue
            If no type holds one of them.
        """
        values = []
        for column in self.values:
            wide = column
            if column.name in found:
                dtype = wider_type(found[column.name], column.value_type, allowed_types(options))
                wide = structs.replace(column, value_type=str(dtype))
            values.append(wide)
        return structs.replace(self, values=tuple(values))


class LayerResult(Record, frozen=True):
    """What one part has of a companion, on disk.

    Attributes
    ----------
    fragments
        Of the table, in order.
    blocks
        Of each column, its blocks and their digests, in order.
    dtype_overflowed
        The columns in which sums are beyond the type that the source has them in.
    files
        Those that the fragments are in.
    """

    fragments: list[Fragment]
    blocks: Mapping[str, tuple[Block, ...]]
    dtype_overflowed: tuple[str, ...]
    files: tuple[StoredFile, ...] = ()


def layer_tables(
    source: Source, options: StoreOptions, there: Mapping[str, MatrixRecord] | None = None
) -> tuple[LayerTable, ...]:
    """The companions of a source.

    Parameters
    ----------
    source
        What is converted.
    options
        How it is stored.
    there
        The matrices that a dataset has already, to which it is added: by the user's names of
        layers, and "raw" of that table.

    Raises
    ------
    InputError
        If one cannot be read.
    """
    first = str(allowed_types(options)[0])
    known = there or {}
    found = []
    layers = source.layers()
    if layers:
        used = {name.casefold() for name in _IDS}
        columns = []
        for original, matrix in layers.items():
            if matrix.shape != (source.info.n_cells, source.info.n_genes):
                msg = (
                    f"{source.info.uri}: layer {original!r} is of the shape {matrix.shape}, not "
                    f"{(source.info.n_cells, source.info.n_genes)}; leave it out with --layers"
                )
                raise DamagedInput(msg)
            # Those of a dataset come first, and are given the names that they have.
            name = safe_name(original, used)
            key = f"{LAYER}:{original}"
            value_type = known[key].value_type if key in known else first
            columns.append(ValueColumn(name, original, str(matrix.dtype), value_type))
        found.append(LayerTable(LAYERS, source.info.n_genes, tuple(columns)))
    raw = source.raw()
    if raw is not None:
        n_cells, n_genes = raw.matrix.shape
        if n_cells != source.info.n_cells or n_genes != raw.genes.num_rows:
            msg = (
                f"{source.info.uri}: raw is of the shape {raw.matrix.shape}, but there are "
                f"{source.info.n_cells:,} cells and {raw.genes.num_rows:,} genes of raw; "
                "leave it out with --no-raw"
            )
            raise DamagedInput(msg)
        value_type = known[RAW].value_type if RAW in known else first
        column = ValueColumn("value", RAW, str(raw.matrix.dtype), value_type)
        found.append(LayerTable(RAW, n_genes, (column,)))
    return tuple(found)


def recorded_layer_tables(published: DatasetConfig) -> tuple[LayerTable, ...]:
    """The companions that a dataset has, as they are stored."""
    beside = published.annotations
    genes_of_raw = 0 if beside.raw is None else beside.raw.n_genes
    return tuple(
        LayerTable(table, genes_of_raw if table == RAW else published.n_genes, _values(matrices))
        for table, matrices in beside.matrices().items()
    )


def _values(matrices: Sequence[MatrixRecord]) -> tuple[ValueColumn, ...]:
    return tuple(
        ValueColumn(matrix.name, matrix.original, matrix.source_dtype, matrix.value_type)
        for matrix in matrices
    )


def layer_matrices(source: Source, companion: LayerTable) -> list[Matrix]:
    """The matrices that the columns of a companion are made of."""
    raw = source.raw() if companion.table == RAW else None
    if raw is not None:
        return [raw.matrix]
    layers = source.layers()
    return [layers[values.original] for values in companion.values]


class LayerPartWriter:
    """What is learned of a part of a companion while its rows pass by."""

    def __init__(
        self, source: Source, companion: LayerTable, plan: Plan, identifiers: AxisIds
    ) -> None:
        self._source = source
        self._matrices = layer_matrices(source, companion)
        self._companion = companion
        self._plan = plan
        self._identifiers = identifiers
        self._schema = companion.schema(plan.options)
        self._blocks: dict[str, list[Block]] = {values.name: [] for values in companion.values}
        self._outgrown: set[str] = set()
        self._lengths: list[NDArray[Any]] = []

    @property
    def schema(self) -> pa.Schema:
        """The columns of the table."""
        return self._schema

    def lengths(self) -> NDArray[Any]:
        """Rows of each cell so far."""
        return np.concatenate([np.empty(0, _LENGTHS), *self._lengths])

    def result(self, fragments: list[Fragment], files: tuple[StoredFile, ...]) -> LayerResult:
        """What there is of it, once its rows are in these fragments and files."""
        blocks = {name: tuple(found) for name, found in self._blocks.items()}
        return LayerResult(fragments, blocks, tuple(sorted(self._outgrown)), files)

    def record_batches(self, blocks: Iterable[RowRange]) -> Iterator[pa.RecordBatch]:
        """The rows of some cells, digested block by block on the way.

        Raises
        ------
        NeedsWiderLayerType
            If a value asks for a wider type than that of its column.
        InexactValue
            If none holds it.
        """
        for block in blocks:
            digests = [BlockDigest() for _ in self._matrices]
            n_rows = [0 for _ in self._matrices]
            for batches in _aligned([matrix.batches(block) for matrix in self._matrices]):
                for at, (digest, batch) in enumerate(zip(digests, batches, strict=True)):
                    digest.add_lengths(batch.counts)
                    digest.add_entries(batch.genes, as_float64(batch.values))
                    n_rows[at] += batch.nnz
                yield self._record_batch(batches)
            for values, digest, n in zip(self._companion.values, digests, n_rows, strict=True):
                made = Block((block.start, block.stop), n, digest.hexdigest())
                self._blocks[values.name].append(made)

    def _record_batch(self, batches: Sequence[Batch]) -> pa.RecordBatch:
        cast = self._cast(batches)
        rows, schema = batches[0].rows, self._schema
        keys = [_keys(batch) for batch in batches]
        union = keys[0]
        if not all(np.array_equal(other, union) for other in keys[1:]):
            union = np.unique(np.concatenate(keys))
        cells, genes = union >> _SHIFT, union & np.uint64(0xFFFFFFFF)
        counts = np.bincount((cells - np.uint64(rows.start)).astype(np.int64), minlength=len(rows))
        self._lengths.append(counts.astype(_LENGTHS))
        columns = [
            pa.array(ids.astype(field.type.to_pandas_dtype()), field.type)
            for ids, field in zip((cells, genes), schema, strict=False)
        ]
        for key, values, field in zip(keys, cast, list(schema)[len(_IDS) :], strict=True):
            columns.append(_spread(key, values, union, field.type))
        return pa.record_batch(columns, schema=schema)

    def _cast(self, batches: Sequence[Batch]) -> list[NDArray[Any]]:
        cast, misfits = [], {}
        for values, batch in zip(self._companion.values, batches, strict=True):
            if overflows_source_dtype(batch, values.dtype):
                self._outgrown.add(values.name)
            try:
                cast.append(exact_cast(batch.values, np.dtype(values.value_type)))
            except InexactValue:
                self._refuse_the_impossible(values, batch)
                misfits[values.name] = batch.values
        if misfits:
            raise NeedsWiderLayerType(self._companion.widened(misfits, self._plan.options))
        return cast

    def _refuse_the_impossible(self, values: ValueColumn, batch: Batch) -> None:
        options = self._plan.options
        try:
            self._companion.widened({values.name: batch.values}, options)
        except InexactValue as error:
            raw = self._source.raw() if self._companion.table == RAW else None
            what = f"layer {values.original!r}" if raw is None else "raw"
            left_out = f"--without layer:{values.original}" if raw is None else "--no-raw"
            source = self._plan.source_of(batch.rows.start)
            identifiers = self._identifiers
            if raw is not None:
                identifiers = replace(identifiers, genes=raw.genes.column(0))
            raise unrepresentable_value_error(
                batch,
                what,
                source,
                identifiers=identifiers,
                allowed=allowed_types(options),
                remedy=f"correct it, or leave {what} out with {left_out}",
            ) from error


def _aligned(columns: list[Iterator[Batch]]) -> Iterator[list[Batch]]:
    """Batches of several matrices, cut where any of them is cut: all of the same cells."""
    heads = [next(column, None) for column in columns]
    while True:
        batches = [head for head in heads if head is not None]
        if len(batches) < len(columns):
            return
        stop = min(batch.rows.stop for batch in batches)
        cut = [batch.split(stop) for batch in batches]
        yield [before for before, _ in cut]
        heads = [
            after if len(after.rows) else next(column, None)
            for (_, after), column in zip(cut, columns, strict=True)
        ]


def _keys(batch: Batch) -> NDArray[np.uint64]:
    return (batch.cells().astype(np.uint64) << _SHIFT) | batch.genes


def _spread(
    keys: NDArray[np.uint64],
    values: NDArray[Any],
    union: NDArray[np.uint64],
    dtype: pa.DataType,
) -> pa.Array:
    """The values at their places in the union, and null between them."""
    if len(keys) == len(union):
        return pa.array(values, dtype)
    whole = np.zeros(len(union), values.dtype)
    missing = np.ones(len(union), np.bool_)
    at = np.searchsorted(union, keys)
    whole[at], missing[at] = values, False
    return pa.array(whole, dtype, mask=missing, from_pandas=False)
