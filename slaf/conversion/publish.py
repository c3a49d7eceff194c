"""From parts on disk to a dataset that readers see: tables first, config.json last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from slaf.columns import stored
from slaf.conversion.beside import (
    commit_companions,
    offsets_of,
    remove_leftovers,
    write_beside,
    write_readable,
)
from slaf.conversion.encode import SCRATCH, Identifiers
from slaf.conversion.statistics import Statistics
from slaf.manifest import COMPANIONS, TABLES, Manifest, Published, save
from slaf.schema import CELL_COLUMNS, CELLS, EXPRESSION, GENE_COLUMNS, GENES, given_back
from slaf.tables.write import clean, commit, index, write_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slaf.beside import Beside
    from slaf.columns import ColumnSet
    from slaf.conversion.beside import Kept
    from slaf.conversion.checkpoint import Checkpoint
    from slaf.sources.base import Source
    from slaf.storage import Location

__all__ = ["Axes", "finish", "publish", "read_axes"]

_SOURCE_FILE = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True, slots=True)
class Axes:
    """The cells and the genes as they will be stored, and what their columns were."""

    cells: pa.Table
    genes: pa.Table
    columns: dict[str, ColumnSet]

    @property
    def identifiers(self) -> Identifiers:
        """The ids of both."""
        return Identifiers(self.cells.column(0), self.genes.column(0))


def read_axes(source: Source) -> Axes:
    """Read obs and var of a source, which fails here if they cannot be stored."""
    cells, cell_columns = stored(source.cells(), CELL_COLUMNS)
    genes, gene_columns = stored(source.genes(), GENE_COLUMNS)
    return Axes(cells, genes, {CELLS: cell_columns, GENES: gene_columns})


def publish(
    location: Location,
    checkpoint: Checkpoint,
    axes: Axes,
    before: Published | None,
    writer: str,
    *,
    kept: Kept,
) -> None:
    """Make a run whose parts are all done the dataset that readers see.

    May be stopped anywhere and done again: each commit replaces the whole table, and until
    config.json names the new versions readers keep the old ones.
    """
    versions = {
        EXPRESSION: _commit_expression(location, checkpoint),
        **commit_companions(location, checkpoint),
        CELLS: _write_cells(location, checkpoint, axes, kept),
        GENES: _write_genes(location, axes, kept),
    }
    whole, beside = write_beside(location, checkpoint, kept)
    versions |= whole
    if checkpoint.plan.options.create_indices:
        versions[CELLS] = index(location, TABLES[CELLS], "cell_id", "BTREE")
        versions[GENES] = index(location, TABLES[GENES], "gene_id", "BTREE")
    published = _describe(checkpoint, axes, versions, before, writer, beside=beside)
    done = replace(checkpoint, published=True)
    save(location, Manifest(published, done.to_json()))
    finish(location, published)


def finish(location: Location, published: Published) -> None:
    """Remove what a published run no longer needs, and then its checkpoint."""
    for table, name in published.tables.items():
        clean(location, name, published.versions[table])
    remove_leftovers(location, published)
    write_readable(location, published)
    location.remove(SCRATCH)
    save(location, Manifest(published))


def _commit_expression(location: Location, checkpoint: Checkpoint) -> int:
    results = checkpoint.results()
    fragments = [fragment for result in results for fragment in result.fragments]
    name = TABLES[EXPRESSION]
    version = commit(location, name, checkpoint.plan.schema, fragments)
    if fragments:
        version = index(location, name, "cell_integer_id", "ZONEMAP")
        if checkpoint.plan.options.create_indices:
            version = index(location, name, "gene_integer_id", "BTREE")
    return version


def _write_cells(location: Location, checkpoint: Checkpoint, axes: Axes, kept: Kept) -> int:
    n_cells = axes.cells.num_rows
    ends = offsets_of(location, checkpoint, EXPRESSION)
    file = pa.array([checkpoint.plan.source.uri.rsplit("/", 1)[-1]], pa.string())
    ours: list[tuple[str, Any]] = [
        ("cell_integer_id", pa.array(np.arange(n_cells, dtype=np.uint32))),
        ("cell_start_index", pa.array(ends[:n_cells])),
        *(
            (
                f"{companion.table}_start_index",
                pa.array(offsets_of(location, checkpoint, companion.table)[:n_cells]),
            )
            for companion in checkpoint.plan.companions
        ),
        ("source_file", pa.DictionaryArray.from_arrays(np.zeros(n_cells, np.int32), file)),
    ]
    return write_table(location, TABLES[CELLS], _with_columns(axes.cells, ours, kept.cells))


def _write_genes(location: Location, axes: Axes, kept: Kept) -> int:
    ids = pa.array(np.arange(axes.genes.num_rows, dtype=np.uint32))
    ours = [("gene_integer_id", ids)]
    return write_table(location, TABLES[GENES], _with_columns(axes.genes, ours, kept.genes))


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
    before: Published | None,
    writer: str,
    *,
    beside: Beside,
) -> Published:
    plan, results = checkpoint.plan, checkpoint.results()
    statistics = Statistics.total(result.statistics for result in results)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Published(
        n_cells=plan.source.n_cells,
        n_genes=plan.source.n_genes,
        versions=versions,
        value_type=plan.value_type,
        dtype=given_back(
            plan.source.dtype,
            plan.value_type,
            outgrown=any(result.outgrown for result in results),
        ),
        expression_count=statistics.count,
        expression_stats=statistics.summary(),
        columns=axes.columns,
        sources=(plan.source,),
        blocks=tuple(block for result in results for block in result.blocks),
        optimizations={
            "use_integer_keys": True,
            "optimize_storage": not plan.options.string_ids,
        },
        created_at=before.created_at if before else now,
        last_updated=now,
        writer=writer,
        tables={name: (TABLES | COMPANIONS)[name] for name in versions},
        beside=beside.to_json(),
    )
