"""The rows of some cells, written again from the inputs and held against their digests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar
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
    recorded_layer_tables,
)
from slaf.runs.plan import BaseDataset, Plan
from slaf.sparse.ranges import RowRange
from slaf.sparse.statistics import Statistics
from slaf.tables.write import write_part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slaf.format.config import DatasetConfig
    from slaf.format.files import StoredFile
    from slaf.format.records import Block, GeneOrderRecord, MatrixRecord
    from slaf.repairs.damage import Damage
    from slaf.runs.gene_order import GeneOrder
    from slaf.runs.journal import GenePart
    from slaf.runs.value_types import AxisIds
    from slaf.runtime.progress import Progress
    from slaf.sources.concat.source import Concat
    from slaf.storage.location import Location
    from slaf.tables.fragments import Fragment

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
        value_type=published.value_type,
        block_cells=max((block.stop - block.start for block in published.blocks), default=1),
        parts=tuple(survey.parts),
        companions=recorded_layer_tables(published),
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


@dataclass(frozen=True, slots=True)
class _PartRepair:
    """One part that is written again."""

    source: Concat
    plan: Plan
    location: Location
    identifiers: AxisIds
    rows: RowRange
    blocks: tuple[Block, ...]

    def expression(self, progress: Progress) -> tuple[list[Fragment], tuple[StoredFile, ...]]:
        part = PartWriter(self.source, self.plan, self.identifiers, progress)
        ranges = [RowRange(block.start, block.stop) for block in self.blocks]
        directory = self.plan.folder(EXPRESSION)
        batches = part.record_batches(ranges)
        fragments = write_part(self.location, directory, self.plan.schema, batches)
        self._check("the matrix", part.blocks, self.blocks)
        return fragments, file_checksums(self.location, directory, fragments, self.rows)

    def companion(self, companion: LayerTable, recorded: Mapping[str, MatrixRecord]) -> LayerResult:
        part = LayerPartWriter(self.source, companion, self.plan, self.identifiers)
        directory = self.plan.folder(companion.table)
        batches = part.record_batches(RowRange(block.start, block.stop) for block in self.blocks)
        fragments = write_part(self.location, directory, part.schema, batches)
        found = part.result(
            fragments, file_checksums(self.location, directory, fragments, self.rows)
        )
        for name, blocks in found.blocks.items():
            what = f"{companion.table}, {recorded[name].original}"
            self._check(what, blocks, _within(recorded[name].blocks, self.rows))
        return found

    def _check(self, what: str, found: Sequence[Block], recorded: Sequence[Block]) -> None:
        for one, known in zip(found, recorded, strict=True):
            if one != known:
                raise _changed(self.source, f"in {what}, {known} are not what was converted")


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
    rows = plan.parts[index]
    blocks = _within(published.blocks, rows)
    part = _PartRepair(source, plan, location, identifiers, rows, blocks)
    recorded = _matrices(published)
    try:
        companions = {
            one.table: part.companion(one, recorded[one.table])
            for one in plan.companions
            if one.table in tables
        }
        fragments, files = part.expression(progress) if EXPRESSION in tables else ([], ())
    except (NeedsWiderLayerType, NeedsWiderType) as error:
        # What was converted fits the types that it is stored in.
        msg = f"cells {rows.start} to {rows.stop} hold values that were not converted"
        raise _changed(source, msg) from error
    nothing = Statistics()
    return PartResult(index, fragments, blocks, nothing, companions=companions, files=files)


def rewrite_genes(
    rows: GeneOrder, genes: RowRange, *, recorded: GeneOrderRecord | None, plan: Plan
) -> GenePart:
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
    known = _within(() if recorded is None else recorded.blocks, genes)
    part = rows.write(tuple(RowRange(one.start, one.stop) for one in known), plan)
    for one, block in zip(part.blocks, known, strict=True):
        if one != block:
            msg = f"{plan.folder(BY_GENE)}: {block}, sorted again, are not what was sorted first"
            raise DamagedDataset(msg)
    return part


def _matrices(published: DatasetConfig) -> dict[str, dict[str, MatrixRecord]]:
    """What was recorded of each column of values, by the table and the column."""
    found = published.annotations.matrices()
    return {table: {one.name: one for one in matrices} for table, matrices in found.items()}


def _within(blocks: Sequence[SomeBlock], rows: RowRange) -> tuple[SomeBlock, ...]:
    return tuple(b for b in blocks if rows.start <= b.start and b.stop <= rows.stop)


def _changed(source: Concat, what: str) -> SourceChanged:
    return SourceChanged(
        f"{source.info.uri}: {what}, so nothing is mended; give the inputs as they were"
    )
