"""Whose output this is: a new run, the one to resume, or a refusal that says what differs."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from slaf.errors import DamagedDataset, DuplicateInput, OutputExists, UnfinishedRun
from slaf.format.config import (
    CONFIG,
    LEGACY_DIR,
    OPTIONAL_TABLES,
    DatasetConfig,
    Manifest,
    load,
    save,
)
from slaf.runs.annotations import uns_files
from slaf.runs.checkpoint import Checkpoint
from slaf.runs.encode import SCRATCH
from slaf.runs.publish import clean_up
from slaf.sources.identity import content_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slaf.format.config import SourceRecord
    from slaf.runs.checkpoint import GenePart, PartResult
    from slaf.runs.plan import Plan
    from slaf.storage.location import Location

__all__ = [
    "OutputRun",
    "begin_or_resume",
    "check_not_complete",
    "check_not_repeated",
    "checkpoint_of",
    "unfinished_run",
]

logger = logging.getLogger("slaf")


class OutputRun:
    """A run that owns its output: every change of its state is in config.json before it counts.

    Attributes
    ----------
    location
        The output.
    published
        What readers see meanwhile; None if there was nothing before.
    checkpoint
        The plan, and the parts that are done.
    older
        What another program says of the dataset that is there; None if there is none of one.
    """

    def __init__(
        self,
        location: Location,
        published: DatasetConfig | None,
        checkpoint: Checkpoint,
        older: Mapping[str, Any] | None = None,
    ) -> None:
        self.location = location
        self.published = published
        self.checkpoint = checkpoint
        self.older = older

    def record(self, result: PartResult) -> None:
        """Note that a part is on disk."""
        self._save(self.checkpoint.with_part(result))

    def record_genes(self, part: GenePart) -> None:
        """Note that genes are on disk in their own order."""
        self._save(self.checkpoint.with_genes(part))

    def keep(self, checkpoint: Checkpoint) -> None:
        """Leave only so much of the run to be resumed."""
        self._save(checkpoint)

    def begin(self, plan: Plan) -> None:
        """Begin, or begin again, with no part done.

        What parts of an earlier attempt left is not named any more from here on: it is
        removed at once where there is no dataset yet, and otherwise, or where that is stopped,
        at the end.
        """
        self._save(Checkpoint(plan))
        if self.published is None:
            # Of another program's dataset everything stays, but for what is in our own folder.
            ours = self.older is None
            beside = (*OPTIONAL_TABLES.values(), *uns_files(self.location)) if ours else ()
            for name in (*plan.tables.values(), *beside, SCRATCH):
                self.location.remove(name)

    def abandon(self) -> None:
        """Leave the output as it was before the run: the older dataset, or nothing."""
        self.begin(self.checkpoint.plan)
        if self.older is not None:
            self.location.remove(LEGACY_DIR)
            save(self.location, Manifest(older=self.older))
        elif self.published is None:
            self.location.remove(CONFIG)
        else:
            clean_up(self.location, self.published)

    def _save(self, checkpoint: Checkpoint) -> None:
        save(self.location, Manifest(self.published, checkpoint.to_json(), self.older))
        self.checkpoint = checkpoint


def check_not_complete(location: Location, *, overwrite: bool) -> None:
    """Refuse an output that holds something finished, unless it is to be replaced.

    Raises
    ------
    OutputExists
        If there is a published dataset, or anything that is no dataset.
    Locked
        If another process is writing to the dataset.
    """
    manifest = load(location)
    if manifest is not None and manifest.checkpoint is None:
        location.break_stale_lock()
    _check_not_complete(location, manifest, overwrite=overwrite)


def unfinished_run(
    location: Location, plan: Plan, *, overwrite: bool, restart: bool, allow_duplicate: bool
) -> Checkpoint | None:
    """The unfinished run at a location that this plan continues; None if it begins anew.

    Changes nothing. A run that only adds to what is finished needs no leave to begin.

    Parameters
    ----------
    overwrite
        Replace a finished dataset; it stays readable until the new one is published.
    restart
        Discard what an unfinished run, be it another, has done so far.
    allow_duplicate
        Take an input that is there already, or is given twice.

    Raises
    ------
    OutputExists
        If the output holds something finished.
    UnfinishedRun
        If it holds an unfinished run of another input or with other options.
    DuplicateInput
        If a run that begins anew has an input that is there already.
    """
    manifest = _load(location, plan)
    if plan.base is None:
        _check_not_complete(location, manifest, overwrite=overwrite)
    there = None if manifest is None else _continued(location, manifest, plan, restart=restart)
    if there is not None:
        return there
    replaces = manifest is not None and manifest.published is not None and plan.base is None
    if replaces and not overwrite:
        raise _finished(location)
    if not allow_duplicate:
        known = len(plan.sources) - len(plan.added)
        check_not_repeated(plan.sources[:known], plan.added)
    return None


def begin_or_resume(
    location: Location, plan: Plan, *, overwrite: bool, restart: bool, allow_duplicate: bool
) -> OutputRun:
    """The run that this plan is, at a location that is locked: begun, or taken up again.

    Parameters and errors are those of `unfinished_run`.
    """
    there = unfinished_run(
        location, plan, overwrite=overwrite, restart=restart, allow_duplicate=allow_duplicate
    )
    manifest = _load(location, plan) or Manifest()
    run = OutputRun(location, manifest.published, there or Checkpoint(plan), manifest.older)
    if there is None:
        run.begin(plan)
    elif not there.published:
        done, total = len(there.done), len(there.plan.parts)
        logger.info("resuming: %d of %d parts are done", done, total)
    return run


def checkpoint_of(location: Location, manifest: Manifest) -> Checkpoint | None:
    """The unfinished run that a manifest tells of; None without one.

    Raises
    ------
    DamagedDataset
        If this release cannot make sense of it.
    """
    if manifest.checkpoint is None:
        return None
    try:
        return Checkpoint.from_json(manifest.checkpoint)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        msg = (
            f"{location}: the unfinished run in {CONFIG} is of another release, or damaged "
            f"({error!r}); finish it with the release that began it, or discard it with --restart"
        )
        raise DamagedDataset(msg) from error


def check_not_repeated(there: Sequence[SourceRecord], added: Sequence[SourceRecord]) -> None:
    """Refuse inputs that a dataset holds already, or that are given twice.

    Parameters
    ----------
    there, added
        The inputs of the dataset, and those of a run.

    Raises
    ------
    DuplicateInput
        If the content of one is that of another, wherever it lies.
    """
    seen = {content_key(source): source for source in there}
    for source in added:
        known = seen.setdefault(content_key(source), source)
        if known is not source:
            where = f"as {known.uri}" if known.uri != source.uri else "already"
            msg = (
                f"{source.uri}: the same input is there {where}; leave it out, or take its cells "
                "once more with --allow-duplicate"
            )
            raise DuplicateInput(msg)


def _load(location: Location, plan: Plan) -> Manifest | None:
    return load(location, older=plan.base is not None)


def _check_not_complete(location: Location, manifest: Manifest | None, *, overwrite: bool) -> None:
    if manifest is None:
        if not location.is_empty():
            msg = f"{location}: something else is there; name an output that does not exist yet"
            raise OutputExists(msg)
    elif manifest.checkpoint is None and not overwrite:
        raise _finished(location)


def _continued(
    location: Location, manifest: Manifest, plan: Plan, *, restart: bool
) -> Checkpoint | None:
    """The unfinished run of a manifest, if it is to be continued by this plan."""
    if restart and not (manifest.checkpoint or {}).get("published"):
        # It is discarded, whatever it is.
        return None
    there = checkpoint_of(location, manifest)
    if there is None:
        return None
    there = replace(there, plan=there.plan.mended(plan, there.damaged), damaged=())
    differences = list(plan.differences(there.plan))
    if there.published:
        # Nothing but cleaning is left of it, so there is nothing to discard either.
        return None if differences else there
    differences += there.plan.changed_base(plan)
    if differences:
        what = {"convert": "conversion"}.get(there.plan.operation, there.plan.operation)
        msg = (
            f"{location}: an unfinished {what} is there that is not this one: "
            f"{', '.join(differences)}; finish it with the command that began it, or discard "
            "it with --restart"
        )
        raise UnfinishedRun(msg)
    return there


def _finished(location: Location) -> OutputExists:
    return OutputExists(
        f"{location}: a finished dataset is there; name another output, or replace it "
        "with --overwrite"
    )
