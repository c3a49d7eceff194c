"""A run at an output: begun, resumed, recorded and published, or refused with what differs."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from slaf.errors import (
    AlreadyInDataset,
    DuplicateInput,
    NoPlan,
    OutputExists,
    TargetError,
    UnfinishedRun,
)
from slaf.format.config import (
    CONFIG,
    LEGACY_DIR,
    SCRATCH,
    Manifest,
    load,
    load_former,
    save,
    save_former,
)
from slaf.format.epoch import remove_stale_lock
from slaf.format.schema import CELL_ORDER, GENE_ORDER, TABLES
from slaf.runs.checkpoint import Checkpoint, checkpoint_of
from slaf.runs.checksums import with_uns_json_checksum
from slaf.runs.commit import COPY_JOURNAL, UNS_JSON, clean_up, remove_other_files
from slaf.runs.journal import Journal
from slaf.sources.identity import content_key
from slaf.tables.commit import drop_newer_versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slaf.format.config import DatasetConfig, SourceRecord
    from slaf.format.files import StoredFile
    from slaf.format.records import Block
    from slaf.format.schema import Axis
    from slaf.runs.journal import PartResult, TableResult
    from slaf.runs.plan import Plan
    from slaf.storage.location import Location
    from slaf.tables.fragments import Fragment

__all__ = [
    "OutputRun",
    "begin_or_resume",
    "check_name",
    "check_not_complete",
    "check_not_repeated",
    "check_of_inputs",
    "check_planned",
    "no_plan",
    "unfinished_run",
]

logger = logging.getLogger("slaf")

# Names that users give to what they expect to be files, or stores, of other programs.
_OF_OTHERS = (
    *(".h5ad", ".h5", ".hdf5", ".h5mu", ".loom", ".zarr", ".soma", ".tiledb", ".scdl", ".mtx"),
    *(".csv", ".tsv", ".txt", ".json", ".html", ".parquet", ".rds", ".bw", ".bigwig", ".bam"),
    *(".gz", ".zip"),
)


class OutputRun:
    """A run that owns its output: config.json, the journal and the previous dataset.

    Attributes
    ----------
    location
        The output.
    previous
        The dataset that readers see until the run is published; None without one.
    legacy
        The config.json of a dataset that slafdb wrote; None without one.
    checkpoint
        The run as config.json records it.
    journal
        The parts that are done.
    """

    def __init__(self, location: Location, manifest: Manifest, checkpoint: Checkpoint) -> None:
        self.location = location
        self.previous = manifest.published
        self.legacy = manifest.legacy
        self.checkpoint = checkpoint
        self.journal = Journal(location, checkpoint)
        self._epoch = manifest.epoch
        self._saved = checkpoint
        # Parts may have requested wider types, which config.json has not.
        self._is_saved = (manifest.checkpoint or {}).get("journal") == checkpoint.plan.digest

    @classmethod
    def unfinished(
        cls, location: Location, manifest: Manifest, checkpoint: Checkpoint
    ) -> OutputRun:
        """A run that was stopped, with the parts that are done."""
        run = cls(location, manifest, checkpoint)
        if not checkpoint.published:
            run.journal = Journal.read(location, checkpoint)
        return run

    @property
    def plan(self) -> Plan:
        """The plan of the run."""
        return self.checkpoint.plan

    @property
    def base(self) -> DatasetConfig | None:
        """The dataset that the run adds to, or changes; None if it makes a new one."""
        return self.previous if self.plan.base is not None else None

    def remaining(self) -> list[int]:
        """The indices of the parts that are not done, in order."""
        return self.journal.missing()

    def parts(self, axis: Axis = CELL_ORDER) -> list[PartResult]:
        """The parts of an axis that are done, in order."""
        done = self.journal.parts[axis.name]
        return [done[index] for index in sorted(done)]

    def parts_of(self, table: str) -> list[PartResult]:
        """The parts that are done and have rows of a table, in order."""
        return [part for part in self.parts(TABLES[table].axis) if table in part.tables]

    def results(self, table: str) -> list[TableResult]:
        """The rows of a table in each part that is done, in order."""
        return [part.tables[table] for part in self.parts_of(table)]

    def fragments(self, table: str) -> list[Fragment]:
        """The fragments of a table of all parts that are done, in order."""
        return [fragment for result in self.results(table) for fragment in result.fragments]

    def blocks(self, table: str, column: str) -> tuple[Block, ...]:
        """The blocks of a value column: those that stay, and those of all parts."""
        blocks: tuple[Block, ...] = ()
        if self.previous is not None and self.plan.adds_to(table):
            blocks = self.previous.blocks_of(table)[column]
        return (*blocks, *(one for result in self.results(table) for one in result.blocks[column]))

    def files(self) -> list[StoredFile]:
        """The files of all parts that are done."""
        parts = (part for axis in (CELL_ORDER, GENE_ORDER) for part in self.parts(axis))
        return [file for part in parts for file in part.files.values()]

    def covered(self) -> tuple[int, int]:
        """Cells and nonzeros of the parts that are done."""
        return self.journal.covered()

    def record(self, part: PartResult) -> None:
        """Write the receipt of a part that is on disk."""
        self.journal.record(part)

    def begin(self, plan: Plan) -> None:
        """Begin, or begin again, with no part done.

        Files of an earlier attempt are removed at once if there is no dataset yet, and otherwise
        when a run is published or given up.
        """
        self._save(self.previous, Checkpoint(plan, directory=self.checkpoint.directory))
        if self.legacy is not None:
            # The files of another program's dataset stay.
            self.location.remove(LEGACY_DIR)
            self.location.remove(SCRATCH)
        elif self.previous is None:
            remove_other_files(self.location)

    def resume(self, plan: Plan, directory: str | None = None) -> None:
        """Continue with the parts that remain; damaged inputs may have been repaired."""
        checkpoint = self.checkpoint.resumed(plan)
        if directory is not None and not checkpoint.published:
            checkpoint = replace(checkpoint, directory=directory)
        is_new = checkpoint is not self.checkpoint or not self._is_saved
        if is_new and not checkpoint.published:
            self._save(self.previous, checkpoint)
            self.journal = Journal.read(self.location, checkpoint)
        for name, reason in self.journal.refused.items():
            logger.warning("%s: %s is not used: %s", self.location, name, reason)
        if not self.checkpoint.published:
            done, total = len(self.parts()), len(self.plan.parts)
            logger.info("resuming: %d of %d parts are done", done, total)

    def keep_without(self, damaged: Iterable[int]) -> int:
        """Give up all parts of the inputs of some parts; the number of parts that stay done."""
        checkpoint = self.checkpoint.without_sources_of(damaged)
        n_kept = sum(
            checkpoint.attempt(part.index) == self.checkpoint.attempt(part.index)
            for part in self.parts()
        )
        if n_kept:
            self._save(self.previous, checkpoint)
        return n_kept

    @classmethod
    def planned(cls, location: Location) -> OutputRun:
        """The unfinished run at a location, by whatever command it was begun.

        Raises
        ------
        NoPlan
            If there is none.
        """
        manifest = load(location)
        checkpoint = None if manifest is None else checkpoint_of(location, manifest)
        if manifest is None or checkpoint is None:
            raise no_plan(location, manifest)
        return cls.unfinished(location, manifest, checkpoint)

    def refresh(self) -> None:
        """Read what other processes have done: receipts, and requests for wider types."""
        self.checkpoint = self._saved.with_requested_types(self.location, self.previous)
        self.journal = Journal.read(self.location, self.checkpoint)

    def abandon(self) -> None:
        """Leave the output as it was before the run: the previous dataset, or nothing."""
        self.begin(replace(self.plan, run_id=uuid4().hex))
        if self.legacy is not None:
            save(self.location, Manifest(legacy=self.legacy))
        elif self.previous is None:
            self.location.remove(CONFIG)
        else:
            # It may have committed tables.
            for table, directory in self.previous.tables.items():
                drop_newer_versions(self.location, directory, self.previous.versions[table])
            self.clean_up()

    def forget(self) -> None:
        """End the run where nothing of it is in a table: the dataset is what it was."""
        self.location.remove(SCRATCH)
        save(self.location, Manifest(self.previous, epoch=self._epoch))

    def publish(self, dataset: DatasetConfig) -> None:
        """Publish a dataset, and remove the files that it does not need.

        Its tables are committed. Replacing config.json is the moment in which it is published.
        """
        if self._keeps_former and self.previous is not None:
            save_former(self.location, self.previous)
        dataset = dataset.with_history(self.previous, self.plan.operation)
        self._save(dataset, replace(self.checkpoint, published=True))
        self.previous, self.legacy = dataset, None
        self.clean_up()

    def clean_up(self) -> None:
        """Remove the files that a published dataset does not need, and then the checkpoint."""
        if self.previous is not None:
            version = self.previous.version - 1
            former = load_former(self.location, version) if self._keeps_former else None
            clean_up(self.location, self.previous, former)
            # A copy that was stopped here has lost what it was to make.
            self.location.remove(COPY_JOURNAL)
            published = with_uns_json_checksum(self.location, self.previous, UNS_JSON)
            save(self.location, Manifest(published, epoch=self._epoch))

    @property
    def _keeps_former(self) -> bool:
        """Whether the version before is kept until the next run."""
        return self.plan.operation == "annotate" and self.legacy is None

    def _save(self, dataset: DatasetConfig | None, checkpoint: Checkpoint) -> None:
        save(self.location, Manifest(dataset, checkpoint.to_json(), self.legacy, self._epoch))
        if checkpoint.plan.digest != self.plan.digest:
            self.journal = Journal(self.location, checkpoint)
        self.checkpoint = self._saved = checkpoint


def check_not_complete(location: Location, *, overwrite: bool, append: str = "") -> None:
    """Refuse an output with a finished dataset, unless it is to be replaced.

    Parameters
    ----------
    location
        The output.
    overwrite
        Whether to replace a dataset.
    append
        The command or option that adds inputs to a dataset, for messages.

    Raises
    ------
    OutputExists
        If there is a published dataset, or anything that is no dataset.
    Locked
        If another process is writing to the dataset.
    """
    manifest = load(location)
    if manifest is not None and manifest.checkpoint is None:
        remove_stale_lock(location)
    _check_not_complete(location, manifest, overwrite=overwrite, append=append)


def unfinished_run(
    location: Location, plan: Plan, *, overwrite: bool, restart: bool, allow_duplicate: bool
) -> OutputRun | None:
    """The unfinished run at a location that this plan continues; None if it begins anew.

    Changes nothing. A run that only adds to what is finished needs no leave to begin.

    Parameters
    ----------
    overwrite
        Replace a finished dataset; it stays readable until the new one is published.
    restart
        Discard what an unfinished run, be it another, has done so far.
    allow_duplicate
        Accept an input that the dataset has, or that is given twice.

    Raises
    ------
    OutputExists
        If the output holds something finished.
    UnfinishedRun
        If it holds an unfinished run of another input or with other options.
    DuplicateInput
        If a run that begins anew has an input that the dataset has.
    """
    manifest = _load(location, plan)
    if plan.base is None:
        _check_not_complete(location, manifest, overwrite=overwrite)
    if manifest is not None:
        checkpoint = _continued(location, manifest, plan, restart=restart)
        if checkpoint is not None:
            return OutputRun.unfinished(location, manifest, checkpoint)
    replaces = manifest is not None and manifest.published is not None and plan.base is None
    if replaces and not overwrite:
        raise _finished(location)
    if not allow_duplicate:
        n_base = len(plan.sources) - len(plan.added)
        check_not_repeated(plan.sources[:n_base], plan.added)
    return None


def begin_or_resume(
    location: Location,
    plan: Plan,
    *,
    overwrite: bool,
    restart: bool,
    allow_duplicate: bool,
    directory: str | None = None,
) -> OutputRun:
    """The run that this plan is, at a location that is locked: begun, or taken up again.

    Further parameters and errors are those of `unfinished_run`.

    Parameters
    ----------
    directory
        The directory of relative paths of inputs, if other processes encode the parts.
    """
    run = unfinished_run(
        location, plan, overwrite=overwrite, restart=restart, allow_duplicate=allow_duplicate
    )
    if run is None:
        manifest = _load(location, plan) or Manifest()
        run = OutputRun(location, manifest, Checkpoint(plan, directory=directory))
        run.begin(plan)
    else:
        run.resume(plan, directory)
    return run


def check_planned(location: Location) -> None:
    """Refuse a location without an unfinished run; reads config.json alone.

    Raises
    ------
    NoPlan
        If there is none.
    """
    manifest = load(location)
    if manifest is None or manifest.checkpoint is None:
        raise no_plan(location, manifest)


def check_of_inputs(location: Location, plan: Plan) -> None:
    """Refuse a run that makes something else than its inputs: the records of these do not say it.

    Raises
    ------
    UnfinishedRun
        If it is one.
    """
    if plan.operation not in {"convert", "append"} or plan.transforms:
        what = "transform" if plan.operation == "convert" else plan.operation
        msg = (
            f"{location}: an unfinished {what} is there, and no plan; finish it with the command "
            "that began it, or discard it with --restart"
        )
        raise UnfinishedRun(msg)


def no_plan(location: Location, manifest: Manifest | None) -> NoPlan:
    """The error that nothing is planned at a location."""
    published = manifest is not None and manifest.published is not None
    there = "a published dataset and no plan" if published else "no plan"
    return NoPlan(f"{location}: there is {there}; make one with `slaf plan`")


def check_not_repeated(base: Sequence[SourceRecord], added: Sequence[SourceRecord]) -> None:
    """Refuse inputs that a dataset holds already, or that are given twice.

    Parameters
    ----------
    base, added
        The inputs of the dataset, and those of a run.

    Raises
    ------
    AlreadyInDataset
        If the dataset has the content of all of them.
    DuplicateInput
        If the content of one is that of another, wherever it lies.
    """
    seen = {content_key(source): source for source in base}
    nothing_new = all(content_key(source) in seen for source in added)
    for source in added:
        first = seen.setdefault(content_key(source), source)
        if first is not source:
            where = f"as {first.uri}" if first.uri != source.uri else "already"
            msg = (
                f"{source.uri}: the same input is there {where}; leave it out, or take its cells "
                "once more with --allow-duplicate"
            )
            raise AlreadyInDataset(msg) if nothing_new else DuplicateInput(msg)


def _load(location: Location, plan: Plan) -> Manifest | None:
    return load(location, legacy=plan.base is not None)


def _check_not_complete(
    location: Location, manifest: Manifest | None, *, overwrite: bool, append: str = ""
) -> None:
    if manifest is None:
        check_name(location)
        if not location.is_empty():
            msg = f"{location}: something else is there; name an output that does not exist yet"
            raise OutputExists(msg)
    elif manifest.checkpoint is None and not overwrite:
        raise _finished(location, append)


def check_name(location: Location) -> None:
    """Refuse to make a dataset under a name that says it is something else.

    Raises
    ------
    TargetError
        If the name ends as those of files of other formats.
    """
    name = str(location).rstrip("/").lower()
    suffix = next((each for each in _OF_OTHERS if name.endswith(each)), None)
    if suffix is not None:
        msg = (
            f"{location}: a dataset is a folder of tables, and no {suffix}; name it "
            "out.slaf or so, and write other formats with `slaf export`"
        )
        raise TargetError(msg)


def _continued(
    location: Location, manifest: Manifest, plan: Plan, *, restart: bool
) -> Checkpoint | None:
    """The unfinished run of a manifest, if it is to be continued by this plan."""
    if restart and not (manifest.checkpoint or {}).get("published"):
        # It is discarded, whatever it is.
        return None
    checkpoint = checkpoint_of(location, manifest)
    if checkpoint is None:
        return None
    begun = checkpoint.resumed(plan).plan
    differences = list(plan.differences(begun))
    if checkpoint.published:
        # Only files remain to be removed: there is nothing to discard.
        return None if differences else checkpoint
    differences += begun.changed_base(plan)
    if differences:
        what = {"convert": "conversion"}.get(begun.operation, begun.operation)
        msg = (
            f"{location}: an unfinished {what} is there that is not this one: "
            f"{', '.join(differences)}; finish it with the command that began it, or discard "
            "it with --restart"
        )
        raise UnfinishedRun(msg)
    return checkpoint


def _finished(location: Location, append: str = "") -> OutputExists:
    remedies = f"replace it with --overwrite, or add to it with {append}"
    return OutputExists(
        f"{location}: a finished dataset is there; name another output, "
        f"{remedies if append else 'or replace it with --overwrite'}"
    )
