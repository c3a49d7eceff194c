"""slaf.plan, slaf.part and slaf.publish: a conversion or an append by many processes."""

from __future__ import annotations

import os
import random
import shlex
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from slaf.conversion.execute import encode_unsorted, execute_run, log_warnings
from slaf.conversion.planned import PlannedRun, check_reachable, reopened
from slaf.conversion.prepare import check_in_this_process, prepare_append, prepare_convert
from slaf.conversion.preview import preview, with_options
from slaf.conversion.slafdb import SlafdbDataset, check_dataset_exists, open_append_target
from slaf.dataset.dataset import Dataset, open_dataset
from slaf.errors import MissingParts, UnsupportedFormat
from slaf.format.config import SCRATCH
from slaf.format.epoch import locked
from slaf.options import AppendOptions, PlanDryRun, PlanOptions, PlanRun, ReadOptions
from slaf.runs.estimate import part_estimate
from slaf.runs.gene_lists import write_planned_genes
from slaf.runs.journal import Journal
from slaf.runs.output_run import (
    OutputRun,
    begin_or_resume,
    check_not_complete,
    check_of_inputs,
    check_planned,
)
from slaf.runtime.job_arrays import indices_text, task_index
from slaf.runtime.progress import NullProgress
from slaf.storage.location import Location

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slaf.conversion.prepare import Prepared
    from slaf.conversion.preview import Preview
    from slaf.runs.estimate import Estimate
    from slaf.runtime.progress import Progress
    from slaf.sources.base import Inputs

__all__ = ["PartReport", "PlanReport", "discard_plan", "part", "plan", "publish"]

# SLURM's default of MaxArraySize allows the indices 0 to 1000.
_MOST_TASKS = 1000
# Memory and time that a job asks for, as multiples of the estimates.
_MEMORY_MARGIN, _TIME_MARGIN = 1.5, 10
_LEAST_MINUTES = 10
_LISTED = 5


@dataclass(frozen=True, slots=True)
class PlanReport:
    """A plan, and how to start it.

    Attributes
    ----------
    output
        The location of the dataset.
    operation
        "convert" or "append".
    parts
        The number of parts; their indices count from 0.
    missing
        The indices of the parts that remain, like "0-311"; "" for none.
    n_cells, n_genes
        The shape of the dataset.
    sorted_here
        The inputs that are not in the order of cells, whose parts are done already.
    part
        The bytes, memory and seconds that a part takes by itself.
    command
        The job array of SLURM that encodes the parts that remain; "" for none.
    """

    output: str
    operation: str
    parts: int
    missing: str
    n_cells: int
    n_genes: int
    sorted_here: tuple[str, ...]
    part: Estimate
    command: str

    def to_json(self) -> dict[str, Any]:
        """As `slaf plan --json` prints it."""
        data: dict[str, Any] = to_builtins(self)
        return data


@dataclass(frozen=True, slots=True)
class PartReport:
    """A part of a plan.

    Attributes
    ----------
    output
        The location of the dataset.
    index
        The index of the part; None if none was missing.
    parts
        The number of parts.
    state
        "done"; "was done" if it had been before; "not needed" if the plan was published or given up
        meanwhile.
    cells, nonzeros
        Its content.
    """

    output: str
    index: int | None
    parts: int
    state: str
    cells: int = 0
    nonzeros: int = 0

    def to_json(self) -> dict[str, Any]:
        """As `slaf part --json` prints it."""
        data: dict[str, Any] = to_builtins(self)
        return data


@with_options(PlanOptions, PlanRun, PlanDryRun)
def plan(
    inputs: Inputs, output: str | os.PathLike[str] | Location, options: PlanOptions
) -> PlanReport | Preview:
    """Plan a conversion, or an append, whose parts any processes encode.

    The plan is in the output, with the records of the inputs. `slaf.part` encodes a part, anywhere
    where inputs and output can be reached, and `slaf.publish` makes the dataset. The same call
    keeps the parts that are done. Inputs that are not in the order of cells are sorted, and their
    parts encoded, by this call.

    Parameters
    ----------
    inputs
        As for `slaf.convert`, but none in memory.
    output
        A directory that all processes reach, or the URL of one in a bucket. It does not exist yet,
        unless it is appended to.
    options
        By keyword, each field of `slaf.options.PlanOptions`.

    Returns
    -------
    PlanReport | Preview
        The plan; with `dry_run=True`, a preview of the conversion.

    Raises
    ------
    InputError
        If an input cannot be converted exactly, or other processes cannot reach it.
    ConflictError
        If the output has other content, or an input is given twice.
    StorageError
        If writing fails; the same call goes on.
    TypeError, ValueError
        If an option is unknown, its value is invalid, or an append does not have it.
    """
    check_reachable(inputs)
    chosen = options.for_verb()
    location = Location.of(output, options.storage_options)
    with ExitStack() as opened:
        if isinstance(chosen, AppendOptions):
            check_dataset_exists(location)
            if not options.dry_run:
                opened.enter_context(locked(location))
            target = _append_target(location)
            prepared = opened.enter_context(prepare_append(inputs, target, chosen))
            prepared.unfinished(chosen)
        else:
            if not options.dry_run:
                check_not_complete(location, overwrite=options.overwrite, append="--append")
            prepared = opened.enter_context(prepare_convert(inputs, location, chosen))
        if options.dry_run:
            overwrite = options.overwrite
            return preview(prepared, prepared.unfinished(chosen, overwrite=overwrite))
        if not options.append:
            opened.enter_context(locked(location))
        return _plan(prepared, options)


def _plan(prepared: Prepared, options: PlanOptions) -> PlanReport:
    """Begin the run, or take it up again, under the lock of its location."""
    tables = prepared.tables()
    check_in_this_process(prepared.plan.transforms, options)
    log_warnings(prepared)
    prepared.estimate(tables)
    run = begin_or_resume(
        prepared.location,
        prepared.plan,
        overwrite=options.overwrite,
        restart=options.restart,
        allow_duplicate=options.allow_duplicate,
        directory=os.getcwd(),  # noqa: PTH109 - text
    )
    sorted_here: tuple[str, ...] = ()
    if run.checkpoint.published:
        run.clean_up()
    else:
        progress = options.progress or NullProgress()
        sorted_here = encode_unsorted(run, prepared, tables.axes, options.workers, progress)
        write_planned_genes(run.location, run.plan, prepared.inputs)
    return _report(run, prepared, sorted_here)


def _report(run: OutputRun, prepared: Prepared, sorted_here: tuple[str, ...]) -> PlanReport:
    needs = part_estimate(run.plan, prepared.inputs, prepared.reading.memory_budget)
    missing = run.remaining()
    return PlanReport(
        output=str(run.location),
        operation=run.plan.operation,
        parts=len(run.plan.parts),
        missing=indices_text(missing),
        n_cells=run.plan.n_cells,
        n_genes=run.plan.n_genes,
        sorted_here=sorted_here,
        part=needs,
        command=_array_command(run.location, missing, needs),
    )


def _array_command(location: Location, missing: list[int], needs: Estimate) -> str:
    """The job array of SLURM for these parts; several parts a task, if there are many."""
    if not missing:
        return ""
    step = -(-(missing[-1] + 1) // _MOST_TASKS)
    minutes = max(round(step * needs.seconds * _TIME_MARGIN / 60), _LEAST_MINUTES)
    memory = round(needs.memory * _MEMORY_MARGIN / (1 << 20))
    tasks = indices_text(dict.fromkeys(index // step for index in missing))
    output = str(location if location.is_remote else location.path)
    part = f"slaf part {shlex.quote(output)}"
    if step > 1:
        task = "SLURM_ARRAY_TASK_ID"
        part += f" --range $(({task}*{step}))-$(({task}*{step}+{step - 1}))"
    asked = f"--cpus-per-task=1 --mem={memory}M --time={minutes}"
    return f"sbatch --array={tasks} {asked} --wrap={shlex.quote(part)}"


def part(
    output: str | os.PathLike[str] | Location,
    index: int | None = None,
    *,
    memory: int | str | None = None,
    scratch: str | os.PathLike[str] | None = None,
    storage_options: Mapping[str, str] | None = None,
    input_storage_options: Mapping[str, str] | None = None,
    stage: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> PartReport:
    """Encode one part of a plan, unless it is done; no other process is waited for.

    Parameters
    ----------
    output
        The output of `slaf.plan`.
    index
        The part, counted from 0; by default that of this task in a job array (SLURM, PBS, LSF, SGE,
        AWS Batch, Google Batch, Cloud Run, Kubernetes); outside of one, a part that is missing.
    memory, scratch, stage
        As for `slaf.convert`.
    storage_options, input_storage_options
        As for `slaf.convert`; what is not given is taken from the environment.
    progress
        Reports progress: an object with the two methods of `slaf.runtime.progress.Progress`.

    Raises
    ------
    NoPlan
        If there is no plan at the output.
    UnfinishedRun
        If a run of another command is there: an annotation, a removal, a transform, ….
    InputError
        If the input cannot be read, or is not what was planned.
    Locked
        If a conversion in one process runs there.
    StorageError
        If writing fails; the same call goes on.
    ValueError
        If there is no such part.
    """
    location = Location.of(output, storage_options)
    run = PlannedRun.load(location)
    check_of_inputs(location, run.plan)
    run.check_free()
    n_parts = len(run.plan.parts)
    if index is None:
        index = task_index()
    if index is None:
        index = _missing_part(run)
    if index is None:
        return PartReport(str(location), None, n_parts, "was done")
    reading = _read_options(
        location,
        memory=memory,
        scratch=scratch,
        storage_options=input_storage_options or storage_options,
        stage=stage,
    )
    progress = progress or NullProgress()
    if 0 <= index < n_parts:
        progress.begin(0, 0, len(run.plan.parts[index]))
    encoded = run.encode(index, reading, progress)
    if encoded.result is None:
        return PartReport(str(location), index, n_parts, "not needed")
    cells, nonzeros = Journal.covered_by([encoded.result])
    state = "was done" if encoded.was_done else "done"
    return PartReport(str(location), index, n_parts, state, cells, nonzeros)


def _missing_part(run: PlannedRun) -> int | None:
    """A part without a receipt, drawn at random: several processes hardly ever take the same."""
    journal = Journal(run.location, run.checkpoint)
    missing = journal.unnamed()
    if not missing:
        missing = Journal.read(run.location, run.checkpoint).missing()
    return random.SystemRandom().choice(missing) if missing else None


def publish(
    output: str | os.PathLike[str] | Location,
    *,
    workers: int = 0,
    memory: int | str | None = None,
    scratch: str | os.PathLike[str] | None = None,
    storage_options: Mapping[str, str] | None = None,
    input_storage_options: Mapping[str, str] | None = None,
    stage: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Make a plan whose parts are all done the dataset that readers see.

    Cells, genes and annotations are read from the inputs again. Every receipt is compared with the
    plan, and with the files on disk.

    Parameters
    ----------
    output
        The output of `slaf.plan`.
    workers, memory, scratch, stage
        As for `slaf.convert`: for the rows in the order of genes.
    storage_options, input_storage_options
        As for `slaf.convert`; what is not given is taken from the environment.
    progress
        Reports progress: an object with the two methods of `slaf.runtime.progress.Progress`.

    Returns
    -------
    Dataset
        The published dataset, open.

    Raises
    ------
    NoPlan
        If there is no plan at the output.
    UnfinishedRun
        If a run of another command is there: an annotation, a removal, a transform, ….
    MissingParts
        If parts are missing, or their receipts are not valid; it names them.
    InputError
        If an input cannot be read, or is not what was planned.
    Locked
        If another process plans, publishes or converts there.
    StorageError
        If writing fails; the same call goes on.
    """
    location = Location.of(output, storage_options)
    check_planned(location)
    with locked(location):
        run = OutputRun.planned(location)
        if run.checkpoint.published:
            run.clean_up()
            return open_dataset(location)
        check_of_inputs(location, run.plan)
        _check_no_gaps(run)
        reading = _read_options(
            location,
            workers=workers,
            memory=memory,
            scratch=scratch,
            storage_options=input_storage_options or storage_options,
            stage=stage,
        )
        with reopened(run, reading) as prepared:
            seen = progress or NullProgress()
            execute_run(run, prepared, prepared.tables(), workers, progress=seen)
    return open_dataset(location)


def _check_no_gaps(run: OutputRun) -> None:
    missing = run.remaining()
    if not missing:
        return
    refused = [
        f"{name.rpartition('/')[2]}: {reason}" for name, reason in run.journal.refused.items()
    ]
    shown = f" ({'; '.join(refused[:_LISTED])})" if refused else ""
    plural = "part is" if len(missing) == 1 else "parts are"
    msg = (
        f"{run.location}: {len(missing):,} of {len(run.plan.parts):,} {plural} missing{shown}; "
        f"encode them with `slaf part`, as --array={indices_text(missing)}, then publish again"
    )
    file_system = run.location.file_system()
    if file_system.startswith("nfs"):
        msg += f"; over {file_system} what another machine wrote may be seen a minute later"
    raise MissingParts(msg, tuple(missing))


def discard_plan(
    output: str | os.PathLike[str] | Location,
    *,
    storage_options: Mapping[str, str] | None = None,
) -> None:
    """Give a plan up: the output is what it was before, a dataset or nothing.

    Raises
    ------
    NoPlan
        If there is no plan at the output, or it is published.
    Locked
        If another process plans, publishes or converts there.
    """
    location = Location.of(output, storage_options)
    PlannedRun.load(location)
    with locked(location):
        OutputRun.planned(location).abandon()
        location.remove(SCRATCH)


def _append_target(location: Location) -> Dataset:
    target = open_append_target(location)
    if isinstance(target, SlafdbDataset):
        msg = f"{location}: slafdb wrote this dataset; make one append with `slaf append` first"
        raise UnsupportedFormat(msg)
    return target


def _read_options(location: Location, **options: Any) -> ReadOptions:
    return ReadOptions(**options).near(location)
