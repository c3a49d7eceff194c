"""The inputs of a dataset, opened again as they were when it was made."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from slaf.errors import NoSuchInput
from slaf.options import GeneSet, SlotSelection, one_of
from slaf.sources import as_inputs
from slaf.sources.concat.members import ExistingDataset
from slaf.sources.concat.source import Concat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slaf.dataset.dataset import Dataset
    from slaf.format.config import SourceRecord
    from slaf.options import ReadOptions
    from slaf.sources.base import Inputs
    from slaf.verification.report import DifferenceLog

__all__ = ["check_records", "reopen_inputs"]


@contextmanager
def reopen_inputs(
    dataset: Dataset,
    inputs: Inputs,
    format: str | None,
    reading: ReadOptions,
) -> Iterator[Concat]:
    """The inputs of a dataset as one source, brought together as the dataset says.

    Parameters
    ----------
    dataset
        Which says of each input what was chosen of it.
    inputs
        As many as it was made of, in the same order.
    format
        As for `slaf.verify`.
    reading
        How they are read, but for what was chosen of each.

    Raises
    ------
    NoSuchInput
        If their number is another.
    InputError
        If one cannot be read.
    """
    records = dataset.sources
    found = as_inputs(inputs, format, reading)
    if len(found) != len(records):
        made = ", ".join(record.uri for record in records)
        msg = (
            f"{dataset.location} was made of {len(records):,} inputs, and {len(found):,} are "
            f"given; name all of them in their order: {made}"
        )
        raise NoSuchInput(msg)
    opens = [
        replace(
            one,
            options=_as_read(reading, record),
            prefix=record.prefix,
        )
        for one, record in zip(found, records, strict=True)
    ]
    whole: Concat | None = None
    start = 0
    usual = dataset.annotations.record.selection
    # Each group came in with one choice of genes and slots, behind what was there before.
    for (genes, taken), group in groupby(
        records, key=lambda one: (one.genes, one.selection or usual)
    ):
        stop = start + len(list(group))
        previous = (
            None if whole is None else ExistingDataset(whole, whole.records, whole.uns_per_source)
        )
        whole = Concat(
            opens[start:stop],
            one_of(GeneSet, "genes", genes),
            previous,
            taken or SlotSelection.nothing(),
        )
        start = stop
    if whole is None:
        msg = f"{dataset.location} was made of no input"
        raise NoSuchInput(msg)
    with whole:
        yield whole


def check_records(dataset: Dataset, inputs: Concat, findings: DifferenceLog) -> None:
    """Compare what config.json says of each input with what it is found to be."""
    for found, recorded in zip(inputs.records, dataset.sources, strict=True):
        findings.compare("type", f"of {found.uri}", found.dtype, recorded.dtype)
        if len(inputs.records) > 1:
            findings.compare("shape", f"cells of {found.uri}", found.n_cells, recorded.n_cells)
        findings.compare(
            "genes", f"measured by {found.uri}", found.genes_present, recorded.genes_present
        )


def _as_read(options: ReadOptions, record: SourceRecord) -> ReadOptions:
    chosen: dict[str, Any] = dict(record.choice)
    return replace(options, matrix=record.matrix, **chosen)
