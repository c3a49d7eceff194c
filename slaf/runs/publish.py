"""From parts on disk to a dataset that readers see: tables first, config.json last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from slaf.annotations.columns import to_lance
from slaf.format.config import DatasetConfig, Metadata
from slaf.format.files import FileChecksums
from slaf.format.schema import (
    BY_GENE,
    CELL_COLUMNS,
    CELLS,
    EXPRESSION,
    GENE_COLUMNS,
    GENES,
    START_INDEX,
    common_type,
    read_dtype,
)
from slaf.runs.annotations import layer_changes, write_annotations
from slaf.runs.checksums import storage_options_record, table_digests, with_checksums
from slaf.runs.commit import TableFragments, TableGrowth, TableRows, commit_tables
from slaf.runs.gene_order import gene_offsets, gene_order_change, gene_order_record
from slaf.runs.row_offsets import all_row_offsets
from slaf.runs.value_types import AxisIds
from slaf.sources.names import unique_names
from slaf.sparse.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.annotations.columns import ColumnSet
    from slaf.format.config import SourceRecord
    from slaf.format.records import AnnotationsRecord
    from slaf.runs.annotations import EncodedAnnotations
    from slaf.runs.commit import TableChange
    from slaf.runs.output_run import OutputRun
    from slaf.sources.base import Source

__all__ = ["Axes", "cells_table", "genes_table", "publish", "read_axes"]


@dataclass(frozen=True, slots=True)
class Axes:
    """The cells and the genes as they will be stored, and what their columns were."""

    cells: pa.Table
    genes: pa.Table
    columns: dict[str, ColumnSet]

    @property
    def nbytes(self) -> int:
        """The memory that both tables take."""
        return int(self.cells.nbytes + self.genes.nbytes)

    @property
    def identifiers(self) -> AxisIds:
        """The ids of both."""
        return AxisIds(self.cells.column(0), self.genes.column(0))


def read_axes(source: Source) -> Axes:
    """Read obs and var of a source, which fails here if they cannot be stored."""
    cells, cell_columns = to_lance(source.cells(), CELL_COLUMNS)
    genes, gene_columns = to_lance(source.genes(), GENE_COLUMNS)
    return Axes(cells, genes, {CELLS: cell_columns, GENES: gene_columns})


def publish(run: OutputRun, axes: Axes, writer: str, *, kept: EncodedAnnotations) -> None:
    """Make a run whose parts are all done the dataset that readers see.

    Parameters
    ----------
    run
        The run.
    axes
        All cells and genes of the result.
    writer
        The program and its release.
    kept
        The annotations.
    """
    location, plan = run.location, run.plan
    starts = all_row_offsets(run)
    whole_tables = {
        CELLS: cells_table(axes, starts, plan.sources, kept.cells),
        GENES: genes_table(axes, kept.genes, gene_offsets(run)),
        **kept.tables,
    }
    changes: dict[str, TableChange] = {
        EXPRESSION: _expression_change(run),
        **gene_order_change(run),
        **layer_changes(run),
        **{name: TableRows(plan.folder(name), rows) for name, rows in whole_tables.items()},
    }
    beside = write_annotations(run, kept, starts)
    versions = commit_tables(location, plan, changes)
    dataset = _describe(run, axes, versions, writer, beside=beside)
    stored = storage_options_record(plan.options)
    checksums = FileChecksums((), table_digests(whole_tables), stored)
    run.publish(with_checksums(location, dataset, run.files(), checksums, base=run.base))


def _expression_change(run: OutputRun) -> TableChange:
    plan = run.plan
    fragments = [fragment for result in run.results() for fragment in result.fragments]
    directory = plan.folder(EXPRESSION)
    if plan.base is not None and plan.adds_to(EXPRESSION):
        return TableGrowth(directory, plan.base.versions[EXPRESSION], fragments)
    return TableFragments(directory, plan.schema, fragments)


def cells_table(
    axes: Axes,
    starts: Mapping[str, NDArray[np.int64]],
    sources: Sequence[SourceRecord],
    beside: Mapping[str, pa.Array],
) -> pa.Table:
    """The whole of `cells`.

    Parameters
    ----------
    axes
        With all cells.
    starts
        Where the rows of each cell begin, and after the last, where they end: in `expression` and
        in each table beside it.
    sources
        The inputs.
    beside
        Columns that go behind the user's.
    """
    n_cells = axes.cells.num_rows
    ours: list[tuple[str, Any]] = [
        ("cell_integer_id", pa.array(np.arange(n_cells, dtype=np.uint32))),
        *((START_INDEX[name], pa.array(ends[:n_cells])) for name, ends in starts.items()),
        ("source_file", _source_files(sources)),
    ]
    return _with_columns(axes.cells, ours, beside)


def _source_files(sources: Sequence[SourceRecord]) -> pa.DictionaryArray:
    """For each cell the name of the input it came from, which tells it from the others."""
    names = unique_names([source.uri for source in sources])
    distinct = list(dict.fromkeys(names))
    codes = np.array([distinct.index(name) for name in names], np.int32)
    of_cells = np.repeat(codes, [source.n_cells for source in sources])
    return pa.DictionaryArray.from_arrays(of_cells, pa.array(distinct, pa.string()))


def genes_table(
    axes: Axes, beside: Mapping[str, pa.Array], ends: NDArray[np.int64] | None
) -> pa.Table:
    """The whole of `genes`.

    Parameters
    ----------
    axes
        With all genes.
    beside
        Columns that go behind the user's.
    ends
        Where the rows of each gene begin in `expression_by_gene`, and after the last, where they
        end; None without that table.
    """
    n_genes = axes.genes.num_rows
    ours: list[tuple[str, Any]] = [
        ("gene_integer_id", pa.array(np.arange(n_genes, dtype=np.uint32)))
    ]
    if ends is not None:
        ours.append((START_INDEX[BY_GENE], pa.array(ends[:n_genes])))
    return _with_columns(axes.genes, ours, beside)


def _with_columns(
    table: pa.Table, ours: list[tuple[str, Any]], beside: Mapping[str, pa.Array]
) -> pa.Table:
    """The table with our columns behind its first, the id, and what stands beside at its end."""
    for position, (name, values) in enumerate(ours, start=1):
        table = table.add_column(position, name, values)
    for name, values in beside.items():
        table = table.append_column(name, values)
    return table


def _describe(
    run: OutputRun,
    axes: Axes,
    versions: dict[str, int],
    writer: str,
    *,
    beside: AnnotationsRecord,
) -> DatasetConfig:
    plan, results, previous = run.plan, run.results(), run.previous
    kept = previous if plan.adds_to(EXPRESSION) else None
    known = [] if kept is None else [_statistics_of(kept)]
    statistics = Statistics.total([*known, *(result.statistics for result in results)])
    blocks = tuple(block for result in results for block in result.blocks)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return DatasetConfig(
        n_cells=plan.n_cells,
        n_genes=plan.n_genes,
        versions=versions,
        value_type=plan.value_type,
        dtype=_read_dtype(run, statistics),
        metadata=Metadata(statistics.count, statistics.summary()),
        columns=axes.columns,
        sources=plan.sources,
        blocks=blocks if kept is None else (*kept.blocks, *blocks),
        optimizations={
            "use_integer_keys": True,
            "optimize_storage": not plan.options.string_ids,
        },
        created_at=previous.created_at if previous else now,
        last_updated=now,
        writer=writer,
        tables={name: plan.folder(name) for name in versions},
        by_gene=gene_order_record(run),
        annotations=beside,
    )


def _statistics_of(published: DatasetConfig) -> Statistics:
    return Statistics.from_summary(published.expression_count, published.expression_stats)


def _read_dtype(run: OutputRun, statistics: Statistics) -> str:
    """The type that all values are read back in."""
    plan, base = run.plan, run.base
    dtype_overflowed = {
        plan.source_of(plan.parts[result.index].start).offset
        for result in run.results()
        if result.dtype_overflowed
    }
    given = [
        read_dtype(
            source.dtype, plan.value_type, dtype_overflowed=source.offset in dtype_overflowed
        )
        for source in (plan.sources if base is None else plan.added)
    ]
    if base is not None:
        given.insert(0, base.dtype)
    extremes = (statistics.minimum or 0.0, statistics.maximum or 0.0)
    return common_type(given, plan.value_type, max(map(abs, extremes)))
