"""One part: the source's cells, cast exactly, as uncommitted fragments with their digests."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from slaf.errors import DamagedDataset, InexactValue
from slaf.format.digests import BlockDigest
from slaf.format.records import Block
from slaf.format.schema import EXPRESSION, allowed_types
from slaf.runs.checksums import file_checksums
from slaf.runs.journal import PartResult, write_row_counts
from slaf.runs.layers import LayerPartWriter, LayerResult, LayerTable, NeedsWiderLayerType
from slaf.runs.value_types import overflows_source_dtype, unrepresentable_value_error
from slaf.sparse.casting import CACHE_ENTRIES, as_float64, exact_cast
from slaf.sparse.ranges import RowRange
from slaf.sparse.statistics import Statistics
from slaf.tables.write import write_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.runs.plan import Plan
    from slaf.runs.value_types import AxisIds
    from slaf.runtime.progress import Progress
    from slaf.sources.base import Source
    from slaf.sparse.batch import Batch
    from slaf.storage.location import Location

__all__ = ["NeedsWiderType", "PartWriter", "encode_part"]

_LENGTHS = np.dtype("<u4")


class NeedsWiderType(Exception):
    """A value is not held exactly by the plan's type: the run begins again with a wider one.

    Parameters
    ----------
    wider
        The plan that it begins again with.
    table
        In which it did not fit.
    """

    def __init__(self, wider: Plan, table: str = EXPRESSION) -> None:
        super().__init__(wider.value_type)
        self.wider = wider
        self.table = table


def encode_part(
    source: Source,
    plan: Plan,
    index: int,
    location: Location,
    *,
    identifiers: AxisIds,
    kept: Mapping[str, Sequence[Block]] = MappingProxyType({}),
    progress: Progress,
) -> PartResult:
    """Write one part of a plan; when this returns, all of it is on disk.

    Nothing is shared with other parts: any number may be written at once, in any order.

    Parameters
    ----------
    kept
        The blocks of the dataset that is added to, by table, and column of values as in
        "layers.spliced": what is written again must be what they say.
    progress
        Told of each batch that was handed on.

    Raises
    ------
    NeedsWiderType
        If the plan's type does not hold a value that another type holds.
    InexactValue
        If no type does.
    DamagedDataset
        If what is written again is not what was written first.
    """
    blocks = list(_blocks(plan, plan.parts[index], kept.get(EXPRESSION, ())))
    # First: they are the likelier ones to ask for a wider type.
    companions = {
        companion.table: _encode_layers(
            source, plan, companion, index, location, identifiers=identifiers, blocks=blocks
        )
        for companion in plan.companions
        if plan.writes(index, companion.table)
    }
    for table, result in companions.items():
        for name, found in result.blocks.items():
            _check(location, found, kept.get(f"{table}.{name}", ()))
    if not plan.writes(index, EXPRESSION):
        progress.advance(len(plan.parts[index]), 0)
        return PartResult(index, [], (), Statistics(), companions=companions)
    part = PartWriter(source, plan, identifiers, progress)
    fragments = write_part(
        location,
        plan.folder(EXPRESSION),
        plan.schema,
        part.record_batches(blocks),
        appending=plan.adds_to(EXPRESSION),
    )
    _check(location, part.blocks, kept.get(EXPRESSION, ()))
    write_row_counts(location, plan, EXPRESSION, index, part.lengths())
    statistics = Statistics.total(part.statistics)
    files = file_checksums(location, plan.folder(EXPRESSION), fragments, plan.parts[index])
    return PartResult(
        index, fragments, tuple(part.blocks), statistics, part.dtype_overflowed, companions, files
    )


def _blocks(plan: Plan, rows: RowRange, kept: Sequence[Block]) -> Iterator[RowRange]:
    # Of what another program wrote there are no blocks yet.
    if plan.base is None or not kept or rows.start >= plan.base.n_cells:
        yield from rows.split(plan.block_cells)
        return
    for block in kept:
        if rows.start <= block.start and block.stop <= rows.stop:
            yield RowRange(block.start, block.stop)


def _check(location: Location, blocks: Sequence[Block], kept: Sequence[Block]) -> None:
    there = {(block.start, block.stop): block for block in kept}
    for block in blocks:
        known = there.get((block.start, block.stop), block)
        if known != block:
            msg = f"{location}: {block} are not what was written; `slaf verify` says what differs"
            raise DamagedDataset(msg)


def _encode_layers(
    source: Source,
    plan: Plan,
    companion: LayerTable,
    index: int,
    location: Location,
    *,
    identifiers: AxisIds,
    blocks: Sequence[RowRange],
) -> LayerResult:
    part = LayerPartWriter(source, companion, plan, identifiers)
    name, adds = plan.folder(companion.table), plan.adds_to(companion.table)
    batches = part.record_batches(blocks)
    try:
        fragments = write_part(location, name, part.schema, batches, appending=adds)
    except NeedsWiderLayerType as misfit:
        raise NeedsWiderType(plan.with_companion(misfit.wider), companion.table) from None
    write_row_counts(location, plan, companion.table, index, part.lengths())
    return part.result(fragments, file_checksums(location, name, fragments, plan.parts[index]))


class PartWriter:
    """What is learned of a part while its rows pass by."""

    def __init__(
        self,
        source: Source,
        plan: Plan,
        identifiers: AxisIds,
        progress: Progress,
    ) -> None:
        self.blocks: list[Block] = []
        self.statistics: list[Statistics] = []
        self.dtype_overflowed = False
        self._lengths: list[NDArray[Any]] = []
        self._source = source
        self._plan = plan
        self._identifiers = identifiers
        self._progress = progress

    def lengths(self) -> NDArray[Any]:
        """Nonzeros of each cell so far."""
        return np.concatenate([np.empty(0, _LENGTHS), *self._lengths])

    def record_batches(self, blocks: Sequence[RowRange]) -> Iterator[pa.RecordBatch]:
        """The rows of these blocks, digested on the way."""
        for block in blocks:
            digest, n_rows = BlockDigest(), 0
            for batch in self._source.matrix().batches(block):
                values = self._cast(batch)
                digest.add_lengths(batch.counts)
                self._learn(digest, batch.genes, values)
                self.dtype_overflowed |= overflows_source_dtype(
                    batch, self._plan.source_of(batch.rows.start).dtype
                )
                self._lengths.append(batch.counts.astype(_LENGTHS))
                n_rows += batch.nnz
                yield self._record_batch(batch, values)
                self._progress.advance(len(batch.rows), batch.nnz)
            self.blocks.append(Block((block.start, block.stop), n_rows, digest.hexdigest()))

    def _learn(self, digest: BlockDigest, genes: NDArray[Any], values: NDArray[Any]) -> None:
        for part in RowRange(0, len(values)).split(CACHE_ENTRIES):
            # The same numbers as before they were cast.
            widened = as_float64(values[part.start : part.stop])
            digest.add_entries(genes[part.start : part.stop], widened)
            self.statistics.append(Statistics.of(widened.values))

    def _cast(self, batch: Batch) -> NDArray[Any]:
        dtype = np.dtype(self._plan.value_type)
        try:
            return exact_cast(batch.values, dtype)
        except InexactValue:
            raise NeedsWiderType(self._wider(batch)) from None

    def _wider(self, batch: Batch) -> Plan:
        try:
            return self._plan.widened(batch.values)
        except InexactValue as error:
            source = self._plan.source_of(batch.rows.start)
            allowed = allowed_types(self._plan.options)
            raise unrepresentable_value_error(
                batch,
                source.matrix,
                source,
                identifiers=self._identifiers,
                allowed=allowed,
                remedy="correct it",
            ) from error

    def _record_batch(self, batch: Batch, values: NDArray[Any]) -> pa.RecordBatch:
        schema = self._plan.schema
        cells = batch.cells()
        gene_type = np.dtype(schema.field("gene_integer_id").type.to_pandas_dtype())
        arrays = [cells, batch.gene_ids(gene_type), values]
        if self._plan.options.string_ids:
            arrays[:0] = [
                self._identifiers.cells.take(pa.array(cells)).combine_chunks(),
                self._identifiers.genes.take(pa.array(batch.genes)).combine_chunks(),
            ]
        columns = [
            pa.array(values, field.type) for values, field in zip(arrays, schema, strict=True)
        ]
        return pa.record_batch(columns, schema=schema)
