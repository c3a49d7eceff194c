"""slaf.repair: rewrite damaged parts of a dataset from its inputs, and verify them."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from slaf.dataset.dataset import Dataset
from slaf.errors import DamagedDataset, InputError, NoSuchInput, SourceChanged
from slaf.format.config import load, load_published
from slaf.format.epoch import locked
from slaf.options import ReadOptions
from slaf.repairs.annotated import without_lost_annotations
from slaf.repairs.damage import Damage
from slaf.repairs.parts import plan_repair
from slaf.repairs.publish import discard
from slaf.repairs.work import Repair, read_back, salvageable_rows
from slaf.runs.checkpoint import checkpoint_of
from slaf.runs.output_run import OutputRun, begin_or_resume
from slaf.runtime.progress import NullProgress
from slaf.storage.location import Location
from slaf.tables.commit import drop_newer_versions
from slaf.verification.files import describe_file
from slaf.verification.reopen import reopen_inputs

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import pyarrow as pa

    from slaf.format.config import DatasetConfig
    from slaf.runtime.progress import Progress
    from slaf.sources.base import Inputs
    from slaf.sources.concat.source import Concat

__all__ = ["RepairReport", "repair"]

logger = logging.getLogger("slaf")


@dataclass(frozen=True, slots=True)
class RepairReport:
    """The result of a repair.

    Attributes
    ----------
    dataset
        The location of the dataset.
    files
        The number of checked files.
    damaged
        The damaged files, each with its content, as text.
    parts
        The ranges ``(start, stop)`` of cells whose rows were written again.
    tables
        The tables with a damaged file.
    """

    dataset: str
    files: int
    damaged: tuple[str, ...] = ()
    parts: tuple[tuple[int, int], ...] = ()
    tables: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As `slaf repair --json` prints it."""
        return asdict(self)


def repair(
    dataset: str | os.PathLike[str] | Location,
    inputs: Inputs | None = None,
    *,
    format: str | None = None,
    workers: int = 0,
    memory: int | None = None,
    scratch: str | os.PathLike[str] | None = None,
    restart: bool = False,
    drop_annotated: bool = False,
    storage_options: Mapping[str, str] | None = None,
    input_storage_options: Mapping[str, str] | None = None,
    stage: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> RepairReport:
    """Rewrite the damaged and missing files of a dataset, or finish a repair that was stopped.

    Every file is compared with its checksum. Only the rows of damaged files are read from the
    inputs again. The dataset is changed once all of these have the digests in config.json.

    Parameters
    ----------
    dataset
        A published dataset.
    inputs
        All inputs of the dataset, in their order. Damage to an index, or to the record of a commit
        in Lance, needs none.
    format
        The format of the inputs; None to recognise each by its content.
    workers, memory, scratch
        As for `slaf.convert`.
    restart
        Discard an unfinished run of the dataset, also an append.
    drop_annotated
        Drop what the dataset was annotated with where its files are damaged: no input has it.
    storage_options, input_storage_options, stage
        As for `slaf.convert`.
    progress
        Receives the progress: an object with the methods of `slaf.runtime.progress.Progress`.

    Returns
    -------
    RepairReport
        The damage that was repaired; empty if there was none.

    Raises
    ------
    DatasetError
        If there is no dataset, it has no checksums of files, or what it was annotated with is lost.
    SourceChanged
        If the inputs differ from what was converted. The dataset is unchanged.
    InputError
        If an input is missing, or cannot be read.
    ConflictError
        If another process writes to the dataset, or another run is unfinished.
    StorageError
        If writing fails; the repair can be resumed.
    """
    location = Location.of(dataset, storage_options)
    load_published(location)
    with locked(location):
        published = load_published(location)
        if not published.checksums.files:
            msg = (
                f"{location}: an earlier release made it, without checksums of files, so that "
                "damage cannot be located; `slaf verify --against` compares it with its inputs"
            )
            raise DamagedDataset(msg)
        damage = Damage.of(location, published)
        if not damage.files:
            _end_unfinished(location, published)
            logger.info("%s: nothing is damaged", location)
            return RepairReport(str(location), len(published.checksums.files))
        with ExitStack() as opened:
            rows = salvageable_rows(location, published, damage)
            published = without_lost_annotations(published, damage, rows, drop=drop_annotated)
            rows = {name: found for name, found in rows.items() if name in published.tables}
            reading = ReadOptions(
                matrix=published.sources[0].matrix if published.sources else "X",
                workers=workers,
                memory=memory,
                scratch=scratch,
                storage_options=input_storage_options or storage_options,
                stage=stage,
            ).near(location)
            _check_still_in_inputs(location, published, damage, rows)
            source = None
            if damage.needs_inputs or None in rows.values():
                damaged = Dataset(location, published)
                if inputs is None:
                    raise _inputs_needed(damaged)
                source = opened.enter_context(reopen_inputs(damaged, inputs, format, reading))
                _check_same_shape(damaged, source)
            run = _begin_or_resume(location, published, damage, restart=restart)
            in_progress = Repair(run, published, damage, rows)
            try:
                repaired = in_progress.rewrite(source, reading, workers, progress or NullProgress())
            except (InputError, DamagedDataset):
                discard(run, published, damage)
                raise
            dataset_config = repaired.commit()
            read_back(Dataset(location, dataset_config), damage)
            run.publish(dataset_config)
    return RepairReport(
        str(location),
        len(published.checksums.files),
        tuple(
            f"{entry.file.file} ({describe_file(published, entry.file)})" for entry in damage.files
        ),
        tuple((cells.start, cells.stop) for cells in damage.parts),
        tuple(sorted(damage.tables)),
    )


def _check_still_in_inputs(
    location: Location,
    published: DatasetConfig,
    damage: Damage,
    rows: Mapping[str, pa.Table | None],
) -> None:
    """Refuse to make again what inputs gave that were removed: the others do not have it."""
    lost = sorted({name for name, found in rows.items() if found is None} | damage.elements)
    if published.removed and lost:
        uris = ", ".join(source.uri for source in published.removed)
        msg = (
            f"{location}: {', '.join(lost)} cannot be made again, for inputs were removed that "
            f"gave columns and elements to it ({uris}); restore it from a copy, or convert the "
            "other inputs again"
        )
        raise DamagedDataset(msg)


def _inputs_needed(dataset: Dataset) -> NoSuchInput:
    uris = ", ".join(source.uri for source in dataset.sources)
    return NoSuchInput(
        f"{dataset.location}: the damaged rows are only in the inputs of the dataset; name all in "
        f"their order with --from: {uris}"
    )


def _check_same_shape(dataset: Dataset, source: Concat) -> None:
    """Refuse inputs with another number of cells or other genes than recorded."""
    for record, recorded in zip(source.records, dataset.sources, strict=True):
        same_genes = record.genes_present == recorded.genes_present
        if record.n_cells != recorded.n_cells or not same_genes:
            msg = (
                f"{record.uri}: it has {record.n_cells:,} cells and had {recorded.n_cells:,}, or "
                "other genes than it had, so nothing is repaired; give the inputs as they were, in "
                "their order"
            )
            raise SourceChanged(msg)


def _begin_or_resume(
    location: Location, published: DatasetConfig, damage: Damage, *, restart: bool
) -> OutputRun:
    """The run that repairs this damage, new or resumed."""
    plan = plan_repair(published, damage)
    unfinished = _unfinished_repair(location, restart=restart)
    if unfinished is not None and unfinished.checkpoint.published:
        # Its result is published, and was damaged afterwards.
        unfinished.forget()
    elif unfinished is not None:
        restart = not _covers(unfinished, published, damage)
    return begin_or_resume(location, plan, overwrite=False, restart=restart, allow_duplicate=True)


def _covers(run: OutputRun, published: DatasetConfig, damage: Damage) -> bool:
    """Whether an unfinished repair writes, and has written, what is damaged now."""
    tables = run.plan.tables
    moved = {table for table in tables if tables[table] != published.tables[table]}
    if run.plan.parts != tuple(damage.parts) or moved != damage.unreadable:
        return False
    return all(damage.parts[part.rows] <= part.tables.keys() for part in run.parts())


def _unfinished_repair(location: Location, *, restart: bool = False) -> OutputRun | None:
    """The unfinished repair of a dataset; None without one, or if it is to be discarded."""
    manifest = load(location)
    if manifest is None or manifest.checkpoint is None:
        return None
    is_repair = manifest.checkpoint["plan"].get("operation") == "repair"
    if not is_repair or (restart and not manifest.checkpoint.get("published")):
        return None
    checkpoint = checkpoint_of(location, manifest)
    return OutputRun.unfinished(location, manifest, checkpoint) if checkpoint else None


def _end_unfinished(location: Location, published: DatasetConfig) -> None:
    """End an unfinished repair of a dataset that is no longer damaged."""
    run = _unfinished_repair(location)
    if run is not None:
        for name, directory in published.tables.items():
            drop_newer_versions(location, directory, published.versions[name])
        run.clean_up()
