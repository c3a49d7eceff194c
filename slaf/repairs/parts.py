"""The rows of some cells, written again from the inputs and held against their digests."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from msgspec import structs

from slaf.errors import DamagedDataset, SourceChanged
from slaf.format.schema import EXPRESSION, VALUE
from slaf.runs.encode import NeedsWiderType, PartWriter
from slaf.runs.journal import PartResult
from slaf.runs.matrix_tables import recorded_matrix_tables
from slaf.runs.plan import BaseDataset, Plan
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


def plan_repair(published: DatasetConfig, survey: Damage) -> Plan:
    """The plan of a run that writes the damaged parts of a dataset again."""
    return Plan(
        operation="repair",
        sources=published.sources,
        n_cells=published.n_cells,
        n_genes=published.n_genes,
        options=published.store_options,
        block_cells=max((block.stop - block.start for block in published.blocks), default=1),
        parts=tuple(survey.parts),
        matrix_tables=recorded_matrix_tables(published),
        base=BaseDataset(
            n_cells=published.n_cells,
            n_sources=len(published.sources),
            versions=published.versions,
        ),
        tables={
            table: _new_directory(table, directory) if table in survey.unopened else directory
            for table, directory in published.tables.items()
        },
    )


def _new_directory(table: str, directory: str) -> str:
    """A directory for a table that Lance cannot open any more, next to the one that it has."""
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
    """Write one damaged part again, into files that no table names yet.

    Parameters
    ----------
    tables
        Those of which its rows are damaged.
    published
        What the rows have to be.
    progress
        Told of what was written of `expression`.

    Raises
    ------
    SourceChanged
        If the inputs do not give what was converted.
    """
    cells = plan.parts[index]
    ranges = [RowRange(one.start, one.stop) for one in _within(published.blocks, cells)]
    results = {}
    for table in plan.matrix_tables:
        if table.table not in tables:
            continue
        advance = progress if table.table == EXPRESSION else NullProgress()
        writer = PartWriter(source, plan, table, identifiers, advance)
        try:
            result = results[table.table] = writer.write(location, cells, ranges)
        except NeedsWiderType as error:
            # What was converted fits the types that it is stored in.
            what = f"cells {cells.start} to {cells.stop} hold values that were not converted"
            raise _changed(source, what) from error
        _check_blocks(source, table, result, published)
    return PartResult("cells", index, cells, results)


def _check_blocks(
    source: Concat, table: MatrixTable, result: TableResult, published: DatasetConfig
) -> None:
    recorded = published.blocks_of(table.table)
    for column in table.values:
        is_main = table.table == EXPRESSION
        matrix = "the matrix" if is_main else f"{table.table}, {column.original}"
        by_range = {block.span: block for block in recorded[column.name]}
        for block in result.blocks[column.name]:
            if by_range[block.span] != block:
                raise _changed(source, f"in {matrix}, {block} are not what was converted")


def rewrite_genes(
    rows: GeneOrder, genes: RowRange, *, recorded: GeneOrderRecord | None, plan: Plan
) -> PartResult:
    """Sort the rows of some genes again, into files that no table names yet.

    Parameters
    ----------
    rows
        All rows in the order of genes.
    genes
        Those whose rows are damaged.
    recorded
        What the rows have to be.
    plan
        The repair.

    Raises
    ------
    DamagedDataset
        If the rows in the order of cells are not those that were sorted.
    """
    expected = _within(() if recorded is None else recorded.blocks, genes)
    part = rows.write(tuple(RowRange(one.start, one.stop) for one in expected), plan)
    for table, result in part.tables.items():
        for written, block in zip(result.blocks[VALUE], expected, strict=True):
            if structs.astuple(written) != structs.astuple(block):
                where = f"{plan.directory(table)}: {block}"
                msg = f"{where}, sorted again, are not what was sorted first"
                raise DamagedDataset(msg)
    return part


def _within(blocks: Sequence[SomeBlock], rows: RowRange) -> tuple[SomeBlock, ...]:
    return tuple(b for b in blocks if rows.start <= b.start and b.stop <= rows.stop)


def _changed(source: Concat, what: str) -> SourceChanged:
    return SourceChanged(
        f"{source.info.uri}: {what}, so nothing is mended; give the inputs as they were"
    )
