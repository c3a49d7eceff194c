"""One part: the values of the source, cast exactly, as uncommitted fragments with digests."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from slaf.errors import DamagedDataset, InexactValue
from slaf.format.digests import BlockDigest
from slaf.format.records import Block
from slaf.format.schema import EXPRESSION, RAW, TABLES, allowed_types
from slaf.runs.checksums import file_checksums
from slaf.runs.journal import PartResult, TableResult, write_row_counts
from slaf.runs.matrix_tables import source_matrices
from slaf.runs.value_types import (
    overflows_source_dtype,
    unrepresentable_value_error,
    wider_type,
)
from slaf.runtime.progress import NullProgress
from slaf.sparse.casting import CACHE_ENTRIES, as_float64, exact_cast
from slaf.sparse.ranges import RowRange
from slaf.sparse.statistics import Statistics
from slaf.tables.write import write_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.format.config import DatasetConfig
    from slaf.runs.matrix_tables import MatrixTable, ValueColumn
    from slaf.runs.plan import Plan
    from slaf.runs.value_types import AxisIds
    from slaf.runtime.progress import Progress
    from slaf.sources.base import Source
    from slaf.sparse.batch import Batch
    from slaf.storage.location import Location

__all__ = ["NeedsWiderType", "PartWriter", "encode_part"]

_SHIFT = np.uint64(32)
_LOW_BITS = np.uint64(0xFFFFFFFF)


class NeedsWiderType(Exception):
    """A value that the type of its column does not hold: the run begins again with another plan.

    Parameters
    ----------
    types
        The types that hold the values, by table and value column.
    """

    def __init__(self, types: Mapping[str, Mapping[str, str]]) -> None:
        super().__init__(types)
        self.types = types


def encode_part(
    source: Source,
    plan: Plan,
    index: int,
    location: Location,
    *,
    identifiers: AxisIds,
    base: DatasetConfig | None = None,
    progress: Progress,
) -> PartResult:
    """Write one part of a plan; when this returns, all of it is on disk.

    Nothing is shared with other parts: any number may be written at once, in any order.

    Parameters
    ----------
    base
        The dataset that is added to: rows of it that are written again must have its digests.
    progress
        Is advanced with each batch of `expression`.

    Raises
    ------
    NeedsWiderType
        If the plan's type does not hold a value that another type holds.
    InexactValue
        If no type does.
    DamagedDataset
        If rows that are written again are not those of the dataset.
    """
    with source.kept_open(plan.parts[index]):
        return _encode_open(
            source,
            plan,
            index,
            location,
            identifiers=identifiers,
            base=base,
            progress=progress,
        )


def _encode_open(
    source: Source,
    plan: Plan,
    index: int,
    location: Location,
    *,
    identifiers: AxisIds,
    base: DatasetConfig | None,
    progress: Progress,
) -> PartResult:
    cells, results = plan.parts[index], {}
    blocks = list(_block_ranges(plan, cells, () if base is None else base.blocks))
    # `expression` last: the other tables are likelier to need a wider type.
    for table in reversed(plan.matrix_tables):
        if not plan.writes(index, table.table):
            continue
        advance = progress if table.table == EXPRESSION else NullProgress()
        writer = PartWriter(source, plan, table, identifiers, advance)
        result = results[table.table] = writer.write(location, cells, blocks)
        for column, recorded in ({} if base is None else base.blocks_of(table.table)).items():
            _check_blocks(location, result.blocks.get(column, ()), recorded)
        write_row_counts(location, plan, table.table, index, writer.row_counts())
    if EXPRESSION not in results:
        progress.advance(len(cells), 0)
    measured = source.measure(cells) if EXPRESSION in results else {}
    return PartResult("cells", index, cells, results, measured.get(cells, {}))


def _block_ranges(plan: Plan, cells: RowRange, recorded: Sequence[Block]) -> Iterator[RowRange]:
    # A dataset of another program has no blocks yet.
    if plan.base is None or not recorded or cells.start >= plan.base.n_cells:
        yield from cells.split(plan.block_cells)
        return
    for block in recorded:
        if cells.start <= block.start and block.stop <= cells.stop:
            yield RowRange(block.start, block.stop)


def _check_blocks(location: Location, blocks: Sequence[Block], recorded: Sequence[Block]) -> None:
    by_range = {(block.start, block.stop): block for block in recorded}
    for block in blocks:
        if by_range.get((block.start, block.stop), block) != block:
            msg = f"{location}: {block} are not what was written; `slaf verify` says what differs"
            raise DamagedDataset(msg)


class PartWriter:
    """The rows of a part in one table, digested while they are written."""

    def __init__(
        self,
        source: Source,
        plan: Plan,
        table: MatrixTable,
        identifiers: AxisIds,
        progress: Progress,
    ) -> None:
        matrices, _ = source_matrices(source, table.table)
        self._matrices = [matrices[column.original] for column in table.values]
        self._source = source
        self._plan = plan
        self._table = table
        self._identifiers = identifiers
        self._progress = progress
        self._schema = table.schema(plan.options)
        self._blocks: dict[str, list[Block]] = {column.name: [] for column in table.values}
        self._statistics: list[Statistics] = []
        self._overflowed: set[str] = set()
        self._beyond_uint16: set[str] = set()
        self._row_counts = [np.empty(0, np.int64)]

    def row_counts(self) -> NDArray[np.int64]:
        """The rows of each cell that was written."""
        return np.concatenate(self._row_counts)

    def write(self, location: Location, cells: RowRange, blocks: Sequence[RowRange]) -> TableResult:
        """Write the rows of these cells, with a digest for each block and value column.

        Raises
        ------
        NeedsWiderType
            If a value needs a wider type than that of its column.
        InexactValue
            If no type holds it.
        """
        name = self._table.table
        directory, appending = self._plan.directory(name), self._plan.adds_to(name)
        batches = self._record_batches(blocks)
        fragments = write_part(location, directory, self._schema, batches, appending=appending)
        return TableResult(
            fragments,
            {column: tuple(written) for column, written in self._blocks.items()},
            file_checksums(location, directory, fragments, TABLES[name].axis, cells),
            dtype_overflowed=tuple(sorted(self._overflowed)),
            beyond_uint16=tuple(sorted(self._beyond_uint16)),
            statistics=Statistics.total(self._statistics),
        )

    def _record_batches(self, blocks: Sequence[RowRange]) -> Iterator[pa.RecordBatch]:
        for block in blocks:
            digests = [BlockDigest() for _ in self._matrices]
            n_rows = [0 for _ in self._matrices]
            for batches in _aligned([matrix.batches(block) for matrix in self._matrices]):
                values = self._cast(batches)
                for at, batch in enumerate(batches):
                    self._update_digest(digests[at], batch, values[at])
                    n_rows[at] += batch.nnz
                yield self._record_batch(batches, values)
                self._progress.advance(len(batches[0].rows), batches[0].nnz)
            for column, digest, n in zip(self._table.values, digests, n_rows, strict=True):
                written = Block((block.start, block.stop), n, digest.hexdigest())
                self._blocks[column.name].append(written)

    def _update_digest(self, digest: BlockDigest, batch: Batch, values: NDArray[Any]) -> None:
        digest.add_lengths(batch.counts)
        has_statistics = self._table.table == EXPRESSION
        are_counts = values.dtype == np.uint16
        if has_statistics and are_counts:
            self._statistics.append(Statistics.of_counts(values))
        for part in RowRange(0, batch.nnz).split(CACHE_ENTRIES):
            # The cast was exact: these are the numbers of the source.
            widened = as_float64(values[part.start : part.stop])
            digest.add_entries(batch.genes[part.start : part.stop], widened)
            if has_statistics and not are_counts:
                self._statistics.append(Statistics.of(widened.values))

    def _cast(self, batches: Sequence[Batch]) -> list[NDArray[Any]]:
        values, misfits = [], {}
        for column, batch in zip(self._table.values, batches, strict=True):
            if overflows_source_dtype(batch, self._source_dtype(column, batch)):
                self._overflowed.add(column.name)
            try:
                values.append(exact_cast(batch.values, np.dtype(column.value_type)))
            except InexactValue:
                misfits[column.name] = self._wider_type(column, batch)
        if misfits:
            raise NeedsWiderType({self._table.table: misfits})
        for column, cast in zip(self._table.values, values, strict=True):
            if cast.dtype == np.uint32 and np.max(cast, initial=0) > np.iinfo(np.uint16).max:
                self._beyond_uint16.add(column.name)
        return values

    def _source_dtype(self, column: ValueColumn, batch: Batch) -> str:
        # Of layers and raw the type is that of all inputs together.
        is_layer = self._table.table != EXPRESSION
        return column.dtype if is_layer else self._plan.source_of(batch.rows.start).dtype

    def _wider_type(self, column: ValueColumn, batch: Batch) -> str:
        allowed = allowed_types(self._plan.options)
        try:
            return str(wider_type(batch.values, column.value_type, allowed))
        except InexactValue as error:
            name, identifiers = self._table.table, self._identifiers
            source = self._plan.source_of(batch.rows.start)
            matrix, remedy = source.matrix, "correct it"
            if name != EXPRESSION:
                matrix = column.description(name)
                remedy = f"correct it, or leave {matrix} out with {column.exclusion(name)}"
            raw = self._source.raw() if name == RAW else None
            if raw is not None:
                identifiers = replace(identifiers, genes=raw.genes.column(0))
            raise unrepresentable_value_error(
                batch, matrix, source, identifiers=identifiers, allowed=allowed, remedy=remedy
            ) from error

    def _record_batch(
        self, batches: Sequence[Batch], values: Sequence[NDArray[Any]]
    ) -> pa.RecordBatch:
        gene_type = np.dtype(
            self._schema.field(TABLES[self._table.table].ids[1]).type.to_pandas_dtype()
        )
        if len(batches) == 1:
            (batch,) = batches
            counts, cells, columns = batch.counts, batch.cells(), list(values)
            genes = batch.gene_ids(gene_type)
        else:
            counts, cells, genes, columns = _union(batches, values)
            genes = genes.astype(gene_type)
        self._row_counts.append(counts.astype(np.int64))
        arrays = [cells, genes, *columns]
        if self._schema.names[0] == "cell_id":
            arrays[:0] = [
                self._identifiers.of_cells(cells).combine_chunks(),
                self._identifiers.of_genes(genes),
            ]
        return pa.record_batch(
            [pa.array(a, field.type) for a, field in zip(arrays, self._schema, strict=True)],
            schema=self._schema,
        )


def _aligned(matrices: list[Iterator[Batch]]) -> Iterator[list[Batch]]:
    """Batches of several matrices, cut where any of them is cut: all of the same cells."""
    heads = [next(batches, None) for batches in matrices]
    while True:
        aligned = [head for head in heads if head is not None]
        if len(aligned) < len(matrices):
            return
        stop = min(batch.rows.stop for batch in aligned)
        cut = [batch.split(stop) for batch in aligned]
        yield [before for before, _ in cut]
        heads = [
            after if len(after.rows) else next(batches, None)
            for (_, after), batches in zip(cut, matrices, strict=True)
        ]


def _union(
    batches: Sequence[Batch], values: Sequence[NDArray[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[Any], list[Any]]:
    """Rows for the entries of any of several matrices: counts, cells, genes and value columns."""
    first, *others = batches
    if all(batch.genes is first.genes for batch in others):
        return first.counts, first.cells(), first.genes, list(values)
    keys = [(batch.cells().astype(np.uint64) << _SHIFT) | batch.genes for batch in batches]
    union = keys[0]
    if not all(np.array_equal(other, union) for other in keys[1:]):
        union = np.unique(np.concatenate(keys))
    cells, rows = union >> _SHIFT, batches[0].rows
    counts = np.bincount((cells - np.uint64(rows.start)).astype(np.int64), minlength=len(rows))
    columns = [_scattered(one, key, union) for one, key in zip(values, keys, strict=True)]
    return counts, cells.astype(np.uint32), union & _LOW_BITS, columns


def _scattered(
    values: NDArray[Any], keys: NDArray[np.uint64], union: NDArray[np.uint64]
) -> NDArray[Any] | pa.Array:
    """The values at their places in the union, and null between them."""
    if len(keys) == len(union):
        return values
    whole = np.zeros(len(union), values.dtype)
    missing = np.ones(len(union), np.bool_)
    at = np.searchsorted(union, keys)
    whole[at], missing[at] = values, False
    return pa.array(whole, mask=missing, from_pandas=False)
