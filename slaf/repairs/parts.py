"""Rewrite damaged parts from the inputs, and compare them with their digests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeAlias, TypeVar
from uuid import uuid4

from slaf.errors import DamagedDataset, SourceChanged
from slaf.format.schema import BY_GENE, EXPRESSION
from slaf.runs.checksums import file_checksums
from slaf.runs.encode import NeedsWiderType, PartWriter
from slaf.runs.journal import PartResult
from slaf.runs.layers import (
    LayerPartWriter,
    LayerResult,
    LayerTable,
    NeedsWiderLayerType,
)
from slaf.runs.plan import Plan
from slaf.sparse.ranges import RowRange
from slaf.sparse.statistics import Statistics
from slaf.tables.write import write_part

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from slaf.format.config import DatasetConfig
    from slaf.format.files import StoredFile
    from slaf.format.records import Block, GeneOrderRecord
    from slaf.repairs.damage import Damage
    from slaf.runs.gene_order import GeneOrder
    from slaf.runs.journal import GenePart
    from slaf.runs.value_types import AxisIds
    from slaf.runtime.progress import Progress
    from slaf.sources.concat.source import Concat
    from slaf.storage.location import Location
    from slaf.tables.fragments import Fragment

__all__ = ["plan_repair", "rewrite_genes", "rewrite_part"]

Files: TypeAlias = "tuple[StoredFile, ...]"
SomeBlock = TypeVar("SomeBlock", bound="Block")


def plan_repair(published: DatasetConfig, damage: Damage) -> Plan:
    """The plan of a run that rewrites the damaged parts of a dataset."""
    return Plan.of_dataset(
        published,
        operation="repair",
        options=published.store_options,
        parts=tuple(damage.parts),
        tables={
            table: _new_directory(table, directory) if table in damage.unreadable else directory
            for table, directory in published.tables.items()
        },
    )


def _new_directory(table: str, directory: str) -> str:
    """A new directory for a table that Lance cannot open."""
    return str(PurePosixPath(directory).with_name(f"{table}-{uuid4().hex[:8]}.lance"))


def rewrite_part(
    source: Concat,
    plan: Plan,
    index: int,
    location: Location,
    *,
    tables: frozenset[str],
    published: DatasetConfig,
    identifiers: AxisIds,
    progress: Progress,
) -> PartResult:
    """Write a damaged part again, into files that no table version names yet.

    Parameters
    ----------
    tables
        The tables in which its rows are damaged.
    published
        The damaged dataset, with the digests of its rows.
    progress
        Advanced by the rows of `expression`.

    Raises
    ------
    SourceChanged
        If the inputs differ from what was converted.
    """
    rows = plan.parts[index]
    part = _PartRepair(source, plan, location, identifiers, published, rows)
    try:
        layers = {
            layer_table.table: part.write_layers(layer_table)
            for layer_table in plan.companions
            if layer_table.table in tables
        }
        fragments, files = part.write_expression(progress) if EXPRESSION in tables else ([], ())
    except (NeedsWiderLayerType, NeedsWiderType) as error:
        # The converted values fit into the stored types.
        msg = f"cells {rows.start} to {rows.stop} hold values that were not converted"
        raise _source_changed(source, msg) from error
    return PartResult(index, fragments, part.blocks, Statistics(), companions=layers, files=files)


@dataclass(frozen=True, slots=True)
class _PartRepair:
    """The rows of some cells, which are written again and compared with their digests."""

    source: Concat
    plan: Plan
    location: Location
    identifiers: AxisIds
    published: DatasetConfig
    rows: RowRange

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The recorded checksum blocks of the rows."""
        return _blocks_within(self.published.blocks, self.rows)

    def write_expression(self, progress: Progress) -> tuple[list[Fragment], Files]:
        writer = PartWriter(self.source, self.plan, self.identifiers, progress)
        written = self._write(EXPRESSION, self.plan.schema, writer)
        self._check("the matrix", writer.blocks, self.blocks)
        return written

    def write_layers(self, layer_table: LayerTable) -> LayerResult:
        writer = LayerPartWriter(self.source, layer_table, self.plan, self.identifiers)
        result = writer.result(*self._write(layer_table.table, writer.schema, writer))
        for matrix in self.published.annotations.matrices()[layer_table.table]:
            what = f"{layer_table.table}, {matrix.original}"
            recorded = _blocks_within(matrix.blocks, self.rows)
            self._check(what, result.blocks[matrix.name], recorded)
        return result

    def _write(
        self, table: str, schema: pa.Schema, writer: PartWriter | LayerPartWriter
    ) -> tuple[list[Fragment], Files]:
        directory = self.plan.folder(table)
        ranges = [RowRange(block.start, block.stop) for block in self.blocks]
        fragments = write_part(self.location, directory, schema, writer.record_batches(ranges))
        return fragments, file_checksums(self.location, directory, fragments, self.rows)

    def _check(self, what: str, blocks: Sequence[Block], recorded: Sequence[Block]) -> None:
        for block, expected in zip(blocks, recorded, strict=True):
            if block != expected:
                msg = f"in {what}, {expected} are not what was converted"
                raise _source_changed(self.source, msg)


def rewrite_genes(
    rows: GeneOrder, genes: RowRange, *, recorded: GeneOrderRecord | None, plan: Plan
) -> GenePart:
    """Sort the rows of some genes again, into files that no table version names yet.

    Parameters
    ----------
    rows
        All rows in gene order.
    genes
        The genes whose rows are damaged.
    recorded
        The record of the table, with the digests of its rows.
    plan
        The plan of the repair.

    Raises
    ------
    DamagedDataset
        If the rows in cell order are not the rows that were sorted first.
    """
    blocks = _blocks_within(() if recorded is None else recorded.blocks, genes)
    part = rows.write(tuple(RowRange(block.start, block.stop) for block in blocks), plan)
    for sorted_block, block in zip(part.blocks, blocks, strict=True):
        if sorted_block != block:
            msg = f"{plan.folder(BY_GENE)}: {block}, sorted again, are not what was sorted first"
            raise DamagedDataset(msg)
    return part


def _blocks_within(blocks: Sequence[SomeBlock], rows: RowRange) -> tuple[SomeBlock, ...]:
    return tuple(b for b in blocks if rows.start <= b.start and b.stop <= rows.stop)


def _source_changed(source: Concat, what: str) -> SourceChanged:
    return SourceChanged(
        f"{source.info.uri}: {what}, so nothing is repaired; give the inputs as they were"
    )
