"""Mend a dataset: what is damaged of it is written again from its inputs, and proven."""

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
from slaf.repairs.damage import Damage
from slaf.repairs.parts import plan_repair
from slaf.repairs.publish import discard
from slaf.repairs.work import Repair, read_back, salvageable_rows
from slaf.runs.output_run import OutputRun, begin_or_resume, checkpoint_of
from slaf.runtime.progress import NullProgress
from slaf.storage.location import Location
from slaf.tables.commit import drop_newer_versions
from slaf.verification.files import describe_file
from slaf.verification.reopen import reopen_inputs

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from slaf.format.config import DatasetConfig
    from slaf.runtime.progress import Progress
    from slaf.sources.base import Inputs
    from slaf.sources.concat.source import Concat

__all__ = ["RepairReport", "repair"]

logger = logging.getLogger("slaf")


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What was damaged of a dataset, and is mended.

    Attributes
    ----------
    dataset
        Its location.
    files
        The files that were checked.
    damaged
        Those that were damaged, each with what was in it, in words.
    parts
        The runs of cells whose rows were written again, ``(start, stop)`` of each.
    tables
        The tables that have a new version.
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
    storage_options: Mapping[str, str] | None = None,
    input_storage_options: Mapping[str, str] | None = None,
    stage: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> RepairReport:
    """Write again what is damaged or missing of a dataset, or finish a repair that was stopped.

    Every file is held against what was noted of it when it was written. The rows in those that
    are damaged, and no others, are read from the inputs once more; until all of them have the
    digests that were taken when the dataset was made, nothing of it is changed.

    Parameters
    ----------
    dataset
        A published dataset.
    inputs
        Those that it was made of, all in their order. Damage to an index, or to what Lance notes
        of a commit, needs none.
    format
        The format of the inputs; found by the content of each if None.
    workers, memory, scratch
        As for `slaf.convert`.
    restart
        Discard an unfinished run that is at the dataset, be it an append.
    storage_options, input_storage_options, stage
        As for `slaf.convert`.
    progress
        Told how far it is: an object with the two methods of `slaf.runtime.progress.Progress`.

    Returns
    -------
    Repaired
        What was damaged; nothing, if nothing was.

    Raises
    ------
    DatasetError
        If there is no dataset, or nothing was noted of its files when it was made.
    SourceChanged
        If the inputs do not give what was converted. The dataset stays as it was.
    InputError
        If one is not named, or cannot be read.
    ConflictError
        If another run is at work there, or unfinished.
    StorageError
        If the disk refuses; the repair can be resumed.
    """
    location = Location.of(dataset, storage_options)
    load_published(location)
    with locked(location):
        published = load_published(location)
        if not published.proof.files:
            msg = (
                f"{location}: it was made before checksums of files were noted, so that nothing "
                "says what is damaged; `slaf verify --against` compares it with its inputs"
            )
            raise DamagedDataset(msg)
        survey = Damage.of(location, published)
        if not survey.files:
            _end_unfinished(location, published)
            logger.info("%s: nothing is damaged", location)
            return RepairReport(str(location), len(published.proof.files))
        with ExitStack() as opened:
            rows = salvageable_rows(location, published, survey)
            reading = ReadOptions(
                matrix=published.sources[0].matrix if published.sources else "X",
                workers=workers,
                memory=memory,
                scratch=scratch,
                storage_options=input_storage_options or storage_options,
                stage=stage,
            ).near(location)
            source = None
            if survey.needs_inputs or None in rows.values():
                there = Dataset(location, published)
                given = _named(there, inputs)
                source = opened.enter_context(reopen_inputs(there, given, format, reading))
                _refuse_other_shape(there, source)
            run = _claimed(location, published, survey, restart=restart)
            work = Repair(run, published, survey, rows)
            try:
                mended = work.done(source, reading, workers, progress or NullProgress())
            except (InputError, DamagedDataset):
                discard(run, published, survey)
                raise
            now = mended.commit()
            read_back(Dataset(location, now), survey)
            run.publish(now)
    return RepairReport(
        str(location),
        len(published.proof.files),
        tuple(f"{one.file.file} ({describe_file(published, one.file)})" for one in survey.files),
        tuple((cells.start, cells.stop) for cells in survey.parts),
        tuple(sorted(survey.tables)),
    )


def _named(dataset: Dataset, inputs: Inputs | None) -> Inputs:
    if inputs is None:
        made = ", ".join(source.uri for source in dataset.sources)
        msg = (
            f"{dataset.location}: what is damaged is only in the inputs it was made of; name all "
            f"in their order with --from: {made}"
        )
        raise NoSuchInput(msg)
    return inputs


def _refuse_other_shape(dataset: Dataset, source: Concat) -> None:
    """Refuse inputs whose cells or genes are not as many as they were."""
    found = [(one.uri, one.n_cells, one.measured) for one in source.records]
    wanted = [(one.n_cells, one.measured) for one in dataset.sources]
    for (uri, n_cells, measured), (cells, genes) in zip(found, wanted, strict=True):
        if (n_cells, measured) != (cells, genes):
            msg = (
                f"{uri}: it has {n_cells:,} cells and had {cells:,}, or other genes than it had, "
                "so nothing is mended; give the inputs as they were, in their order"
            )
            raise SourceChanged(msg)


def _claimed(
    location: Location, published: DatasetConfig, survey: Damage, *, restart: bool
) -> OutputRun:
    """The run that repairs this damage, begun or taken up again."""
    plan = plan_repair(published, survey)
    unfinished = _unfinished_repair(location, restart=restart)
    if unfinished is not None and unfinished.checkpoint.published:
        # Its result is published, and damaged since.
        unfinished.forget()
    elif unfinished is not None:
        restart = not _is_enough(unfinished, published, survey)
    return begin_or_resume(location, plan, overwrite=False, restart=restart, allow_duplicate=True)


def _is_enough(run: OutputRun, published: DatasetConfig, survey: Damage) -> bool:
    """Whether what an unfinished repair writes, and has written, is what is damaged now."""
    tables = run.plan.tables
    moved = {table for table in tables if tables[table] != published.tables[table]}
    if run.plan.parts != tuple(survey.parts) or moved != survey.unopened:
        return False
    return all(survey.parts[part.rows] <= part.tables.keys() for part in run.parts())


def _unfinished_repair(location: Location, *, restart: bool = False) -> OutputRun | None:
    """The repair that is unfinished there, if there is one and it is not to be discarded."""
    manifest = load(location)
    if manifest is None or manifest.checkpoint is None:
        return None
    if manifest.checkpoint["plan"].get("operation") != "repair":
        return None
    if restart and not manifest.checkpoint.get("published"):
        return None
    checkpoint = checkpoint_of(location, manifest)
    return OutputRun.unfinished(location, manifest, checkpoint) if checkpoint else None


def _end_unfinished(location: Location, published: DatasetConfig) -> None:
    """End a repair that is unfinished though nothing is damaged any more."""
    run = _unfinished_repair(location)
    if run is not None:
        for name, directory in published.tables.items():
            drop_newer_versions(location, directory, published.versions[name])
        run.clean_up()
