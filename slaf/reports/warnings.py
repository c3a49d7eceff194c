"""The warnings of a report, the worst first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slaf.format.schema import RAW
from slaf.reports.contents import ReportWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slaf.dataset.dataset import Dataset
    from slaf.reports.contents import Verification
    from slaf.reports.quality import Quality, ValueKinds

__all__ = ["warnings_of"]

# A droplet without a cell has some counts of the RNA that floats in the sample; a cell has more.
_FEW_COUNTS, _COUNTS_OF_A_CELL = 10, 500
_LISTED = 5


def warnings_of(
    dataset: Dataset, layer: str | None, state: Verification, quality: Quality | None
) -> Iterator[ReportWarning]:
    """The warnings of a dataset.

    Parameters
    ----------
    dataset
        The dataset.
    layer
        The layer that was measured.
    state
        The state of verification.
    quality
        The measured quality; None if the values could not be read.
    """
    if state.state == "failed":
        first = state.differences[0] if state.differences else "no difference was kept"
        yield ReportWarning("damaged", f"the dataset differs from its records: {first}")
    elif state.state == "none":
        text = "the dataset was not verified for this report; slaf verify does"
        yield ReportWarning("unverified", text)
    if not (dataset.n_cells and dataset.n_genes and dataset.nnz):
        shape = f"{dataset.n_cells:,} cells, {dataset.n_genes:,} genes, {dataset.nnz:,} nonzeros"
        yield ReportWarning("empty", f"there are {shape}")
    if quality is not None:
        yield from _of_values(dataset, layer, quality.kinds)
        yield from _of_ids(quality)
        yield from _of_cells(dataset, quality)
    yield from _of_genes(dataset)


def _of_values(dataset: Dataset, layer: str | None, kinds: ValueKinds) -> Iterator[ReportWarning]:
    found = (
        ("negative", kinds.negative, "are below zero"),
        ("fractional", kinds.fractional, "are fractions"),
        ("not finite", kinds.not_finite, "are infinite or no number"),
    )
    steps = ", ".join(step.name for step in dataset.published.transforms)
    for kind, n, what in found:
        if n:
            made = f" (steps: {steps})" if steps else ""
            text = f"the values are not counts: {n:,} {what}{made}"
            yield ReportWarning(kind, text + _where_counts_are(dataset, layer))


def _where_counts_are(dataset: Dataset, layer: str | None) -> str:
    """A hint at the other matrices that hold whole numbers only."""
    raw = dataset.annotations.record.raw
    records = {name: record.value_type for name, record in dataset.annotations.layers.items()}
    records |= {} if raw is None else {RAW: raw.matrix.value_type}
    whole = [name for name, dtype in records.items() if np.dtype(dtype).kind in "iu"]
    names = ", ".join(name for name in whole[:_LISTED] if name != layer)
    return f"; whole numbers only are in {names}: --layer describes them" if names else ""


def _of_ids(quality: Quality) -> Iterator[ReportWarning]:
    across = quality.repeated_cells - quality.repeated_within
    remedy = f"; {across:,} in another input: --cell-id-prefix of a conversion makes them unique"
    for n, what, of_several in (
        (quality.repeated_cells, "cells", remedy if across else ""),
        (quality.repeated_genes, "genes", ""),
    ):
        if n:
            text = f"{what} with the id of another before them: {n:,}{of_several}"
            yield ReportWarning("repeated ids", text)


def _of_cells(dataset: Dataset, quality: Quality) -> Iterator[ReportWarning]:
    suspected = [] if quality.kinds else list(_raw_droplets(quality))
    if suspected:
        names = ", ".join(suspected[:_LISTED])
        more = f" and {len(suspected) - _LISTED:,} more" if len(suspected) > _LISTED else ""
        text = (
            f"{names}{more}: more than half of the cells have fewer than {_FEW_COUNTS} counts, "
            "as droplets without a cell do; the filtered matrix of the same sample has cells only"
        )
        yield ReportWarning("raw droplets", text)
    n = sum(int((totals == 0).sum()) for totals in quality.totals)
    if n and not suspected and dataset.nnz:
        yield ReportWarning("cells without counts", f"the values of {n:,} cells sum to zero")


def _raw_droplets(quality: Quality) -> Iterator[str]:
    for source, totals in zip(quality.sources, quality.totals, strict=True):
        if len(totals) and totals.max() >= _COUNTS_OF_A_CELL:
            few = int((totals < _FEW_COUNTS).sum())
            if 2 * few > len(totals):
                yield source.name


def _of_genes(dataset: Dataset) -> Iterator[ReportWarning]:
    measured = [
        sum(stop - start for start, stop in source.genes_present) for source in dataset.sources
    ]
    fewer = sum(n < dataset.n_genes for n in measured)
    if fewer:
        text = (
            f"{fewer:,} of {len(measured):,} inputs have not measured all {dataset.n_genes:,} "
            "genes: a zero of another gene is no measurement"
        )
        yield ReportWarning("not measured", text)
