"""From parts on disk to a dataset that readers see: tables first, config.json last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from slaf.annotations.columns import fill_columns, to_lance
from slaf.annotations.lazy_table import LazyTable
from slaf.format.config import DatasetConfig, Metadata
from slaf.format.files import FileChecksums
from slaf.format.schema import (
    CELL_COLUMNS,
    CELLS,
    EXPRESSION,
    GENE_COLUMNS,
    GENES,
    SOURCE_FILE,
    TABLES,
    VALUE,
    common_type,
    narrowest_count,
    partitioned_tables,
    read_dtype,
)
from slaf.runs.annotated import with_annotated_digests
from slaf.runs.annotations import write_annotations
from slaf.runs.checksums import storage_options_record, table_digests, with_checksums
from slaf.runs.commit import TableFragments, TableGrowth, TableRows, commit_tables
from slaf.runs.computed import with_computed
from slaf.runs.gene_order import gene_order_record
from slaf.runs.row_offsets import all_row_offsets
from slaf.runs.value_types import AxisIds
from slaf.sources.names import unique_names
from slaf.sparse.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.annotations.columns import ColumnSet
    from slaf.annotations.lazy_table import AnyTable
    from slaf.format.config import SourceRecord
    from slaf.format.records import AnnotationsRecord
    from slaf.runs.annotations import EncodedAnnotations
    from slaf.runs.commit import TableChange
    from slaf.runs.output_run import OutputRun
    from slaf.sources.base import Source

__all__ = [
    "Axes",
    "cells_table",
    "genes_table",
    "publish",
    "read_axes",
    "source_files",
    "with_annotated",
    "with_plain_ids",
]


@dataclass(frozen=True, slots=True)
class Axes:
    """The cells and the genes as they will be stored, and what their columns were."""

    cells: pa.Table
    genes: AnyTable
    columns: dict[str, ColumnSet]

    @property
    def nbytes(self) -> int:
        """The memory that both tables take."""
        return int(self.cells.nbytes + self.genes.nbytes)

    @property
    def identifiers(self) -> AxisIds:
        """The ids of both."""
        return AxisIds(self.cells.column(0), self.genes.column(0))


def read_axes(source: Source, *, measured: bool = False) -> Axes:
    """Read obs and var of a source, which fails here if they cannot be stored.

    Parameters
    ----------
    source
        The source.
    measured
        Whether to measure what is known once values are read, which a run records with its parts.
    """
    table = source.measured_cells() if measured else source.cells()
    cells, cell_columns = to_lance(table, CELL_COLUMNS)
    genes, gene_columns = to_lance(source.lazy_genes(), GENE_COLUMNS)
    return Axes(cells, genes, {CELLS: cell_columns, GENES: gene_columns})


def publish(run: OutputRun, axes: Axes, writer: str, annotations: EncodedAnnotations) -> None:
    """Make a run whose parts are all done the dataset that readers see.

    Parameters
    ----------
    run
        The run.
    axes
        All cells and genes of the result.
    writer
        The program and its release.
    annotations
        The annotations of the result.
    """
    location, plan, axes = run.location, run.plan, _with_measured(axes, run)
    offsets = all_row_offsets(run)
    whole_tables = {
        CELLS: cells_table(axes.cells, offsets, annotations.cells, plan.sources),
        GENES: genes_table(axes.genes, offsets, annotations.genes),
        **annotations.tables,
    }
    if plan.options.plain_types:
        whole_tables = {name: with_plain_ids(name, rows) for name, rows in whole_tables.items()}
    changes: dict[str, TableChange] = {
        **{
            spec.name: _partitioned_change(run, spec.name, offsets[spec.name])
            for spec in plan.partitioned
        },
        **{name: TableRows(plan.directory(name), rows) for name, rows in whole_tables.items()},
    }
    record = write_annotations(run, annotations, offsets)
    versions = commit_tables(location, plan, changes)
    dataset = _describe(run, axes, versions, writer, annotations=record)
    stored = storage_options_record(plan)
    checksums = FileChecksums((), table_digests(whole_tables), stored)
    dataset = with_checksums(location, dataset, run.files(), checksums, base=run.base)
    # Its tables can be read now that their files are recorded.
    run.publish(with_annotated(run, dataset, run.base))


def with_annotated(
    run: OutputRun, dataset: DatasetConfig, base: DatasetConfig | None
) -> DatasetConfig:
    """A committed dataset whose cells changed, with its metrics and the record of annotations.

    Parameters
    ----------
    run
        The run that changed the cells.
    dataset
        The record, with the checksums of its files.
    base
        The dataset before.
    """
    dataset = with_computed(run, dataset, base)
    record = dataset.annotated
    return dataset if record is None else with_annotated_digests(run.location, dataset, record)


def _with_measured(axes: Axes, run: OutputRun) -> Axes:
    """The cells with the columns that were measured with their values."""
    measured = {part.rows: part.measured for part in run.parts()}
    originals = [column.original for column in axes.columns[CELLS].columns]
    return replace(axes, cells=fill_columns(axes.cells, originals, measured))


def _partitioned_change(run: OutputRun, table: str, offsets: NDArray[np.int64]) -> TableChange:
    plan, directory = run.plan, run.plan.directory(table)
    fragments = [fragment for result in run.results(table) for fragment in result.fragments]
    if plan.base is not None and plan.adds_to(table):
        return TableGrowth(directory, plan.base.versions[table], fragments, offsets)
    return TableFragments(directory, plan.schema(table), fragments, offsets)


def cells_table(
    cells: pa.Table,
    offsets: Mapping[str, NDArray[np.int64]],
    annotations: Mapping[str, pa.Array],
    sources: Sequence[SourceRecord],
) -> pa.Table:
    """The whole of `cells`.

    Parameters
    ----------
    cells
        The ids of all cells, and the user's columns.
    offsets
        The row offsets of the tables that are written in parts.
    annotations
        Columns that go behind the user's.
    sources
        The inputs.
    """
    more = {SOURCE_FILE: source_files(sources)}
    columns = _axis_columns(CELLS, cells.num_rows, offsets, more)
    return _with_columns(columns, annotations, cells)


def genes_table(
    genes: AnyTable, offsets: Mapping[str, NDArray[np.int64]], annotations: Mapping[str, pa.Array]
) -> AnyTable:
    """The whole of `genes`; the parameters are those of `cells_table`."""
    columns = _axis_columns(GENES, genes.num_rows, offsets, {})
    if isinstance(genes, LazyTable):
        return genes.mapped(partial(_with_columns, columns, annotations), "with positions")
    return _with_columns(columns, annotations, genes)


def with_plain_ids(name: str, table: AnyTable) -> AnyTable:
    """A table that is written whole, with int32 ids: readers without unsigned integers join them.

    Parameters
    ----------
    name, table
        `cells`, `genes`, `raw_genes` or a table of pairs.
    """
    fields = [
        field.with_type(pa.int32())
        if field.name in TABLES[name].ids and field.type == pa.uint32()
        else field
        for field in table.schema
    ]
    schema = pa.schema(fields, table.schema.metadata)
    if isinstance(table, LazyTable):
        return table.mapped(lambda rows, _: rows.cast(schema), "with plain ids")
    return table.cast(schema)


def _axis_columns(
    name: str, n: int, offsets: Mapping[str, NDArray[np.int64]], more: Mapping[str, pa.Array]
) -> dict[str, pa.Array]:
    """The columns behind the ids: positions, row offsets, and more."""
    spec = TABLES[name]
    starts = {
        one.start_index: pa.array(offsets[one.name][:n])
        for one in partitioned_tables(offsets)
        if one.axis.name == spec.axis.name
    }
    return {spec.ids[1]: pa.array(np.arange(n, dtype=np.uint32)), **starts, **more}


def _with_columns(
    columns: Mapping[str, pa.Array],
    annotations: Mapping[str, pa.Array],
    rows: pa.Table,
    positions: NDArray[np.int64] | None = None,
) -> pa.Table:
    """Rows with further columns behind their ids, and annotations behind the user's columns.

    Parameters
    ----------
    positions
        The positions of the rows among all; None for all.
    """

    def of_rows(values: pa.Array) -> pa.Array:
        return values if positions is None else values.take(pa.array(positions))

    for position, (column, values) in enumerate(columns.items(), start=1):
        rows = rows.add_column(position, column, of_rows(values))
    for column, values in annotations.items():
        rows = rows.append_column(column, of_rows(values))
    return rows


def source_files(sources: Sequence[SourceRecord]) -> pa.DictionaryArray:
    """For each cell the name of the input it came from, which tells it from the others."""
    names = unique_names([source.uri for source in sources])
    distinct = list(dict.fromkeys(names))
    codes = np.array([distinct.index(name) for name in names], np.int32)
    of_cells = np.repeat(codes, [source.n_cells for source in sources])
    return pa.DictionaryArray.from_arrays(of_cells, pa.array(distinct, pa.string()))


def _describe(
    run: OutputRun,
    axes: Axes,
    versions: dict[str, int],
    writer: str,
    *,
    annotations: AnnotationsRecord,
) -> DatasetConfig:
    plan, previous = run.plan, run.previous
    statistics = Statistics.total(_statistics(run))
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
        blocks=run.blocks(EXPRESSION, VALUE),
        optimizations={
            "use_integer_keys": True,
            "optimize_storage": not plan.options.string_ids,
        },
        created_at=previous.created_at if previous else now,
        last_updated=now,
        writer=writer,
        tables={name: plan.directory(name) for name in versions},
        by_gene=gene_order_record(run),
        annotations=annotations,
        annotated=None if run.base is None else run.base.annotated,
        transforms=plan.transforms,
        removed=() if run.base is None else run.base.removed,
    )


def _statistics(run: OutputRun) -> Iterator[Statistics]:
    """The statistics of the values that stay, and of those of each part."""
    previous = run.previous
    if previous is not None and run.plan.adds_to(EXPRESSION):
        yield Statistics.from_summary(previous.expression_count, previous.expression_stats)
    yield from (result.statistics for result in run.results(EXPRESSION))


def _read_dtype(run: OutputRun, statistics: Statistics) -> str:
    """The type that all values are read back in."""
    plan, base = run.plan, run.base
    dtype_overflowed = {
        plan.source_of(part.rows.start).offset
        for part in run.parts_of(EXPRESSION)
        if part.tables[EXPRESSION].dtype_overflowed
    }
    beyond = any(VALUE in result.beyond_uint16 for result in run.results(EXPRESSION))
    wide = narrowest_count(plan.value_type, beyond_uint16=beyond)
    given = [
        read_dtype(source.dtype, wide, dtype_overflowed=source.offset in dtype_overflowed)
        for source in (plan.sources if base is None else plan.added)
    ]
    if base is not None:
        given.insert(0, base.dtype)
    extremes = (statistics.minimum or 0.0, statistics.maximum or 0.0)
    return common_type(given, plan.value_type, max(map(abs, extremes)))
