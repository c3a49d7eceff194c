"""slaf.compact: merge the small fragments that many appends leave."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import structs

from slaf.conversion.plan_append import stored_options
from slaf.conversion.rewrite import (
    Layout,
    begin_rewrite,
    changing,
    ids_of,
    is_unfinished,
    rewrite_parts,
)
from slaf.dataset.dataset import open_dataset
from slaf.dataset.source import DatasetSource
from slaf.format.schema import (
    COUNTS,
    EXPRESSION,
    LAYERS,
    RAW,
    TABLES,
    allowed_types,
    gene_encodings,
)
from slaf.options import Compression, ReadOptions, StoreOptions, one_of
from slaf.runs.checksums import storage_options_record, table_digests, with_checksums
from slaf.runs.commit import TableFragments, TableGrowth, commit_tables
from slaf.runs.gene_encodings import choose_gene_encodings
from slaf.runs.gene_order import sort_by_gene
from slaf.runs.matrix_tables import recorded_matrix_tables
from slaf.runs.plan import PART_NONZEROS, Plan, parts_of_blocks
from slaf.runtime.progress import NullProgress
from slaf.sparse.ranges import RowRange
from slaf.tables.read import read_table

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from slaf.dataset.dataset import Dataset, View
    from slaf.format.config import DatasetConfig
    from slaf.runs.commit import TableChange
    from slaf.runs.output_run import OutputRun
    from slaf.runtime.progress import Progress
    from slaf.storage.location import Location
    from slaf.tables.fragments import Fragment

__all__ = ["CompactReport", "compact"]

JSON = dict[str, Any]

logger = logging.getLogger("slaf")


@dataclass(frozen=True, slots=True)
class CompactReport:
    """The result of compacting a dataset.

    Attributes
    ----------
    dataset
        The location of the dataset.
    before, after
        The number of fragments of each table in cell order.
    cells
        The number of cells whose rows were written again.
    """

    dataset: str
    before: Mapping[str, int]
    after: Mapping[str, int]
    cells: int = 0

    def to_json(self) -> JSON:
        """As `slaf compact --json` prints it."""
        return asdict(self)


def compact(
    dataset: str | os.PathLike[str] | Location | View,
    *,
    compression: Compression | None = None,
    workers: int = 0,
    restart: bool = False,
    storage_options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> CompactReport:
    """Merge the small fragments of a dataset, or change its compression.

    Each append adds fragments, and a dataset of thousands of small fragments is slow to open and
    to read. Adjacent small fragments are written again as one, in the same order, and each block
    is compared with its digest; large fragments are kept. With another compression all rows are
    written again. Readers see the previous versions until all is committed, and then the same rows.
    The same call finishes a run that was stopped.

    Parameters
    ----------
    dataset
        A published dataset, or the URL of one in a bucket; no view of a part.
    compression
        The compression of its tables, as for `slaf.convert`; that which they have, by default.
    workers
        Further threads that encode parts, at the cost of memory.
    restart
        Discard an unfinished run of the dataset, also an append.
    storage_options
        Credentials and settings of the bucket.
    progress
        Receives the progress: an object with the methods of `slaf.runtime.progress.Progress`.

    Returns
    -------
    CompactReport
        The fragments before and after; the same if there was nothing to merge.

    Raises
    ------
    SelectionError
        If it is a view of a part of a dataset, or of inputs.
    DatasetError
        If there is no dataset, or the rows differ from their digests.
    ConflictError
        If another process writes to the dataset, or another run is unfinished.
    StorageError
        If writing fails; the run can be resumed.
    ValueError
        If there is no such compression.
    """
    if compression is not None:
        one_of(Compression, "compression", compression)
    advice = "compact changes the tables of the whole dataset: give it that"
    with changing(dataset, storage_options, advice) as opened:
        location, before = opened.location, _Merging.of(opened)
        plan = _plan(opened, before, compression)
        if not plan.parts and not is_unfinished(location, "compact"):
            return CompactReport(str(location), before.n_fragments, before.n_fragments)
        source = DatasetSource(opened)
        run = begin_rewrite(location, plan, source, restart=restart)
        _rewrite(run, opened, source, workers, progress or NullProgress())
        _publish(run, opened, before)
        after = _Merging.of(open_dataset(location))
    return CompactReport(
        str(location), before.n_fragments, after.n_fragments, run.plan.cells_to_write
    )


class _Merging(Layout):
    """The fragments of a dataset; adjacent small ones are merged."""

    def fragments_within(self, table: str, cells: RowRange) -> slice:
        """The fragments of a table whose rows are all of these cells."""
        bounds = self.offsets[table][[cells.start, cells.stop]]
        return slice(*np.searchsorted(self.ends(table), bounds, side="right").tolist())

    def to_merge(self, bounds: NDArray[np.int64]) -> Iterator[RowRange]:
        """Ranges of cells whose rows are in several small fragments of one of the tables.

        Parameters
        ----------
        bounds
            The first cell of each block, and the number of cells.
        """
        # The blocks between two of these cells have fragments of their own in every table.
        cuts = self.cuts(bounds)
        rows = self.offsets[EXPRESSION]
        first, n_units = int(cuts[0]), 0
        for start, stop in pairwise(cuts.tolist()):
            is_large = rows[stop] - rows[start] >= PART_NONZEROS
            n_units += not is_large
            if is_large or rows[stop] - rows[first] >= PART_NONZEROS:
                # Large fragments, and those that an earlier run merged, are not written again.
                yield from self._if_several(RowRange(first, start if is_large else stop), n_units)
                first, n_units = stop, 0
        yield from self._if_several(RowRange(first, int(cuts[-1])), n_units)

    def _if_several(self, cells: RowRange, n_units: int) -> Iterator[RowRange]:
        slices = (self.fragments_within(table, cells) for table in self.fragments)
        if n_units > 1 and any(each.stop - each.start > 1 for each in slices):
            yield cells


def _plan(dataset: Dataset, layout: _Merging, compression: Compression | None) -> Plan:
    """The plan that merges small fragments, or writes all rows with another compression."""
    published = dataset.published
    plan = Plan.of_dataset(
        published,
        operation="compact",
        options=stored_options(dataset, StoreOptions()),
        parts=(),
        rewrites=tuple(layout.fragments),
        tables=published.tables,
    )
    if compression is not None:
        compressed = _with_compression(plan, compression, by_gene=published.by_gene is not None)
        is_other = compression != plan.options.compression
        if is_other or not _has_schemas(dataset, compressed):
            return replace(compressed, parts=tuple(parts_of_blocks(published.blocks)))
    bounds = np.array([0, *(block.stop for block in published.blocks)], np.int64)
    return replace(plan, parts=tuple(layout.to_merge(bounds)))


def _with_compression(plan: Plan, compression: Compression, *, by_gene: bool) -> Plan:
    """The plan with tables as a conversion with this compression would make them."""
    options = replace(plan.options, compression=compression, by_gene=by_gene)
    allowed = [str(dtype) for dtype in allowed_types(options)]
    is_other = compression != plan.options.compression
    tables = []
    for table in plan.matrix_tables:
        # The first batch with a value that the first type does not hold asks for the next one.
        types = {
            column.name: allowed[0]
            for column in table.values
            if not TABLES[table.table].value_types[0]
            and column.value_type in COUNTS
            and (is_other or column.value_type not in allowed)
        }
        encoding = "" if is_other else table.gene_encoding
        encoding = encoding or gene_encodings(table.n_genes, options)[0]
        tables.append(structs.replace(table.widened(types), gene_encoding=encoding))
    return replace(plan, options=options, matrix_tables=tuple(tables))


def _rewrite(
    run: OutputRun, dataset: Dataset, source: DatasetSource, workers: int, progress: Progress
) -> None:
    """Write the parts that remain, and for another compression the gene order too."""
    if _is_recompressed(run.plan, dataset):
        choose_gene_encodings(run, source)
    ids = ids_of(dataset)
    rewrite_parts(run, source, dataset.published, ids, workers=workers, progress=progress)
    sort_by_gene(run, ReadOptions(workers=workers).near(run.location), workers, progress)


def _publish(run: OutputRun, dataset: Dataset, layout: _Merging) -> None:
    """Commit the new fragments with those that stay, and publish the dataset."""
    location, plan, published = run.location, run.plan, dataset.published
    written = {spec.name for spec in plan.partitioned}
    changes: dict[str, TableChange] = {}
    for table, directory in published.tables.items():
        if table in layout.fragments:
            fragments = list(_merged_fragments(layout, table, run))
        elif table in written:
            fragments = run.fragments(table)
        else:
            changes[table] = TableGrowth(directory, published.versions[table])
            continue
        offsets = dataset.offsets(table)
        changes[table] = TableFragments(directory, plan.schema(table), fragments, offsets)
    compacted = structs.replace(
        _with_value_types(published, plan),
        versions=commit_tables(location, plan, changes),
        last_updated=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if published.checksums.files or _is_recompressed(plan, dataset):
        checksums = structs.replace(published.checksums, storage=storage_options_record(plan))
        if not checksums.tables:
            checksums = structs.replace(checksums, tables=_table_digests(dataset))
        compacted = with_checksums(location, compacted, run.files(), checksums, base=published)
    run.publish(compacted)


def _table_digests(dataset: Dataset) -> dict[str, str]:
    """The digests of the tables that are written whole, of a dataset that has recorded none."""
    names = (name for name in dataset.published.tables if not TABLES[name].is_partitioned)
    return table_digests({name: read_table(dataset.table(name)) for name in names})


def _has_schemas(dataset: Dataset, plan: Plan) -> bool:
    """Whether the tables of a dataset have the columns that a plan writes."""
    return all(
        dataset.table(spec.name).schema.equals(plan.schema(spec.name), check_metadata=True)
        for spec in plan.partitioned
    )


def _is_recompressed(plan: Plan, dataset: Dataset) -> bool:
    """Whether a run changes the compression of a dataset, instead of merging its fragments."""
    stored = stored_options(dataset, StoreOptions())
    is_other = plan.options.compression != stored.compression
    return is_other or plan.matrix_tables != recorded_matrix_tables(dataset.published)


def _with_value_types(published: DatasetConfig, plan: Plan) -> DatasetConfig:
    types = {
        (table.table, column.name): column.value_type
        for table in plan.matrix_tables
        for column in table.values
    }
    layers, raw = published.annotations.layers, published.annotations.raw
    if layers is not None:
        matrices = (
            structs.replace(one, value_type=types[LAYERS, one.name]) for one in layers.matrices
        )
        layers = structs.replace(layers, matrices=tuple(matrices))
    if raw is not None:
        matrix = structs.replace(raw.matrix, value_type=types[RAW, raw.matrix.name])
        raw = structs.replace(raw, matrix=matrix)
    annotations = structs.replace(published.annotations, layers=layers, raw=raw)
    return structs.replace(published, value_type=plan.value_type, annotations=annotations)


def _merged_fragments(layout: _Merging, table: str, run: OutputRun) -> Iterator[Fragment]:
    """The fragments of the compacted table, in order."""
    fragments, at = layout.fragments[table], 0
    for part in run.parts_of(table):
        replaced = layout.fragments_within(table, part.rows)
        yield from fragments[at : replaced.start]
        yield from part.tables[table].fragments
        at = max(at, replaced.stop)
    yield from fragments[at:]
