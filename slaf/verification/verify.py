"""Prove a dataset: its tables against each other, its digests, its source, another dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slaf.dataset.dataset import Dataset, open_dataset
from slaf.errors import Locked, VerificationFailed
from slaf.format.config import load_published
from slaf.format.schema import partitioned_tables
from slaf.options import ReadOptions
from slaf.runtime.progress import NullProgress
from slaf.verification.against import check_against
from slaf.verification.annotations import check_annotations_readable
from slaf.verification.annotations_against import check_annotations_against
from slaf.verification.files import check_file_ranges, check_files, unknown_files
from slaf.verification.reopen import check_records, reopen_inputs
from slaf.verification.report import DifferenceLog, Report
from slaf.verification.rows import BlockSample, check_copies, check_digests, check_row_tables
from slaf.verification.tables import check_readable, check_string_ids, check_tables

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from slaf.runtime.progress import Progress
    from slaf.sources.base import Inputs
    from slaf.sources.concat.source import Concat
    from slaf.storage.location import Location

__all__ = ["verify"]


def verify(
    dataset: str | os.PathLike[str] | Location | Dataset,
    against: Inputs | None = None,
    *,
    quick: bool = False,
    sample: int | None = None,
    seed: int = 0,
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
    sample
        Read only so many blocks, drawn at random, instead of all of them and of every file.
    seed
        Which blocks are drawn; the same seed draws the same.
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
        Told how far it is: an object with the two methods of `slaf.runtime.progress.Progress`.

    Returns
    -------
    Report
        What was checked.

    Raises
    ------
    VerificationFailed
        If anything differs; it carries the report.
    Locked
        If anything differs because the dataset was written to meanwhile.
    ValueError
        If a sample is asked for together with something that reads all, or nothing.
    DatasetError, InputError
        If the dataset or an input cannot be read.
    """
    opened = (
        dataset
        if isinstance(dataset, Dataset)
        else open_dataset(dataset, storage_options=storage_options)
    )
    drawn = BlockSample.drawn(opened.published.blocks, sample, seed)
    if drawn is not None and (quick or against is not None):
        msg = "sample reads some blocks: leave out quick, and against"
        raise ValueError(msg)
    findings = DifferenceLog()
    seen = progress or NullProgress()
    cells = opened.n_cells if drawn is None else drawn.n_cells
    n_passes = (not quick) + (against is not None)
    tables = partitioned_tables(opened.published.tables)
    n_copies = sum(bool(spec.copies) for spec in tables)
    n_read = n_passes * (len(tables) - n_copies)
    seen.begin(0, 0, (n_read + (n_copies if drawn is None and not quick else 0)) * cells)
    # First: what is damaged is better not read by anything that takes it for what it was.
    checks = _check_files(opened, findings, read=not quick and drawn is None)
    if not findings:
        checks.append("ids, offsets, counts and blocks of the tables")
        check_tables(opened, findings)
        check_row_tables(opened, findings)
    if not findings and opened.published.proof.files:
        check_file_ranges(opened, findings)
    # Offsets that contradict each other cannot be read by.
    if not findings and not quick:
        checks += _check_content(opened, findings, seen, drawn)
    if against is not None and not findings.of("file", "offsets", "config", "unreadable"):
        reading = ReadOptions(
            matrix=opened.sources[0].matrix,
            memory=memory,
            scratch=scratch,
            storage_options=input_storage_options or storage_options,
            stage=stage,
        ).near(opened.location)
        with reopen_inputs(opened, against, format, reading) as source:
            checks.append(f"every value, id and column of {source.info.uri}")
            _compare(opened, source, findings, seen)
    report = Report(
        str(opened.location), tuple(checks), tuple(findings.shown), tuple(findings.counts.items())
    )
    if report.ok:
        return report
    if load_published(opened.location).versions != opened.published.versions:
        msg = (
            f"{opened.location}: it was written to since it was opened, so that what was verified "
            "is there no more; verify it again"
        )
        raise Locked(msg)
    total = sum(findings.counts.values())
    plural = "difference" if total == 1 else "differences"
    msg = f"{opened.location}: {total:,} {plural}; the first: {report.differences[0]}"
    raise VerificationFailed(msg, report)


def _check_content(
    dataset: Dataset, findings: DifferenceLog, seen: Progress, drawn: BlockSample | None
) -> list[str]:
    """Read all values, or those of a sample; in words, what was checked."""
    n_blocks = len(dataset.published.blocks)
    chosen = drawn.positions if drawn else range(n_blocks)
    check_digests(dataset, findings, seen, chosen)
    if drawn is not None:
        return [drawn.told]
    checks = [f"the digest of every block ({n_blocks:,})"]
    if not findings and any(s.copies for s in partitioned_tables(dataset.published.tables)):
        checks.append("the rows in the order of genes, against those in the order of cells")
        check_copies(dataset, findings, seen)
    if not findings:
        check_readable(dataset, findings)
        check_annotations_readable(dataset, findings)
        check_string_ids(dataset, findings)
    return checks


def _compare(dataset: Dataset, source: Concat, findings: DifferenceLog, seen: Progress) -> None:
    check_records(dataset, source, findings)
    check_against(dataset, source, findings, seen)
    check_annotations_against(
        dataset,
        source,
        findings,
        seen,
        types=lambda matrix, record: (str(matrix.dtype), record.source_dtype),
    )


def _check_files(dataset: Dataset, findings: DifferenceLog, *, read: bool) -> list[str]:
    """Check the files; in words, what was checked."""
    files = len(dataset.published.proof.files)
    if not files:
        # Made before anything was noted of files.
        return []
    check_files(dataset, findings, read=read)
    unknown = 0 if findings else unknown_files(dataset)
    without = f"; {unknown:,} have none" if unknown else ""
    return [f"the {'checksum' if read else 'size'} of every file ({files:,}{without})"]
