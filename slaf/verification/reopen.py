"""Reopen the inputs of a dataset with the options that config.json records."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from slaf.dataset.source import dataset_as_input  # registers datasets as inputs
from slaf.dataset.transformed_inputs import (
    FILTER_GENES,
    has_standard_genes,
    repeated,
    standardized_inputs,
    transformed_inputs,
)
from slaf.errors import NoSuchInput
from slaf.format.records import StepRecord
from slaf.options import Join, SlotSelection, one_of
from slaf.sources import as_inputs
from slaf.sources.concat.members import ExistingDataset, record_of
from slaf.sources.concat.source import Concat
from slaf.sources.identity import address_of, content_key
from slaf.sources.selection import SelectedSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slaf.dataset.dataset import Dataset
    from slaf.format.config import SourceRecord
    from slaf.options import ReadOptions
    from slaf.sources.base import Inputs
    from slaf.sources.concat.members import Input
    from slaf.verification.report import DifferenceLog

__all__ = ["check_records", "reopen_inputs"]


@contextmanager
def reopen_inputs(
    dataset: Dataset,
    inputs: Inputs,
    format: str | None,
    options: ReadOptions,
) -> Iterator[Concat]:
    """Open the inputs of a dataset as one source, combined as the dataset records.

    Parameters
    ----------
    dataset
        The dataset, which records the options of each input.
    inputs
        As many inputs as the dataset was made of, in the same order; a folder may have another.
    format
        The format, as for `slaf.verify`.
    options
        How to read the inputs; recorded options of an input take precedence.

    Raises
    ------
    NoSuchInput
        If the number of inputs differs.
    InputError
        If an input cannot be read.
    """
    with _combined(dataset, _recorded_inputs(dataset, inputs, format, options)) as whole:
        yield whole


def _recorded_inputs(
    dataset: Dataset, inputs: Inputs, format: str | None, options: ReadOptions
) -> list[Input]:
    """The inputs, each read as the dataset records."""
    records = dataset.sources
    found = as_inputs(inputs, format, options).inputs
    if not records:
        msg = f"{dataset.location} was made of no input"
        raise NoSuchInput(msg)
    if len(found) != len(records):
        uris = ", ".join(record.uri for record in records)
        msg = (
            f"{dataset.location} was made of {len(records):,} inputs, and {len(found):,} are "
            f"given; its inputs are, in their order: {uris}"
        )
        error = NoSuchInput(msg)
        error.remedy = "name all of these and no others, also where a folder has more by now"
        raise error
    if all(one.folder is not None for one in found):
        found = _in_recorded_order(found, records)
    recorded = [
        replace(
            one,
            options=_recorded_options(options, record),
            prefix=record.prefix,
            sample=record.sample,
            sheet=record.sheet,
        )
        for one, record in zip(found, records, strict=True)
    ]
    is_standard = has_standard_genes(dataset.published.transforms)
    return standardized_inputs(recorded) if is_standard else recorded


def _in_recorded_order(found: list[Input], records: Sequence[SourceRecord]) -> list[Input]:
    """The inputs of a folder in the order in which they came into the dataset.

    They are known by their addresses, or in a folder that was moved by their content; otherwise
    they keep the order of the folder.
    """
    addresses = {address_of(one.uri): one for one in found}
    recorded = [address_of(record.uri) for record in records]
    if list(addresses) == recorded:
        return found
    if addresses.keys() != set(recorded):
        addresses = {content_key(record_of(one)): one for one in found}
        recorded = [content_key(record) for record in records]
    if len(found) != len(addresses) or addresses.keys() != set(recorded):
        return found
    return [addresses[each] for each in recorded]


def _combined(dataset: Dataset, inputs: list[Input]) -> Concat:
    """The inputs as one source: those of each run added to those of the runs before."""
    first, *later = _runs(dataset)
    removed = bool(dataset.published.removed)
    genes = _kept_genes(dataset, inputs, first)
    whole = _of_run(dataset, inputs, first, genes, _without_cells(dataset) if removed else None)
    for run in later:
        previous = ExistingDataset(whole, whole.records, whole.uns_per_source)
        whole = _of_run(dataset, inputs, run, genes, previous)
    return whole


class _Run(NamedTuple):
    """Inputs of one run, or of several alike: they share the choice of genes and slots."""

    inputs: slice
    join: str
    slots: SlotSelection


def _runs(dataset: Dataset) -> Iterator[_Run]:
    default, start = dataset.annotations.record.selection, 0
    for (join, slots), group in groupby(
        dataset.sources, key=lambda record: (record.genes, record.selection or default)
    ):
        stop = start + len(list(group))
        yield _Run(slice(start, stop), join, slots or SlotSelection.nothing())
        start = stop


def _of_run(
    dataset: Dataset,
    inputs: list[Input],
    run: _Run,
    genes: set[str] | None,
    previous: ExistingDataset | None,
) -> Concat:
    return Concat(
        _transformed(dataset, inputs[run.inputs], run, genes),
        "first" if dataset.published.removed else one_of(Join, "genes", run.join),
        previous,
        run.slots,
        # What was taken once is what is compared.
        allow_duplicate=True,
    )


def _transformed(
    dataset: Dataset, inputs: list[Input], run: _Run, genes: set[str] | None
) -> list[Input]:
    """The inputs seen through the steps that the dataset records."""
    if not dataset.published.transforms:
        return inputs
    with _together(inputs, run) as opened:
        return transformed_inputs(inputs, opened, repeated(opened, _steps(dataset), genes))


def _kept_genes(dataset: Dataset, inputs: list[Input], first: _Run) -> set[str] | None:
    """The genes that rules keep of the inputs of the first run; None if there are no others.

    Of the dataset itself these are taken only where an input of the first run is no more.
    """
    published = dataset.published
    if not any(step.name == FILTER_GENES for step in published.transforms):
        return None
    if published.removed:
        return set(dataset.var_names)
    n_cells = published.history[0].n_cells if published.history else published.n_cells
    n_inputs = sum(one.offset + one.n_cells <= n_cells for one in dataset.sources)
    if n_inputs == first.inputs.stop == len(inputs):
        return None
    with _together(inputs[:n_inputs], first) as opened:
        return set(repeated(opened, published.transforms).var_names)


def _together(inputs: list[Input], run: _Run) -> Concat:
    # Where genes are not left out, those that an input has do not depend on the others.
    join = run.join if run.join == "intersection" else "union"
    return Concat(inputs, one_of(Join, "genes", join), selection=run.slots, allow_duplicate=True)


def _steps(dataset: Dataset) -> Iterator[StepRecord]:
    """The steps that the dataset records, for the inputs that it still has."""
    for step in dataset.published.transforms:
        if step.name == "sample" and dataset.published.removed:
            # Of the cells that were drawn, these are left: again those with the smallest numbers.
            yield StepRecord(step.name, {**step.options, "n": dataset.n_cells})
        else:
            yield step


def _without_cells(dataset: Dataset) -> ExistingDataset:
    """The dataset without cells, in the place of inputs whose cells were removed.

    Their genes, columns of genes, and types of columns and elements stay.
    """
    existing = dataset_as_input(dataset)
    source = SelectedSource(existing.source, np.empty(0, np.int64))
    return replace(existing, source=source, records=(), uns_per_source=list)


def check_records(dataset: Dataset, inputs: Concat, differences: DifferenceLog) -> None:
    """Compare the record of each input in config.json with the input."""
    for actual, recorded in zip(inputs.records, dataset.sources, strict=True):
        uri = actual.uri
        differences.compare("type", f"of {uri}", actual.dtype, recorded.dtype)
        if len(inputs.records) > 1:
            differences.compare("shape", f"cells of {uri}", actual.n_cells, recorded.n_cells)
        differences.compare(
            "genes", f"measured by {uri}", actual.genes_present, recorded.genes_present
        )


def _recorded_options(options: ReadOptions, record: SourceRecord) -> ReadOptions:
    choice: dict[str, Any] = dict(record.choice)
    return replace(options, matrix=record.matrix, **choice)
