"""Rewrite damaged parts from the inputs, and compare them with their digests."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from msgspec import structs

from slaf.errors import DamagedDataset, SourceChanged
from slaf.format.schema import EXPRESSION, VALUE
from slaf.runs.encode import NeedsWiderType, PartWriter
from slaf.runs.journal import PartResult
from slaf.runs.matrix_tables import MatrixTable
from slaf.runs.plan import Plan
from slaf.runtime.progress import NullProgress
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slaf.format.config import DatasetConfig
    from slaf.format.records import Block, GeneOrderRecord
    from slaf.repairs.damage import Damage
    from slaf.runs.gene_order import GeneOrder
    from slaf.runs.journal import TableResult
    from slaf.runs.matrix_tables import MatrixTable
    from slaf.runs.value_types import AxisIds
    from slaf.runtime.progress import Progress
    from slaf.sources.concat.source import Concat
    from slaf.storage.location import Location

__all__ = ["plan_repair", "rewrite_genes", "rewrite_part"]

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
    cells = plan.parts[index]
    ranges = [RowRange(b.start, b.stop) for b in _blocks_within(published.blocks, cells)]
    results = {}
    for table in plan.matrix_tables:
        if table.table not in tables:
            continue
        advance = progress if table.table == EXPRESSION else NullProgress()
        writer = PartWriter(source, plan, table, identifiers, advance)
        try:
            result = results[table.table] = writer.write(location, cells, ranges)
        except NeedsWiderType as error:
            # The converted values fit into the stored types.
            msg = f"cells {cells.start} to {cells.stop} hold values that were not converted"
            raise _source_changed(source, msg) from error
        _check_blocks(source, table, result, published)
    return PartResult("cells", index, cells, results)


def _check_blocks(
    source: Concat, table: MatrixTable, result: TableResult, published: DatasetConfig
) -> None:
    """Compare the written rows with the recorded digests."""
    recorded = published.blocks_of(table.table)
    for column in table.values:
        is_main = table.table == EXPRESSION
        label = "the matrix" if is_main else f"{table.table}, {column.original}"
        by_range = {block.span: block for block in recorded[column.name]}
        for block in result.blocks[column.name]:
            if by_range[block.span] != block:
                msg = f"in {label}, {block} are not what was converted"
                raise _source_changed(source, msg)


def rewrite_genes(
    rows: GeneOrder, genes: RowRange, *, recorded: GeneOrderRecord | None, plan: Plan
) -> PartResult:
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
    expected = _blocks_within(() if recorded is None else recorded.blocks, genes)
    part = rows.write(tuple(RowRange(block.start, block.stop) for block in expected), plan)
    for table, result in part.tables.items():
        for written, block in zip(result.blocks[VALUE], expected, strict=True):
            if structs.astuple(written) != structs.astuple(block):
                label = f"{plan.directory(table)}: {block}"
                msg = f"{label}, sorted again, are not what was sorted first"
                raise DamagedDataset(msg)
    return part


def _blocks_within(blocks: Sequence[SomeBlock], rows: RowRange) -> tuple[SomeBlock, ...]:
    return tuple(b for b in blocks if rows.start <= b.start and b.stop <= rows.stop)


def _source_changed(source: Concat, difference: str) -> SourceChanged:
    return SourceChanged(
        f"{source.info.uri}: {difference}, so nothing is repaired; give the inputs as they were"
    )
