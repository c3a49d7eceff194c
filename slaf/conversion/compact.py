"""Merge the small fragments that many appends leave, in the order of their rows."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import structs

from slaf.conversion.plan_append import stored_options
from slaf.dataset.dataset import open_dataset
from slaf.dataset.source import DatasetSource
from slaf.errors import DamagedDataset
from slaf.format.config import load, load_published
from slaf.format.epoch import locked
from slaf.format.schema import CELL_ORDER, CELLS, EXPRESSION, GENES, partitioned_tables
from slaf.options import StoreOptions
from slaf.runs.checksums import with_checksums
from slaf.runs.commit import TableFragments, TableGrowth, commit_tables
from slaf.runs.encode import encode_part
from slaf.runs.matrix_tables import recorded_matrix_tables
from slaf.runs.output_run import begin_or_resume
from slaf.runs.plan import PART_NONZEROS, BaseDataset, Plan
from slaf.runs.value_types import AxisIds
from slaf.runtime.executors import run_parts
from slaf.runtime.progress import NullProgress
from slaf.sparse.ranges import RowRange
from slaf.storage.location import Location
from slaf.tables.read import fragments_of, read_table

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from slaf.dataset.dataset import Dataset
    from slaf.runs.commit import TableChange
    from slaf.runs.output_run import OutputRun
    from slaf.runtime.progress import Progress
    from slaf.tables.fragments import Fragment

__all__ = ["CompactReport", "compact"]

JSON = dict[str, Any]
logger = logging.getLogger("slaf")


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What was merged.

    Attributes
    ----------
    dataset
        Its location.
    before, after
        The fragments of each table that is written part by part, by its name.
    cells
        The cells whose rows were written again.
    """

    dataset: str
    before: Mapping[str, int]
    after: Mapping[str, int]
    cells: int = 0

    def to_json(self) -> JSON:
        """As `slaf compact --json` prints it."""
        return asdict(self)


def compact(
    dataset: str | os.PathLike[str] | Location,
    *,
    workers: int = 0,
    restart: bool = False,
    storage_options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> CompactReport:
    """Merge the small fragments of a dataset, or finish doing so where it was stopped.

    Each append leaves fragments of its own, and of thousands of small ones a dataset is slow to
    open and to read. Neighbours are written again as one, in the same order, and each block is
    held against its digest; fragments that are large enough stay as they are. Readers see the
    older dataset until the new one is whole, and then the same rows.

    Parameters
    ----------
    dataset
        A published dataset, or the URL of one in a bucket.
    workers
        Threads that encode parts beside this one: memory for time.
    restart
        Discard an unfinished run that is at the dataset, be it an append.
    storage_options
        How to reach the bucket.
    progress
        Told how far it is: an object with the two methods of `slaf.runtime.progress.Progress`.

    Returns
    -------
    Compacted
        The fragments before and after; the same, if there was nothing to merge.

    Raises
    ------
    DatasetError
        If there is no dataset, or what is to be merged is not what was written.
    ConflictError
        If another run is at work there, or unfinished.
    StorageError
        If the disk refuses; the run can be finished.
    """
    location = Location.of(dataset, storage_options)
    load_published(location)
    with locked(location):
        there = open_dataset(location)
        before = _Layout.of(there)
        plan = _plan(there, before)
        if not plan.parts and not _is_unfinished(location):
            return CompactReport(str(location), before.sizes, before.sizes)
        run = begin_or_resume(
            location, plan, overwrite=False, restart=restart, allow_duplicate=True
        )
        if run.checkpoint.published:
            run.clean_up()
        else:
            _encode(run, there, workers, progress or NullProgress())
            _publish(run, there, before)
        after = _Layout.of(open_dataset(location))
    return CompactReport(str(location), before.sizes, after.sizes, run.plan.cells_to_write)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the rows of a dataset lie in fragments.

    Attributes
    ----------
    fragments
        Of each table that is written part by part.
    offsets
        Of each, where the rows of each cell begin, and after the last, where they end.
    """

    fragments: Mapping[str, list[Fragment]]
    offsets: Mapping[str, NDArray[np.int64]]

    @classmethod
    def of(cls, dataset: Dataset) -> _Layout:
        """The layout of what is published."""
        published = dataset.published
        partitioned = partitioned_tables(published.tables)
        tables = [spec.name for spec in partitioned if spec.axis == CELL_ORDER]
        found = {
            name: fragments_of(dataset.location, published.tables[name], published.versions[name])
            for name in tables
        }
        return cls(found, {name: dataset.offsets(name) for name in tables})

    @property
    def sizes(self) -> dict[str, int]:
        """The number of fragments of each table."""
        return {name: len(found) for name, found in self.fragments.items()}

    def ends(self, table: str) -> NDArray[np.int64]:
        """The rows at which the fragments of a table end."""
        rows = [fragment.rows for fragment in self.fragments[table]]
        return np.cumsum(np.array(rows, np.int64))

    def within(self, table: str, cells: RowRange) -> slice:
        """The fragments of a table that hold the rows of these cells, and of no others."""
        first, last = self.offsets[table][[cells.start, cells.stop]]
        ends = self.ends(table)
        return slice(
            int(np.searchsorted(ends, first, side="right")),
            int(np.searchsorted(ends, last, side="right")),
        )

    def to_merge(self, bounds: NDArray[np.int64]) -> Iterator[RowRange]:
        """Runs of cells whose rows lie in several small fragments of one of the tables.

        Parameters
        ----------
        bounds
            The cells at which blocks begin, and after the last, where they end.
        """
        cuts = bounds
        for table, offsets in self.offsets.items():
            cuts = cuts[np.isin(offsets[cuts], np.append(self.ends(table), 0))]
        rows = self.offsets[EXPRESSION]
        begun, units = int(cuts[0]), 0
        for start, stop in pairwise(cuts.tolist()):
            held = rows[stop] - rows[start]
            if held >= PART_NONZEROS:
                # Large enough as it is: so is what was merged, the next time.
                yield from self._worthwhile(RowRange(begun, start), units)
                begun, units = stop, 0
                continue
            units += 1
            if rows[stop] - rows[begun] >= PART_NONZEROS:
                yield from self._worthwhile(RowRange(begun, stop), units)
                begun, units = stop, 0
        yield from self._worthwhile(RowRange(begun, int(cuts[-1])), units)

    def _worthwhile(self, cells: RowRange, units: int) -> Iterator[RowRange]:
        found = (self.within(table, cells) for table in self.fragments)
        if units > 1 and any(one.stop - one.start > 1 for one in found):
            yield cells


def _plan(there: Dataset, layout: _Layout) -> Plan:
    published = there.published
    blocks = published.blocks
    bounds = np.array([0, *(block.stop for block in blocks)], np.int64)
    options = stored_options(there, StoreOptions())
    return Plan(
        operation="compact",
        sources=published.sources,
        n_cells=published.n_cells,
        n_genes=published.n_genes,
        options=options,
        block_cells=max((block.stop - block.start for block in blocks), default=1),
        parts=tuple(layout.to_merge(bounds)),
        matrix_tables=recorded_matrix_tables(published),
        base=BaseDataset(
            n_cells=published.n_cells,
            n_sources=len(published.sources),
            versions=published.versions,
        ),
        rewrites=tuple(layout.fragments),
        tables=published.tables,
    )


def _is_unfinished(location: Location) -> bool:
    """Whether a run like this was stopped, and may only have to clean."""
    manifest = load(location)
    found = None if manifest is None else manifest.checkpoint
    return found is not None and bool(found["plan"].get("operation") == "compact")


def _encode(run: OutputRun, there: Dataset, workers: int, progress: Progress) -> None:
    plan = run.plan
    progress.begin(*run.covered(), plan.cells_to_write)
    ids = (read_table(there.table(name), [column]) for name, column in _IDS.items())
    encode = partial(
        encode_part,
        DatasetSource(there),
        plan,
        location=run.location,
        identifiers=AxisIds(*(table.column(0) for table in ids)),
        base=there.published,
        progress=progress,
    )
    try:
        run_parts(run.remaining(), encode, run.record, workers)
    except DamagedDataset:
        run.abandon()
        raise


_IDS = {CELLS: "cell_id", GENES: "gene_id"}


def _publish(run: OutputRun, there: Dataset, layout: _Layout) -> None:
    """Commit what was merged with what stays, and make it what readers see."""
    location, plan, before = run.location, run.plan, there.published
    changes: dict[str, TableChange] = {}
    for table, directory in before.tables.items():
        if table in layout.fragments:
            fragments = list(_merged(layout, table, run))
            changes[table] = TableFragments(directory, there.table(table).schema, fragments)
        else:
            changes[table] = TableGrowth(directory, before.versions[table])
    versions = commit_tables(location, plan, changes)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    dataset = structs.replace(before, versions=versions, last_updated=now)
    if before.proof.files:
        dataset = with_checksums(location, dataset, run.files(), before.proof, base=before)
    run.publish(dataset)


def _merged(layout: _Layout, table: str, run: OutputRun) -> Iterator[Fragment]:
    """The fragments that a table will have."""
    kept, at = layout.fragments[table], 0
    for part in run.parts_of(table):
        replaced = layout.within(table, part.rows)
        yield from kept[at : replaced.start]
        yield from part.tables[table].fragments
        at = max(at, replaced.stop)
    yield from kept[at:]
