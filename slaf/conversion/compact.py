"""slaf.compact: merge the small fragments that many appends leave."""

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
from slaf.runs.output_run import begin_or_resume
from slaf.runs.plan import PART_NONZEROS, Plan
from slaf.runs.value_types import AxisIds
from slaf.runtime.executors import run_parts
from slaf.runtime.progress import NullProgress
from slaf.sparse.ranges import RowRange
from slaf.storage.location import Location
from slaf.tables.read import fragments_of

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
    dataset: str | os.PathLike[str] | Location,
    *,
    workers: int = 0,
    restart: bool = False,
    storage_options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> CompactReport:
    """Merge the small fragments of a dataset, or finish a run that was stopped.

    Each append adds fragments, and a dataset of thousands of small fragments is slow to open and
    to read. Adjacent small fragments are written again as one, in the same order, and each block
    is compared with its digest; large fragments are kept. Readers see the previous versions until
    all is committed, and then the same rows.

    Parameters
    ----------
    dataset
        A published dataset, or the URL of one in a bucket.
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
    DatasetError
        If there is no dataset, or the rows differ from their digests.
    ConflictError
        If another process writes to the dataset, or another run is unfinished.
    StorageError
        If writing fails; the run can be resumed.
    """
    location = Location.of(dataset, storage_options)
    load_published(location)
    with locked(location):
        opened = open_dataset(location)
        before = _Layout.of(opened)
        plan = _plan(opened, before)
        if not plan.parts and not _is_unfinished(location):
            return CompactReport(str(location), before.n_fragments, before.n_fragments)
        run = begin_or_resume(
            location, plan, overwrite=False, restart=restart, allow_duplicate=True
        )
        if run.checkpoint.published:
            run.clean_up()
        else:
            _encode(run, opened, workers, progress or NullProgress())
            _publish(run, opened, before)
        after = _Layout.of(open_dataset(location))
    return CompactReport(
        str(location), before.n_fragments, after.n_fragments, run.plan.cells_to_write
    )


@dataclass(frozen=True, slots=True)
class _Layout:
    """The fragments of a dataset and the row offsets of its cells.

    Attributes
    ----------
    fragments
        The fragments of each table in cell order.
    offsets
        The row offsets of each cell in each of these tables.
    """

    fragments: Mapping[str, list[Fragment]]
    offsets: Mapping[str, NDArray[np.int64]]

    @classmethod
    def of(cls, dataset: Dataset) -> _Layout:
        """The layout of a published dataset."""
        published = dataset.published
        partitioned = partitioned_tables(published.tables)
        tables = [spec.name for spec in partitioned if spec.axis == CELL_ORDER]
        fragments = {
            name: fragments_of(dataset.location, published.tables[name], published.versions[name])
            for name in tables
        }
        return cls(fragments, {name: dataset.offsets(name) for name in fragments})

    @property
    def n_fragments(self) -> dict[str, int]:
        """The number of fragments of each table."""
        return {table: len(fragments) for table, fragments in self.fragments.items()}

    def ends(self, table: str) -> NDArray[np.int64]:
        """The row after the last of each fragment of a table."""
        return np.cumsum([0, *(fragment.rows for fragment in self.fragments[table])])[1:]

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
        cuts = bounds
        for table, offsets in self.offsets.items():
            cuts = cuts[np.isin(offsets[cuts], np.append(self.ends(table), 0))]
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


def _plan(dataset: Dataset, layout: _Layout) -> Plan:
    published = dataset.published
    bounds = np.array([0, *(block.stop for block in published.blocks)], np.int64)
    return Plan.of_dataset(
        published,
        operation="compact",
        options=stored_options(dataset, StoreOptions()),
        parts=tuple(layout.to_merge(bounds)),
        rewrites=tuple(layout.fragments),
        tables=published.tables,
    )


def _is_unfinished(location: Location) -> bool:
    """Whether a run of compact was stopped; it may only have to clean up."""
    manifest = load(location)
    checkpoint = None if manifest is None else manifest.checkpoint
    return checkpoint is not None and bool(checkpoint["plan"].get("operation") == "compact")


def _encode(run: OutputRun, dataset: Dataset, workers: int, progress: Progress) -> None:
    plan = run.plan
    progress.begin(*run.covered(), plan.cells_to_write)
    ids = (dataset.annotations.read_columns(*columns).column(0) for columns in _IDS)
    encode = partial(
        encode_part,
        DatasetSource(dataset),
        plan,
        location=run.location,
        identifiers=AxisIds(*ids),
        base=dataset.published,
        progress=progress,
    )
    try:
        run_parts(run.remaining(), encode, run.record, workers)
    except DamagedDataset:
        run.abandon()
        raise


_IDS = ((CELLS, ["cell_id"]), (GENES, ["gene_id"]))


def _publish(run: OutputRun, dataset: Dataset, layout: _Layout) -> None:
    """Commit the merged fragments with the others, and publish the dataset."""
    location, published = run.location, dataset.published
    changes: dict[str, TableChange] = {}
    for table, directory in published.tables.items():
        if table in layout.fragments:
            fragments = list(_merged_fragments(layout, table, run))
            changes[table] = TableFragments(directory, dataset.table(table).schema, fragments)
        else:
            changes[table] = TableGrowth(directory, published.versions[table])
    compacted = structs.replace(
        published,
        versions=commit_tables(location, run.plan, changes),
        last_updated=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if (checksums := published.checksums).files:
        compacted = with_checksums(location, compacted, run.files(), checksums, base=published)
    run.publish(compacted)


def _merged_fragments(layout: _Layout, table: str, run: OutputRun) -> Iterator[Fragment]:
    """The fragments of the compacted table, in order."""
    fragments, at = layout.fragments[table], 0
    for part in run.parts_of(table):
        replaced = layout.fragments_within(table, part.rows)
        yield from fragments[at : replaced.start]
        yield from part.tables[table].fragments
        at = max(at, replaced.stop)
    yield from fragments[at:]
