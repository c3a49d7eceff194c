"""slaf.remove: take the cells of some inputs out of a dataset again."""

from __future__ import annotations

import difflib
import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
from msgspec import structs

from slaf.conversion.plan_append import has_gene_order, stored_options
from slaf.conversion.remaining import RemainingDataset
from slaf.conversion.rewrite import (
    Layout,
    begin_rewrite,
    changing,
    rewrite_parts,
    with_written,
)
from slaf.dataset.dataset import open_dataset
from slaf.errors import SelectionError
from slaf.format.config import Metadata
from slaf.format.schema import BY_GENE, CELLS, EXPRESSION, GENES, TABLES
from slaf.options import ReadOptions, StoreOptions
from slaf.runs.annotations import put_files
from slaf.runs.commit import TableFragments, TableGrowth, TableRows, commit_tables
from slaf.runs.gene_order import CellOrder, gene_order_record, sort_by_gene
from slaf.runs.plan import Plan, parts_of_blocks
from slaf.runs.publish import with_annotated, with_plain_ids
from slaf.runs.row_offsets import row_offsets
from slaf.runtime.progress import NullProgress
from slaf.sources.names import unique_names
from slaf.sparse.statistics import Statistics
from slaf.tables.rows import DataFile

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from slaf.dataset.dataset import Dataset, View
    from slaf.format.config import SourceRecord
    from slaf.runs.commit import TableChange
    from slaf.runs.output_run import OutputRun
    from slaf.runtime.progress import Progress
    from slaf.storage.location import Location
    from slaf.tables.fragments import Fragment

__all__ = ["remove"]

logger = logging.getLogger("slaf")

# The column of obs with the sample of each cell.
_SAMPLE = "sample"


def remove(
    dataset: str | os.PathLike[str] | Location | View,
    source: str | Sequence[str],
    *,
    workers: int = 0,
    restart: bool = False,
    storage_options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Take the cells of some inputs out of a dataset again.

    The rows of the cells before them stay as they are. Those behind them are written again, and
    each block is compared with its digest. Genes keep their positions, also those that no other
    input has; columns, elements and layers keep their names and types. Readers see the previous
    dataset until all is on disk. The same call finishes a run that was stopped.

    Parameters
    ----------
    dataset
        A published dataset, or the URL of one in a bucket; no view of a part.
    source
        The inputs: each by its name in the column `source_file`, its path or URL, or its sample in
        the column `sample` of obs. All inputs of a name are removed. An input that was removed
        before is none to remove.
    workers
        Further threads that encode parts, at the cost of memory.
    restart
        Discard an unfinished run of the dataset, be it another.
    storage_options
        Credentials and settings of the bucket.
    progress
        Receives the progress: an object with the methods of `slaf.runtime.progress.Progress`.

    Returns
    -------
    Dataset
        The new dataset, open.

    Raises
    ------
    SelectionError
        If there is no such input, a name stands for several, or no input would stay.
    DatasetError
        If there is no dataset, or its rows differ from their digests.
    ConflictError
        If another process writes to the dataset, or another run is unfinished.
    StorageError
        If writing fails; the run can be resumed.

    Examples
    --------
    >>> import anndata, numpy, slaf, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     anndata.AnnData(numpy.eye(3, 2)).write_h5ad(f"{folder}/a.h5ad")
    ...     anndata.AnnData(numpy.eye(4, 2)).write_h5ad(f"{folder}/b.h5ad")
    ...     files = [f"{folder}/a.h5ad", f"{folder}/b.h5ad"]
    ...     ds = slaf.convert(files, f"{folder}/out.slaf")
    ...     slaf.remove(ds, "a.h5ad").shape
    (4, 2)
    """
    advice = "remove takes inputs out of the whole dataset: give it that"
    with changing(dataset, storage_options, advice) as opened:
        names = [source] if isinstance(source, str) else list(source)
        removed = _sources_named(opened, names)
        layout = Layout.of(opened)
        if removed:
            remaining = RemainingDataset(opened, removed, layout.offsets)
            _remove(remaining, layout, workers, progress or NullProgress(), restart=restart)
    return open_dataset(opened.location)


# --------------------------------------------------------------------------------------- the inputs


def _sources_named(dataset: Dataset, names: Sequence[str]) -> frozenset[int]:
    """The positions of the inputs of some names; none of those that were removed before.

    Raises
    ------
    SelectionError
        If a name is unknown or ambiguous, or all inputs are named.
    """
    removed: set[int] = set()
    for name in names:
        found = _source_named(dataset, name)
        if not found and not any(_is_path(one, name) for one in dataset.published.removed):
            raise _unknown(dataset, name)
        removed |= found
    if not names or len(removed) == len(dataset.sources):
        what = "no input would stay" if names else "no input is named"
        msg = f"{dataset.location}: {what}; name some of {_listed(dataset)}"
        raise SelectionError(msg)
    return frozenset(removed)


def _source_named(dataset: Dataset, name: str) -> set[int]:
    by_path = {at for at, one in enumerate(dataset.sources) if _is_path(one, name)}
    by_sample = {at for at, samples in enumerate(_samples(dataset)) if samples == [name]}
    readings = {dataset.sources[at].uri for at in by_path}
    if len(readings) > 1 or (by_sample and by_path and by_sample != by_path):
        uris = sorted(readings | {dataset.sources[at].uri for at in by_sample})
        msg = (
            f"{dataset.location}: {name!r} stands for several inputs; name one by its path: "
            f"{', '.join(uris)}"
        )
        raise SelectionError(msg)
    return by_path | by_sample


def _is_path(source: SourceRecord, name: str) -> bool:
    """Whether a name is the path or URL of an input, or the last parts of it."""
    return source.uri in {name, str(Path(name).absolute())} or source.uri.endswith(f"/{name}")


def _samples(dataset: Dataset) -> list[list[str]]:
    """The values of the column `sample` of obs in the cells of each input."""
    columns = dataset.published.columns[CELLS].columns
    stored = next((one.name for one in columns if one.original == _SAMPLE), None)
    if stored is None:
        return []
    values = dataset.annotations.read_columns(CELLS, [stored]).column(0)
    return [
        list(map(str, pc.unique(values.slice(source.offset, source.n_cells)).to_pylist()))
        for source in dataset.sources
    ]


def _unknown(dataset: Dataset, name: str) -> SelectionError:
    known = [*unique_names([source.uri for source in dataset.sources])]
    known += [samples[0] for samples in _samples(dataset) if len(samples) == 1]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3)
    found = f"the nearest is {' or '.join(near)}" if near else f"there is {_listed(dataset)}"
    return SelectionError(f"{dataset.location}: no input is called {name!r}; {found}")


def _listed(dataset: Dataset, most: int = 10) -> str:
    names = unique_names([source.uri for source in dataset.sources])
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# ------------------------------------------------------------------------------------------ the run


def _remove(
    remaining: RemainingDataset, layout: Layout, workers: int, progress: Progress, *, restart: bool
) -> None:
    """Write the rows behind the gap again, and publish the dataset."""
    n_kept = _kept_cells(remaining, layout)
    plan = _plan(remaining, n_kept)
    location = remaining.dataset.location
    run = begin_rewrite(location, plan, remaining.source, restart=restart)
    rewrite_parts(
        run,
        remaining.source,
        remaining.config,
        remaining.identifiers,
        workers=workers,
        progress=progress,
    )
    fragments = {table: _fragments(run, layout, table, n_kept) for table in layout.fragments}
    if run.plan.options.by_gene:
        rows = _cell_order(run, remaining, fragments[EXPRESSION])
        reading = ReadOptions(workers=workers).near(run.location)
        sort_by_gene(run, reading, workers, progress, rows)
    _publish(run, remaining, fragments, n_kept)


def _kept_cells(remaining: RemainingDataset, layout: Layout) -> int:
    """The number of cells whose fragments stay: those before the last cut before the gap."""
    bounds = np.array([0, *(block.stop for block in remaining.dataset.published.blocks)], np.int64)
    cuts = layout.cuts(bounds)
    return int(cuts[cuts <= remaining.first_removed][-1])


def _plan(remaining: RemainingDataset, n_kept: int) -> Plan:
    dataset, config = remaining.dataset, remaining.config
    blocks = [block for block in config.blocks if block.start >= n_kept]
    options = StoreOptions(by_gene=has_gene_order(dataset))
    plan = Plan.of_dataset(
        dataset.published,
        operation="remove",
        options=stored_options(dataset, options),
        parts=tuple(parts_of_blocks(blocks)),
        rewrites=tuple(remaining.offsets),
        tables=dataset.published.tables,
    )
    return replace(plan, sources=config.sources, n_cells=config.n_cells)


def _fragments(run: OutputRun, layout: Layout, table: str, n_kept: int) -> list[Fragment]:
    """The fragments that stay, and those of all parts."""
    n_fragments = int(np.searchsorted(layout.ends(table), layout.offsets[table][n_kept], "right"))
    kept = layout.fragments[table][:n_fragments]
    return [*kept, *run.fragments(table)]


def _cell_order(
    run: OutputRun, remaining: RemainingDataset, fragments: Sequence[Fragment]
) -> CellOrder:
    """The rows of `expression`, as they will be."""
    directory = run.plan.directory(EXPRESSION)
    files = [DataFile(f"{directory}/{one.paths[0]}", one.rows) for one in fragments]
    offsets = remaining.remaining_offsets[EXPRESSION]
    return CellOrder.of_files(run.location, files, run.plan, offsets, remaining.config.blocks)


def _publish(
    run: OutputRun,
    remaining: RemainingDataset,
    fragments: Mapping[str, list[Fragment]],
    n_kept: int,
) -> None:
    location, plan, published = run.location, run.plan, remaining.dataset.published
    record, files = remaining.with_files(remaining.config.annotations)
    put_files(location, files)
    whole = remaining.tables()
    if plan.options.plain_types:
        whole = {n: None if t is None else with_plain_ids(n, t) for n, t in whole.items()}
    if BY_GENE in published.tables:
        whole[GENES] = _genes_table(run, remaining)
    versions = commit_tables(location, plan, _changes(run, remaining, fragments, whole))
    results = (result.statistics for result in run.results(EXPRESSION))
    statistics = Statistics.total([remaining.statistics(n_kept), *results])
    dataset = structs.replace(
        remaining.config,
        versions=versions,
        tables={name: plan.directory(name) for name in versions},
        metadata=Metadata(statistics.count, statistics.summary()),
        by_gene=gene_order_record(run),
        annotations=record,
        last_updated=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    dataset = with_written(run, dataset, whole)
    run.publish(with_annotated(run, dataset, run.previous))


def _genes_table(run: OutputRun, remaining: RemainingDataset) -> pa.Table:
    """`genes`, with where the rows of each gene begin in `expression_by_gene`."""
    import pyarrow as pa

    genes = remaining.dataset.annotations.read_columns(GENES).unify_dictionaries().combine_chunks()
    at = genes.schema.get_field_index(TABLES[BY_GENE].start_index)
    return genes.set_column(at, genes.schema.field(at), pa.array(row_offsets(run, BY_GENE)[:-1]))


def _changes(
    run: OutputRun,
    remaining: RemainingDataset,
    fragments: Mapping[str, list[Fragment]],
    whole: Mapping[str, pa.Table | None],
) -> dict[str, TableChange]:
    """The change of each table; one that would be empty is left out."""
    plan, changes = run.plan, dict[str, "TableChange"]()
    for table, directory in plan.tables.items():
        if table in fragments:
            offsets = remaining.remaining_offsets[table]
            schema = plan.schema(table)
            changes[table] = TableFragments(directory, schema, fragments[table], offsets)
        elif table == BY_GENE:
            offsets, schema = row_offsets(run, table), plan.schema(table)
            changes[table] = TableFragments(directory, schema, run.fragments(table), offsets)
        elif table not in whole:
            changes[table] = TableGrowth(directory, remaining.dataset.published.versions[table])
        elif (rows := whole[table]) is not None:
            changes[table] = TableRows(directory, rows)
    return changes
