"""From parts on disk to a dataset that readers see: tables first, config.json last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from slaf.annotations.columns import to_lance
from slaf.format.config import (
    LEGACY_DIR,
    LEGACY_TABLES,
    TABLES,
    DatasetConfig,
    Manifest,
    Metadata,
    save,
)
from slaf.format.schema import (
    BY_GENE,
    CELL_COLUMNS,
    CELLS,
    EXPRESSION,
    GENE_COLUMNS,
    GENES,
    START_INDEX,
    common_type,
    indexed_columns,
    read_dtype,
)
from slaf.runs.annotations import (
    UNS_JSON,
    commit_layers,
    remove_leftovers,
    write_annotations,
    write_uns_json,
)
from slaf.runs.checksums import table_digests, with_checksums, with_uns_json_checksum
from slaf.runs.encode import SCRATCH
from slaf.runs.gene_order import commit_gene_order, gene_offsets, gene_order_record
from slaf.runs.row_offsets import all_row_offsets
from slaf.runs.value_types import AxisIds
from slaf.sources.names import unique_names
from slaf.sparse.statistics import Statistics
from slaf.tables.commit import append, commit, keep_version
from slaf.tables.indices import index, index_new_fragments
from slaf.tables.vacuum import remove_unreferenced
from slaf.tables.write import write_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.annotations.columns import ColumnSet
    from slaf.format.config import SourceRecord
    from slaf.format.records import AnnotationsRecord
    from slaf.runs.annotations import EncodedAnnotations
    from slaf.runs.checkpoint import Checkpoint
    from slaf.sources.base import Source
    from slaf.storage.location import Location

__all__ = ["Axes", "cells_table", "clean_up", "genes_table", "publish", "read_axes"]


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


def publish(
    location: Location,
    checkpoint: Checkpoint,
    axes: Axes,
    before: DatasetConfig | None,
    writer: str,
    *,
    kept: EncodedAnnotations,
) -> None:
    """Make a run whose parts are all done the dataset that readers see.

    May be stopped anywhere and done again: each commit replaces the whole table, or is found to
    be there already, and until config.json names the new versions readers keep the old ones.

    Parameters
    ----------
    location
        The dataset.
    checkpoint
        The run.
    axes
        All cells and genes of the result.
    before
        What readers see until now.
    writer
        The program and its release.
    kept
        What stands beside the matrix.
    """
    plan, tables = checkpoint.plan, checkpoint.plan.tables
    starts = all_row_offsets(location, checkpoint, before)
    whole_tables = {
        CELLS: cells_table(axes, starts, plan.sources, kept.cells),
        GENES: genes_table(axes, kept.genes, gene_offsets(location, checkpoint)),
    }
    versions = {
        EXPRESSION: _commit_expression(location, checkpoint),
        **commit_gene_order(location, checkpoint),
        **commit_layers(location, checkpoint),
        CELLS: write_table(location, tables[CELLS], whole_tables[CELLS]),
        GENES: write_table(location, tables[GENES], whole_tables[GENES]),
    }
    whole, beside = write_annotations(location, checkpoint, kept, before, starts)
    versions |= whole
    for name in (CELLS, GENES):
        for column, kind in indexed_columns(
            name, create_indices=plan.options.create_indices
        ).items():
            versions[name] = index(location, tables[name], column, kind)
    published = _describe(checkpoint, axes, versions, before, writer, beside=beside)
    digests = table_digests(whole_tables | dict(kept.tables))
    published = with_checksums(location, checkpoint, published, before, digests)
    done = replace(checkpoint, published=True)
    save(location, Manifest(published, done.to_json()))
    clean_up(location, published)


def clean_up(location: Location, published: DatasetConfig) -> None:
    """Remove what a published run no longer needs, and then its checkpoint."""
    for table, name in published.tables.items():
        remove_unreferenced(location, name, published.versions[table])
    remove_leftovers(location, published)
    write_uns_json(location, published)
    adopted = published.tables[EXPRESSION] == LEGACY_TABLES[EXPRESSION]
    for name in (*(TABLES.values() if adopted else (LEGACY_DIR,)), SCRATCH):
        location.remove(name)
    save(location, Manifest(with_uns_json_checksum(location, published, UNS_JSON)))


def _commit_expression(location: Location, checkpoint: Checkpoint) -> int:
    plan = checkpoint.plan
    fragments = [fragment for result in checkpoint.results() for fragment in result.fragments]
    name = plan.tables[EXPRESSION]
    indices = indexed_columns(EXPRESSION, create_indices=plan.options.create_indices)
    if plan.base is not None and plan.adds_to(EXPRESSION):
        if not fragments:
            return keep_version(location, name, plan.base.versions[EXPRESSION])
        append(location, name, fragments, plan.base.versions[EXPRESSION], plan.run_id)
        return index_new_fragments(location, name, indices)
    version = commit(location, name, plan.schema, fragments)
    for column, kind in indices.items():
        version = index(location, name, column, kind)
    return version


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
    checkpoint: Checkpoint,
    axes: Axes,
    versions: dict[str, int],
    before: DatasetConfig | None,
    writer: str,
    *,
    beside: AnnotationsRecord,
) -> DatasetConfig:
    plan, results = checkpoint.plan, checkpoint.results()
    kept = before if plan.adds_to(EXPRESSION) else None
    known = [] if kept is None else [_statistics_of(kept)]
    statistics = Statistics.total([*known, *(result.statistics for result in results)])
    blocks = tuple(block for result in results for block in result.blocks)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return DatasetConfig(
        n_cells=plan.n_cells,
        n_genes=plan.n_genes,
        versions=versions,
        value_type=plan.value_type,
        dtype=_read_dtype(checkpoint, statistics, before if plan.base else None),
        metadata=Metadata(statistics.count, statistics.summary()),
        columns=axes.columns,
        sources=plan.sources,
        blocks=blocks if kept is None else (*kept.blocks, *blocks),
        optimizations={
            "use_integer_keys": True,
            "optimize_storage": not plan.options.string_ids,
        },
        created_at=before.created_at if before else now,
        last_updated=now,
        writer=writer,
        tables={name: plan.folder(name) for name in versions},
        by_gene=gene_order_record(checkpoint),
        annotations=beside,
    )


def _statistics_of(published: DatasetConfig) -> Statistics:
    return Statistics.from_summary(published.expression_count, published.expression_stats)


def _read_dtype(checkpoint: Checkpoint, statistics: Statistics, base: DatasetConfig | None) -> str:
    """The type that all values are read back in."""
    plan = checkpoint.plan
    dtype_overflowed = {
        plan.source_of(plan.parts[result.index].start).offset
        for result in checkpoint.results()
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
    extremes = (statistics.least or 0.0, statistics.greatest or 0.0)
    return common_type(given, plan.value_type, max(map(abs, extremes)))
