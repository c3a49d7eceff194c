"""Write rows of a dataset again: its fragments, the parts, and the commit of both."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

import numpy as np
from msgspec import structs

from slaf.dataset.dataset import Dataset, View, open_dataset
from slaf.errors import DamagedDataset, InputError, SelectionError
from slaf.format.config import load, load_published
from slaf.format.epoch import locked
from slaf.format.schema import CELL_ORDER, CELLS, GENES, partitioned_tables
from slaf.options import ReadOptions
from slaf.runs.checkpoint import checkpoint_of
from slaf.runs.checksums import storage_options_record, table_digests, with_checksums
from slaf.runs.encode import NeedsWiderType, encode_part
from slaf.runs.estimate import check_disk_space, rewrite_estimate
from slaf.runs.output_run import OutputRun, begin_or_resume
from slaf.runs.value_types import AxisIds
from slaf.runtime.executors import run_parts
from slaf.storage.location import Location
from slaf.tables.read import fragments_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.format.config import DatasetConfig
    from slaf.runs.plan import Plan
    from slaf.runtime.progress import Progress
    from slaf.sources.base import Source
    from slaf.tables.fragments import Fragment

__all__ = [
    "Layout",
    "begin_rewrite",
    "changing",
    "ids_of",
    "is_unfinished",
    "rewrite_parts",
    "with_written",
]


@dataclass(frozen=True, slots=True)
class Layout:
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
    def of(cls, dataset: Dataset) -> Self:
        """The layout of a published dataset."""
        published = dataset.published
        partitioned = partitioned_tables(published.tables)
        tables = [spec.name for spec in partitioned if spec.axis.name == CELL_ORDER.name]
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

    def cuts(self, bounds: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of some cells at which fragments of every table begin, and the number of cells.

        Parameters
        ----------
        bounds
            The first cell of each block, and the number of cells.
        """
        for table, offsets in self.offsets.items():
            bounds = bounds[np.isin(offsets[bounds], np.append(self.ends(table), 0))]
        return bounds


def begin_rewrite(location: Location, plan: Plan, source: Source, *, restart: bool) -> OutputRun:
    """The run that changes a dataset, begun or taken up again; its inputs are those it has.

    Parameters
    ----------
    source
        The rows, as they will be.

    Raises
    ------
    StorageError
        If what is written again surely does not fit on the disk.
    ConflictError
        If another run is unfinished.
    """
    reading = ReadOptions().near(location)
    needed = rewrite_estimate(plan, source)
    base = load_published(location)
    use = "what is written again takes"
    check_disk_space(
        location, reading, needed, base=base, use=use, remedy="another disk with `slaf copy`"
    )
    return begin_or_resume(location, plan, overwrite=False, restart=restart, allow_duplicate=True)


def ids_of(dataset: Dataset) -> AxisIds:
    """The ids of the cells and genes of a dataset."""
    read = dataset.annotations.read_columns
    return AxisIds(read(CELLS, ["cell_id"]).column(0), read(GENES, ["gene_id"]).column(0))


def with_written(
    run: OutputRun, dataset: DatasetConfig, tables: Mapping[str, pa.Table | None]
) -> DatasetConfig:
    """The record of a changed dataset, with the checksums of what was written, if it has any.

    Parameters
    ----------
    run
        The run, whose tables are committed.
    dataset
        The record, with the checksums of the dataset before.
    tables
        The tables that were written whole; None for one that is gone.
    """
    before = dataset.checksums
    if not before.files:
        return dataset
    digests = table_digests({name: rows for name, rows in tables.items() if rows is not None})
    storage = storage_options_record(run.plan)
    checksums = structs.replace(before, tables=digests, storage=storage)
    return with_checksums(run.location, dataset, run.files(), checksums, base=run.previous)


def rewrite_parts(
    run: OutputRun,
    source: Source,
    base: DatasetConfig,
    identifiers: AxisIds,
    *,
    workers: int = 0,
    progress: Progress,
) -> None:
    """Write the parts of a run that remain; a value beyond its type begins it with a wider one.

    Parameters
    ----------
    run
        The run.
    source
        The rows, as they will be.
    base
        The dataset with the digests of these rows.
    identifiers
        The ids of the cells and genes of `source`.
    workers, progress
        As for `slaf.convert`.

    Raises
    ------
    DamagedDataset
        If rows differ from their digests. The dataset is as it was before the run.
    InputError
        If a value cannot be stored exactly; also then.
    """
    while True:
        progress.begin(*run.covered(), run.plan.cells_to_write)
        encode = partial(
            encode_part,
            source,
            run.plan,
            location=run.location,
            identifiers=identifiers,
            base=base,
            progress=progress,
        )
        try:
            run_parts(run.remaining(), encode, run.record, workers)
        except NeedsWiderType as misfit:
            run.begin(run.plan.widened(misfit.types))
        except (DamagedDataset, InputError):
            run.abandon()
            raise
        else:
            return


def is_unfinished(location: Location, operation: str) -> bool:
    """Whether a run of an operation was stopped; it may only have to clean up."""
    manifest = load(location)
    checkpoint = None if manifest is None else manifest.checkpoint
    return checkpoint is not None and bool(checkpoint["plan"].get("operation") == operation)


@contextmanager
def changing(
    dataset: str | os.PathLike[str] | Location | View,
    storage_options: Mapping[str, str] | None,
    advice: str,
) -> Iterator[Dataset]:
    """A whole dataset, which only this process changes until the block ends.

    Parameters
    ----------
    dataset, storage_options
        As for `slaf.annotate`.
    advice
        The remedy, if it is a view of a part.

    Raises
    ------
    SelectionError
        If it is a view that is no dataset.
    DatasetError
        If there is no dataset.
    Locked
        If another process writes to it.
    """
    location = _location_of(dataset, storage_options, advice)
    load_published(location)
    with locked(location):
        _clean_up_published(location)
        yield open_dataset(location)


def _clean_up_published(location: Location) -> None:
    """End a run that is published, and was stopped while it removed files."""
    manifest = load(location)
    # One that is not may be of another release, and is to be discarded.
    if manifest is not None and (manifest.checkpoint or {}).get("published"):
        checkpoint = checkpoint_of(location, manifest)
        if checkpoint is not None:
            OutputRun.unfinished(location, manifest, checkpoint).clean_up()


def _location_of(
    dataset: str | os.PathLike[str] | Location | View,
    storage_options: Mapping[str, str] | None,
    advice: str,
) -> Location:
    if isinstance(dataset, Dataset):
        return dataset.location
    if not isinstance(dataset, View):
        return Location.of(dataset, storage_options)
    if isinstance(dataset.origin, Dataset):
        msg = f"{dataset.label}: this is a view of a part of it; {advice}"
    else:
        msg = (
            f"{dataset.label}: this is a view of inputs, which are not changed; convert them with "
            "slaf.convert first"
        )
    raise SelectionError(msg)
