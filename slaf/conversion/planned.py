"""A planned run in any process: a part from its own input alone, and all inputs to publish."""

from __future__ import annotations

import json
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from slaf.conversion.execute import DamagedParts
from slaf.conversion.new_inputs import existing_with_samples
from slaf.conversion.prepare import Prepared
from slaf.dataset.dataset import Dataset
from slaf.dataset.source import DatasetSource
from slaf.errors import InputError, Locked, SourceChanged, StorageError
from slaf.format.config import CONFIG, load, parse
from slaf.format.schema import LAYERS
from slaf.runs.checkpoint import recorded_checkpoint
from slaf.runs.encode import NeedsWiderType, encode_part
from slaf.runs.gene_lists import read_planned_genes, write_planned_genes
from slaf.runs.journal import Journal
from slaf.runs.output_run import no_plan
from slaf.runs.value_types import AxisIds, request_types
from slaf.runtime.executors import run_parts
from slaf.runtime.extras import require
from slaf.runtime.progress import NullProgress
from slaf.sources import recorded_input
from slaf.sources.base import HasSource
from slaf.sources.concat.planned import PlannedInput
from slaf.sources.concat.source import Concat
from slaf.storage.location import Location
from slaf.storage.paths import is_anndata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from slaf.format.config import DatasetConfig, SourceRecord
    from slaf.options import AppendOptions, ConvertOptions, ReadOptions
    from slaf.runs.checkpoint import Checkpoint
    from slaf.runs.journal import PartResult
    from slaf.runs.output_run import OutputRun
    from slaf.runs.plan import Plan
    from slaf.runtime.progress import Progress
    from slaf.sources.base import Inputs

__all__ = ["EncodedPart", "PlannedRun", "check_reachable", "elsewhere", "reopened"]


@dataclass(frozen=True, slots=True)
class EncodedPart:
    """A part that is done.

    Attributes
    ----------
    result
        Its receipt; None if the plan was published or given up meanwhile, by another process.
    was_done
        Whether it had been done before.
    """

    result: PartResult | None
    was_done: bool = False


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A plan that was read from config.json, without the lock of its location.

    Attributes
    ----------
    location
        The output.
    published
        The dataset that the plan adds to, or replaces; None without one.
    recorded
        The run as config.json has it.
    checkpoint
        The run with the wider types that parts have requested.
    raw
        The content of config.json.
    """

    location: Location
    published: DatasetConfig | None
    recorded: Checkpoint
    checkpoint: Checkpoint
    raw: bytes | None

    @classmethod
    def load(cls, location: Location) -> Self:
        """The plan at a location.

        Raises
        ------
        NoPlan
            If there is none, or it is published.
        """
        run = cls._recorded_in(location.read(CONFIG), location)
        if run is None:
            raise no_plan(location, load(location))
        return run.with_requests()

    @classmethod
    def _recorded_in(cls, raw: bytes | None, location: Location) -> Self | None:
        """The plan in a config.json; None if there is none, or it is published."""
        manifest = parse(location, raw)
        recorded = None if manifest is None else recorded_checkpoint(location, manifest)
        if manifest is None or recorded is None or recorded.published:
            return None
        return cls(location, manifest.published, recorded, recorded, raw)

    def with_requests(self) -> Self:
        """The plan with the wider types that parts have requested by now."""
        widened = self.recorded.with_requested_types(self.location, self.published)
        return replace(self, checkpoint=widened)

    @property
    def plan(self) -> Plan:
        """The plan, with the types that parts have requested."""
        return self.checkpoint.plan

    @property
    def base(self) -> DatasetConfig | None:
        """The dataset that is added to."""
        return None if self.plan.base is None else self.published

    def check_free(self) -> None:
        """Refuse to encode parts of a conversion that runs in another process.

        Raises
        ------
        Locked
            If there is one.
        """
        if self.recorded.directory is None and self.location.is_locked():
            msg = f"{self.location}: a process converts there; wait until it ends, then try again"
            raise Locked(msg)

    def is_current(self) -> bool:
        """Whether the plan is neither published nor given up, nor another with wider types."""
        now = self._recorded_now()
        return now is not None and now.with_requests().plan.digest == self.plan.digest

    def is_begun(self) -> bool:
        """Whether config.json has this plan, or the same with wider types, unpublished."""
        now = self._recorded_now()
        begun = {self.recorded.plan.digest, self.plan.digest}
        return now is not None and now.recorded.plan.digest in begun

    def _recorded_now(self) -> Self | None:
        """The plan that config.json has by now; a plan of thousands of inputs is read once."""
        raw = self.location.read(CONFIG)
        return self if raw == self.raw else self._recorded_in(raw, self.location)

    def encode(self, index: int, reading: ReadOptions, progress: Progress) -> EncodedPart:
        """Encode a part, unless it is done, and write its receipt.

        Raises
        ------
        ValueError
            If there is no such part.
        InputError
            If its input cannot be read, or is not what was planned.
        StorageError
            If writing fails.
        """
        if not 0 <= index < len(self.plan.parts):
            msg = f"{self.location}: there are {len(self.plan.parts):,} parts, counted from 0, and "
            raise ValueError(msg + f"none has the index {index}")
        if (done := Journal(self.location, self.checkpoint).part(index)) is not None:
            return EncodedPart(done, was_done=True)
        try:
            run, written = self._encode(index, reading, progress)
        except StorageError:
            # A publication removes the files of parts that it does not need.
            if self.is_begun():
                raise
            return EncodedPart(None)
        if run.is_current():
            return EncodedPart(written)
        run.remove_unused(written)
        if not run.is_begun():
            return EncodedPart(None)
        # Another part has requested a wider type meanwhile.
        run = PlannedRun.load(self.location)
        return run.encode(run.plan.parts.index(written.rows), reading, progress)

    def _encode(
        self, index: int, reading: ReadOptions, progress: Progress
    ) -> tuple[PlannedRun, PartResult]:
        """Encode a part; the plan with the types that it has, and the part."""
        run, cells = self, self.plan.parts[index]
        with self._open(index, reading) as (source, identifiers):
            while True:
                try:
                    part = encode_part(
                        source,
                        run.plan,
                        index,
                        run.location,
                        identifiers=identifiers,
                        base=run.base,
                        progress=progress,
                    )
                except NeedsWiderType as misfit:
                    # The files that were begun count for nothing, and a publication removes them.
                    request_types(run.location, run.recorded.plan, misfit.types)
                    run = run.with_requests()
                    index = run.plan.parts.index(cells)
                else:
                    Journal(run.location, run.checkpoint).record(part)
                    return run, part

    @contextmanager
    def _open(self, index: int, reading: ReadOptions) -> Iterator[tuple[PlannedInput, AxisIds]]:
        """The input of a part, at its cells and genes among all, and the ids of both."""
        plan, start = self.plan, self.plan.parts[index].start
        genes = read_planned_genes(self.location, self.recorded.plan)
        layers = {
            column.original: column.dtype
            for table in plan.matrix_tables
            if table.table == LAYERS
            for column in table.values
        }
        if self.base is not None and start < self.base.n_cells:
            dataset = DatasetSource(Dataset(self.location, self.base))
            lists = genes.of_base(dataset)
            placed = PlannedInput(dataset, 0, lists, layers=layers, selected=None)
            ids = AxisIds(partial(_cell_ids, placed, ""), lists[0].ids)
        else:
            at = plan.source_index(start)
            record = plan.sources[at]
            opened = recorded_input(record, reading, self.recorded.directory or "").opened()
            _check_unchanged(opened.info.uri, record, opened.info.identity)
            lists = genes.of_input(plan, at, opened)
            placed = PlannedInput(
                opened,
                record.offset,
                lists,
                layers=layers,
                selected=record.slots,
            )
            read = partial(_cell_ids, placed, record.prefix)
            ids = AxisIds(read, lists[0].ids, record.offset)
        with placed:
            yield placed, ids

    def remove_unused(self, part: PartResult) -> None:
        """Remove a part of a plan that is no longer current, unless it was published."""
        manifest = load(self.location)
        published = None if manifest is None else manifest.published
        used = {file.file for file in published.checksums.files} if published else set()
        if used.isdisjoint(part.files):
            for name in part.files:
                self.location.remove(name)
            Journal(self.location, self.checkpoint).remove(part)


@contextmanager
def elsewhere(
    inputs: Inputs, options: ConvertOptions | AppendOptions
) -> Iterator[Callable[[OutputRun, Prepared, Progress], None] | None]:
    """The executor of parts in other processes; None if this process encodes them.

    Raises
    ------
    InputError
        If the inputs are in the memory of this process.
    MissingPackage
        If Ray is not installed.
    """
    chosen = options.executor
    if chosen is None:
        yield None
        return
    check_reachable(inputs)
    if isinstance(chosen, Executor):
        yield partial(_encode_elsewhere, chosen, options.storage_options)
        return
    require("ray", "a cluster of Ray")
    from slaf.runtime.ray import RayExecutor

    pool = RayExecutor(options.ray_address)
    try:
        yield partial(_encode_elsewhere, pool, None)
    finally:
        pool.shutdown(cancel_futures=True)


def check_reachable(inputs: Inputs) -> None:
    """Refuse inputs in memory, which other processes cannot read.

    Raises
    ------
    InputError
        Naming the first.
    """
    for one in inputs if isinstance(inputs, list | tuple) else [inputs]:
        if is_anndata(one) or isinstance(one, HasSource):
            msg = (
                f"{type(one).__name__} in memory: other processes cannot read it; write it to a "
                "file, and plan with that"
            )
            raise InputError(msg)


def _encode_elsewhere(
    pool: Executor,
    storage_options: Mapping[str, str] | None,
    run: OutputRun,
    prepared: Prepared,
    progress: Progress,
) -> None:
    """Encode the parts that remain by the processes of an executor.

    Each process opens the input of its part, and writes the receipt; nothing live is passed on.

    Parameters
    ----------
    pool
        The executor.
    storage_options
        How its processes reach buckets; what is not given they take from their environment.
    run, prepared
        The run, whose lock this process holds.

    Raises
    ------
    StorageError
        If processes do not see what others wrote.
    """
    write_planned_genes(run.location, run.plan, prepared.inputs)
    recorded, location = run.plan.digest, run.location
    output = str(location if location.is_remote else location.path)
    reading = replace(prepared.reading, workers=0)
    encode = partial(_encode_there, output, storage_options, recorded, reading)
    while remaining := run.remaining():
        before, damaged = run.plan.digest, DamagedParts()
        progress.begin(*run.covered(), run.plan.cells_to_write)
        try:
            run_parts(
                remaining,
                encode,
                lambda done: progress.advance(*done),
                0,
                executor=pool,
                failed=damaged.note,
            )
        except InputError as error:
            run.refresh()
            damaged.keep_others(run, error)
            raise
        run.refresh()
        if run.remaining() == remaining and run.plan.digest == before:
            msg = f"{run.location}: the receipts of the workers are not seen here; name an output "
            raise StorageError(msg + "that all of them reach")


def _encode_there(
    output: str,
    storage_options: Mapping[str, str] | None,
    recorded: str,
    reading: ReadOptions,
    index: int,
) -> tuple[int, int]:
    """Encode a part in a process of an executor; its cells and nonzeros.

    Parameters
    ----------
    recorded
        The digest of the plan that config.json has to have.
    """
    run = PlannedRun.load(Location(output, storage_options))
    if run.recorded.plan.digest != recorded:
        msg = f"{output}: another plan is seen there; name an output that all workers reach"
        raise StorageError(msg)
    done = run.encode(index, reading, NullProgress()).result
    return (0, 0) if done is None else Journal.covered_by([done])


@contextmanager
def reopened(run: OutputRun, reading: ReadOptions) -> Iterator[Prepared]:
    """Open all inputs of a planned run again, by their records.

    Raises
    ------
    SourceChanged
        If they are not what was planned.
    InputError
        If one cannot be read.
    """
    plan, base = run.plan, run.base
    slots = plan.options.slots
    existing = None if base is None else existing_with_samples(Dataset(run.location, base), slots)
    directory = run.checkpoint.directory or ""
    with Concat(
        [recorded_input(record, reading, directory) for record in plan.added],
        plan.options.join,
        existing,
        slots,
        allow_duplicate=True,
    ) as opened:
        now = replace(plan, sources=opened.records)
        if differences := [*now.differences(plan)]:
            msg = f"{run.location}: the inputs are not those of the plan: {', '.join(differences)}"
            raise SourceChanged(f"{msg}; {_PLAN_ANEW}")
        yield Prepared(run.location, plan, opened, reading, ())


_PLAN_ANEW = "restore them, or plan anew with `slaf plan --restart`"


def _cell_ids(source: PlannedInput, prefix: str) -> pa.ChunkedArray:
    """The ids of the cells of an input; read only where they are stored, or an error names one."""
    return pc.binary_join_element_wise(prefix, source.cells().column(0), "")


def _check_unchanged(uri: str, record: SourceRecord, identity: Any) -> None:
    """Check that an input is the one that was planned.

    Raises
    ------
    SourceChanged
        If it is another.
    """
    if json.dumps(dict(identity), sort_keys=True) != json.dumps(
        dict(record.identity), sort_keys=True
    ):
        msg = f"{uri}: it was changed since it was planned; {_PLAN_ANEW}"
        raise SourceChanged(msg)
