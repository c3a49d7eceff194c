"""Prepare a run: open the inputs as one source, make the plan."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from slaf.conversion.new_inputs import (
    NewInputs,
    existing_with_samples,
    select_new,
    with_remembered_samples,
)
from slaf.conversion.plan_append import (
    dataset_matrix,
    dataset_slots,
    has_gene_order,
    plan_append,
    stored_options,
)
from slaf.conversion.slafdb import SlafdbDataset, plan_slafdb_append
from slaf.dataset.transformed_inputs import (
    depends_on_all_cells,
    has_standard_genes,
    repeated,
    standardized_inputs,
    transformed_inputs,
)
from slaf.errors import InputError, Locked
from slaf.format.config import load
from slaf.options import READS_CHOICES, ConvertOptions, ReadOptions, StoreOptions
from slaf.runs.annotations import encode_annotations
from slaf.runs.estimate import check_disk_space, estimate
from slaf.runs.output_run import unfinished_run
from slaf.runs.plan import make_plan
from slaf.runs.publish import read_axes
from slaf.sources import as_inputs, choices_of
from slaf.sources.concat.source import Concat
from slaf.sources.samples import STRANDED, with_samples
from slaf.storage.overlap import check_apart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slaf.dataset.dataset import Dataset
    from slaf.format.records import StepRecord
    from slaf.options import AppendOptions, RunOptions, TransformOptions
    from slaf.runs.annotations import EncodedAnnotations
    from slaf.runs.estimate import Estimate
    from slaf.runs.output_run import OutputRun
    from slaf.runs.plan import Plan
    from slaf.runs.publish import Axes
    from slaf.sources import InputList
    from slaf.sources.base import Inputs
    from slaf.sources.concat.members import Input
    from slaf.sources.search import LeftOut
    from slaf.storage.location import Location

__all__ = [
    "AxisTables",
    "Prepared",
    "check_in_this_process",
    "open_inputs",
    "prepare_append",
    "prepare_convert",
    "prepared_run",
]

# The bytes of encoded annotations that are kept during a run; larger ones are encoded again.
_KEPT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class AxisTables:
    """The tables and annotations of a result, without its matrices.

    Attributes
    ----------
    axes
        The cells and genes.
    nbytes
        The bytes of cells, genes, obsm, varm, obsp, varp and uns.
    annotations
        The encoded annotations; None if they are too large to keep.
    """

    axes: Axes
    nbytes: int
    annotations: EncodedAnnotations | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that is ready to begin.

    Attributes
    ----------
    location
        The location of the dataset.
    plan
        The plan of the run.
    inputs
        All inputs as one source; for an append, the dataset is the first.
    reading
        The options for reading the inputs.
    left_out
        Contents of the folders of inputs that are not converted.
    n_later
        Further inputs, which another run has to append.
    """

    location: Location
    plan: Plan
    inputs: Concat
    reading: ReadOptions
    left_out: tuple[LeftOut, ...]
    n_later: int = 0

    def unfinished(self, options: RunOptions, *, overwrite: bool = False) -> OutputRun | None:
        """The unfinished run that this one continues; None if it starts.

        Raises
        ------
        ConflictError
            If the location is not free for it, or the dataset has an input already; for a dry run,
            if another process holds the lock.
        """
        if options.dry_run and self.location.is_locked():
            msg = f"{self.location}: another process is writing there"
            raise Locked(msg)
        return unfinished_run(
            self.location,
            self.plan,
            overwrite=overwrite,
            restart=options.restart,
            allow_duplicate=options.allow_duplicate,
        )

    def tables(self) -> AxisTables:
        """The cells, genes and annotations of the result.

        A column or an element that cannot be stored is refused here. Large annotations are read
        again when the run publishes.
        """
        axes = read_axes(self.inputs)
        annotations = encode_annotations(self.inputs, axes.cells, axes.genes)
        nbytes = axes.nbytes + annotations.nbytes
        kept = annotations if annotations.nbytes <= _KEPT_BYTES else None
        return AxisTables(axes, nbytes, kept)

    def estimate(self, tables: AxisTables) -> Estimate:
        """The disk space, memory and time that the run will take.

        Parameters
        ----------
        tables
            The tables and annotations of the result.

        Raises
        ------
        StorageError
            If the disk is too small.
        """
        budget = self.reading.memory_budget
        needed = estimate(self.plan, self.inputs, tables.nbytes, self.reading.workers, budget)
        # The files of a dataset of slafdb are not recorded.
        manifest = None if self.plan.base is None else load(self.location, legacy=True)
        base = None if manifest is None else manifest.published
        check_disk_space(self.location, self.reading, needed, base=base)
        return needed


@contextmanager
def prepare_convert(
    inputs: Inputs, location: Location, options: ConvertOptions
) -> Iterator[Prepared]:
    """Prepare a conversion; the inputs are open within the context.

    Raises
    ------
    InputError
        If an input cannot be converted, or they cannot be concatenated.
    """
    found, reading = _found(inputs, location, options)
    with prepared_run(location, options, found, reading) as prepared:
        yield prepared


def _found(
    inputs: Inputs, location: Location, options: ConvertOptions
) -> tuple[InputList, ReadOptions]:
    """The inputs with their samples, and how they are read."""
    reading = _read_options(location, options)
    found = as_inputs(inputs, options.format, reading)
    check_apart(location, found.places)
    prefixed = options.cell_id_prefix
    opens = with_samples(found.inputs, options.samples, reading, prefixed=prefixed)
    return replace(found, inputs=opens), reading


@contextmanager
def prepared_run(
    location: Location,
    options: ConvertOptions,
    found: InputList,
    reading: ReadOptions,
    transforms: tuple[StepRecord, ...] = (),
) -> Iterator[Prepared]:
    """Prepare the conversion of inputs that were found; they are open within the context.

    Parameters
    ----------
    location
        The location of the dataset.
    options
        How it is stored.
    found
        The inputs.
    reading
        How they are read.
    transforms
        The steps through which the inputs are seen.
    """
    stored = StoreOptions.part_of(options)
    with _as_one(found.inputs, options) as opened:
        opened.check_known_slots(() if transforms else stored.without)
        plan = make_plan(opened, stored, transforms)
        yield Prepared(location, plan, opened, reading, found.left_out)


@contextmanager
def open_inputs(
    inputs: Inputs, location: Location, options: TransformOptions
) -> Iterator[tuple[InputList, ReadOptions, Concat]]:
    """Open the inputs of a run as one source, within the context, before they are transformed.

    Raises
    ------
    InputError
        If an input cannot be read, or they cannot be concatenated.
    OutputExists
        If the output is an input.
    """
    found, reading = _found(inputs, location, options)
    if options.standardize_genes:
        found = replace(found, inputs=standardized_inputs(found.inputs))
    with _as_one(found.inputs, options) as opened:
        opened.check_known_slots(options.without)
        yield found, reading, opened


def _as_one(inputs: Sequence[Input], options: ConvertOptions) -> Concat:
    stored = StoreOptions.part_of(options)
    return Concat(
        inputs,
        stored.join,
        selection=stored.slots,
        allow_duplicate=options.allow_duplicate,
    )


@contextmanager
def prepare_append(
    inputs: Inputs, dataset: Dataset | SlafdbDataset, options: AppendOptions
) -> Iterator[Prepared]:
    """Prepare an append; the inputs are open within the context.

    Raises
    ------
    InputError
        If an input cannot be converted, or added to the dataset.
    DamagedDataset
        If the tables of the dataset do not have the schema of any options.
    """
    matrix = options.matrix or dataset_matrix(dataset.sources)
    by_gene = has_gene_order(dataset) if options.by_gene is None else options.by_gene
    requested = StoreOptions(
        join=options.join,
        chunk_size=options.chunk_size,
        compact=options.compact,
        by_gene=by_gene,
        **dataset_slots(dataset, options.without).to_json(),
    )
    options = replace(options, matrix=matrix, **_choices_of_reads(inputs, dataset, options))
    reading = _read_options(dataset.location, options)
    earlier = [source.uri for source in dataset.sources]
    found = as_inputs(inputs, options.format, reading, before=earlier)
    check_apart(dataset.location, found.places)
    new = NewInputs(found.inputs)
    if options.new_only:
        new = select_new(found, dataset, restart=options.restart)
    opens = with_remembered_samples(new.inputs, dataset, options, reading)
    _check_strandedness(dataset, opens)
    opens = _repeating(dataset, opens, requested, options)
    existing = None
    if isinstance(dataset, SlafdbDataset):
        # It is written again: its own inputs come first.
        opens = [*dataset.inputs(), *opens]
    else:
        existing = existing_with_samples(dataset, requested.slots)
    with Concat(
        opens,
        requested.join,
        existing,
        requested.slots,
        allow_duplicate=options.allow_duplicate,
    ) as opened:
        # Slots that the dataset leaves out need not exist in these inputs.
        left_out = dataset_slots(dataset, ()).without
        opened.check_known_slots(name for name in options.without if name not in left_out)
        if isinstance(dataset, SlafdbDataset):
            plan = plan_slafdb_append(dataset, opened, requested)
        else:
            plan = plan_append(dataset, opened, stored_options(dataset, requested))
        yield Prepared(dataset.location, plan, opened, reading, found.left_out, new.n_later)


def _choices_of_reads(
    inputs: Inputs, dataset: Dataset | SlafdbDataset, options: AppendOptions
) -> dict[str, Any]:
    """How the reads of a dataset were counted, for files of reads that are added to it."""
    recorded = [source.choice for source in dataset.sources if source.format == "bam"]
    if not recorded:
        return {}
    where = options.input_storage_options or options.storage_options
    names = choices_of(inputs, options.format, where) & set(READS_CHOICES)
    if options.bin_size is not None or options.regions is not None:
        names -= {"bin_size", "regions"}
    return {
        name: recorded[0].get(name)
        for name in names
        if getattr(options, name) is None and len({str(one.get(name)) for one in recorded}) == 1
    }


def _check_strandedness(dataset: Dataset | SlafdbDataset, inputs: Sequence[Input]) -> None:
    """Refuse reads of which nothing says the strandedness, where those of a dataset differ in it.

    Raises
    ------
    InputError
        Naming the first such input.
    """
    recorded = {
        str(source.choice.get(STRANDED) or "U"): source.uri
        for source in dataset.sources
        if source.format == "bam"
    }
    unknown = [one.uri for one in inputs if STRANDED in one.choices and not one.options.stranded]
    if len(recorded) > 1 and unknown:
        listed = ", ".join(f"{value} of {uri}" for value, uri in sorted(recorded.items()))
        msg = (
            f"{unknown[0]}: nothing says how its strands are counted, and the reads of "
            f"{dataset.location} are not all counted alike: {listed}; give --stranded, or a column "
            f"{STRANDED!r} in the sample sheet"
        )
        raise InputError(msg)


def _repeating(
    dataset: Dataset | SlafdbDataset,
    inputs: list[Input],
    stored: StoreOptions,
    options: AppendOptions,
) -> list[Input]:
    """The inputs seen through what was done to those of the dataset.

    Raises
    ------
    InputError
        If a step depends on all cells, or other processes would do the work.
    """
    if isinstance(dataset, SlafdbDataset) or not dataset.published.transforms:
        return inputs
    for step in dataset.published.transforms:
        if depends_on_all_cells(step):
            msg = (
                f"{dataset.location}: its cells were chosen or ordered by {step.name}, which "
                "depends on all cells; transform all inputs anew with `slaf transform`"
            )
            raise InputError(msg)
    check_in_this_process(dataset.published.transforms, options.executor)
    if has_standard_genes(dataset.published.transforms):
        inputs = standardized_inputs(inputs)
    with Concat(inputs, "union", selection=stored.slots, allow_duplicate=True) as opened:
        view = repeated(opened, dataset.published.transforms, set(dataset.var_names))
        return transformed_inputs(inputs, opened, view)


def check_in_this_process(transforms: Sequence[StepRecord], executor: object) -> None:
    """Refuse transformed inputs for other processes, which would read them as they lie.

    Raises
    ------
    InputError
        If there are both.
    """
    if transforms and executor is not None:
        msg = "inputs that are transformed are read by this process; use no executor and no plan"
        raise InputError(msg)


def _read_options(location: Location, options: ConvertOptions | AppendOptions) -> ReadOptions:
    reading = ReadOptions.part_of(options).near(location)
    return replace(
        reading, storage_options=options.input_storage_options or options.storage_options
    )
