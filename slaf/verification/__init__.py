"""Prove a dataset: its tables against each other, its digests, its source, another dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slaf.dataset import Dataset, open_dataset
from slaf.errors import VerificationFailed
from slaf.progress import Unwatched
from slaf.sources import ReadOptions
from slaf.verification.against import check_against
from slaf.verification.beside import (
    check_beside,
    check_beside_digests,
    check_beside_readable,
    n_companions,
)
from slaf.verification.beside_against import check_beside_against
from slaf.verification.difference import diff
from slaf.verification.digests import check_digests
from slaf.verification.inputs import check_records, opened_again
from slaf.verification.names import check_string_ids
from slaf.verification.report import Comparison, Difference, Findings, Report
from slaf.verification.tables import check_readable, check_tables

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from slaf.progress import Progress
    from slaf.sources.base import Inputs
    from slaf.storage import Location

__all__ = ["Comparison", "Difference", "Report", "diff", "verify"]


def verify(
    dataset: str | os.PathLike[str] | Location | Dataset,
    against: Inputs | None = None,
    *,
    quick: bool = False,
    format: str | None = None,
    memory: int | None = None,
    scratch: str | os.PathLike[str] | None = None,
    storage_options: Mapping[str, str] | None = None,
    input_storage_options: Mapping[str, str] | None = None,
    stage: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check that a dataset is whole, and that it is what was converted.

    Parameters
    ----------
    dataset
        A published dataset.
    against
        The inputs it was made of, in the same order, to compare every value, id and column
        with.
    quick
        Check that the tables agree with each other and with config.json, without reading all
        values.
    format
        The format of the inputs; found by the content of each if None.
    memory
        Bytes that sorting the input may take, if it is not in cell order; if None a quarter of
        what the machine or the container has free, at most 2 GiB.
    scratch
        The directory for what does not fit in `memory`; the dataset's parent if None.
    storage_options
        How to reach the buckets of dataset and inputs.
    input_storage_options
        How to reach the buckets of the inputs, where that is another matter.
    stage
        A directory into which inputs from elsewhere are downloaded first, and kept; None to
        fetch only what is needed, when it is.
    progress
        Told how far it is: an object with the two methods of `slaf.progress.Progress`.

    Returns
    -------
    Report
        What was checked.

    Raises
    ------
    VerificationFailed
        If anything differs; it carries the report.
    DatasetError, InputError
        If the dataset or an input cannot be read.
    """
    opened = (
        dataset
        if isinstance(dataset, Dataset)
        else open_dataset(dataset, storage_options=storage_options)
    )
    findings = Findings()
    seen = progress or Unwatched()
    n_passes = (0 if quick else 1) + (0 if against is None else 1)
    seen.begin(0, 0, n_passes * (1 + n_companions(opened)) * opened.n_cells)
    checks = ["ids, offsets, counts and blocks of the tables"]
    check_tables(opened, findings)
    check_beside(opened, findings)
    # Offsets that contradict each other cannot be read by.
    if not findings and not quick:
        checks.append(f"the digest of every block ({len(opened.published.blocks):,})")
        check_digests(opened, findings, seen)
        check_beside_digests(opened, findings, seen)
        check_readable(opened, findings)
        check_beside_readable(opened, findings)
        check_string_ids(opened, findings)
    if against is not None and not findings.of("offsets", "config", "unreadable"):
        reading = ReadOptions.beside(
            opened.location,
            opened.sources[0].matrix,
            memory,
            scratch,
            storage_options=input_storage_options or storage_options,
            stage=stage,
        )
        with opened_again(opened, against, format, reading) as source:
            checks.append(f"every value, id and column of {source.uri}")
            check_records(opened, source, findings)
            check_against(opened, source, findings, seen)
            check_beside_against(
                opened,
                source,
                findings,
                seen,
                types=lambda matrix, record: (str(matrix.dtype), record.source_dtype),
            )
    report = Report(
        str(opened.location), tuple(checks), tuple(findings.shown), tuple(findings.counts.items())
    )
    if report.ok:
        return report
    total = sum(findings.counts.values())
    plural = "difference" if total == 1 else "differences"
    msg = f"{opened.location}: {total:,} {plural}; the first: {report.differences[0]}"
    raise VerificationFailed(msg, report)
