"""Verify a dataset against its digests and its inputs: `slaf.verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slaf.dataset.dataset import Dataset, open_dataset
from slaf.errors import Locked, SlafError, VerificationFailed
from slaf.format.config import load_published
from slaf.format.schema import partitioned_tables
from slaf.options import ReadOptions
from slaf.runtime.progress import NullProgress
from slaf.verification.against import check_against
from slaf.verification.annotations import check_annotations_readable
from slaf.verification.annotations_against import check_annotations_against
from slaf.verification.files import check_file_ranges, check_files, n_files_without_checksum
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
    part: tuple[int, int] | None = None,
    format: str | None = None,
    memory: int | None = None,
    scratch: str | os.PathLike[str] | None = None,
    storage_options: Mapping[str, str] | None = None,
    input_storage_options: Mapping[str, str] | None = None,
    stage: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check that a dataset is complete, and equal to what was converted.

    Parameters
    ----------
    dataset
        A published dataset.
    against
        The inputs of the dataset, in the same order, to compare every value, id and column with;
        or a folder of them.
    quick
        Check that the tables agree with each other and with config.json, without reading values.
    sample
        Number of blocks to read, drawn at random, in place of all blocks and files.
    seed
        The seed of the sample; the same seed draws the same blocks.
    part
        The share of the blocks and files to read, and the number of shares: ``(0, 4)`` to
        ``(3, 4)`` together are a whole verification, on as many machines.
    format
        The format of the inputs; found by the content of each if None.
    memory
        Bytes for sorting an input that is not in the order of cells; if None a quarter of the
        memory that the machine or the container has free, at most 2 GiB.
    scratch
        The directory for sorting what does not fit in `memory`; the dataset's parent if None.
    storage_options
        Options for the buckets of dataset and inputs.
    input_storage_options
        Options for the buckets of the inputs, if they differ.
    stage
        A directory into which remote inputs are downloaded first, and kept; if None they are read
        where they are.
    progress
        Reports progress: an object with the two methods of `slaf.runtime.progress.Progress`.

    Returns
    -------
    Report
        The checks.

    Raises
    ------
    VerificationFailed
        If anything differs; it carries the report.
    Locked
        If anything differs because the dataset was written to during verification.
    ValueError
        If `sample` is less than 1, there is no such `part`, or one of both is given with another,
        `quick` or `against`.
    DatasetError, InputError
        If the dataset or an input cannot be read.
    """
    opened = (
        dataset
        if isinstance(dataset, Dataset)
        else open_dataset(dataset, storage_options=storage_options)
    )
    drawn = _drawn(opened, sample, seed, part)
    if (drawn is not None and (quick or against is not None)) or (part and sample):
        name = "part" if part else "sample"
        msg = f"{name} reads some blocks: leave out {'sample, ' if part else ''}quick, and against"
        raise ValueError(msg)
    differences = DifferenceLog()
    progress = progress or NullProgress()
    # What is not in blocks is checked once.
    is_whole = not quick and (drawn is None or (part is not None and part[0] == 0))
    n_passes = (not quick) + (against is not None)
    progress.begin(0, 0, _n_cells_read(opened, drawn, n_passes, is_whole=is_whole))
    # Files first: other checks rely on undamaged ones.
    read = not quick and sample is None
    checks = _check_files(opened, differences, read=read, share=part or (0, 1))
    if not differences:
        checks.append("ids, offsets, counts and blocks of the tables")
        check_tables(opened, differences)
        check_row_tables(opened, differences)
    if not differences and opened.published.checksums.files:
        check_file_ranges(opened, differences)
    # Rows are read by their offsets, which have to be correct.
    if not differences and not quick:
        checks += _check_content(opened, differences, progress, drawn, is_whole=is_whole)
    if against is not None and not differences.has("file", "offsets", "config", "unreadable"):
        options = ReadOptions(
            matrix=opened.sources[0].matrix,
            memory=memory,
            scratch=scratch,
            storage_options=input_storage_options or storage_options,
            stage=stage,
        ).near(opened.location)
        with reopen_inputs(opened, against, format, options) as source:
            but = ", ".join(opened.published.annotated_names)
            but = f", but for what was annotated: {but}" if but else ""
            checks.append(f"every value, id and column of {_names(source)}{but}")
            _compare(opened, source, differences, progress)
    report = Report(str(opened.location), tuple(checks), *differences.results())
    if not report.ok:
        raise _failure(opened, report)
    return report


def _drawn(
    dataset: Dataset, sample: int | None, seed: int, part: tuple[int, int] | None
) -> BlockSample | None:
    """The blocks to read; None for all."""
    blocks = dataset.published.blocks
    drawn = BlockSample.draw(blocks, sample, seed)
    return drawn if part is None else BlockSample.share(blocks, part)


def _n_cells_read(
    dataset: Dataset, drawn: BlockSample | None, n_passes: int, *, is_whole: bool
) -> int:
    """The cells that are read, each once for each table and pass."""
    cells = dataset.n_cells if drawn is None else drawn.n_cells
    tables = partitioned_tables(dataset.published.tables)
    n_copies = sum(bool(spec.copies) for spec in tables)
    return n_passes * (len(tables) - n_copies) * cells + n_copies * is_whole * dataset.n_cells


def _names(inputs: Concat) -> str:
    """The first input, and how many there are besides."""
    first, *more = (record.uri for record in inputs.records)
    return f"{first} and {len(more):,} more" if more else first


def _failure(dataset: Dataset, report: Report) -> SlafError:
    location = dataset.location
    if load_published(location).versions != dataset.published.versions:
        return Locked(
            f"{location}: it was written to since it was opened, so that what was verified "
            "is there no more; verify it again"
        )
    total = sum(count for _, count in report.counts)
    plural = "difference" if total == 1 else "differences"
    msg = f"{location}: {total:,} {plural}; the first: {report.differences[0]}"
    return VerificationFailed(msg, report)


def _check_content(
    dataset: Dataset,
    differences: DifferenceLog,
    progress: Progress,
    drawn: BlockSample | None,
    *,
    is_whole: bool,
) -> list[str]:
    """Read all values, or those of a sample; returns the checks as text.

    Parameters
    ----------
    is_whole
        Whether to check what is not in blocks, too.
    """
    n_blocks = len(dataset.published.blocks)
    positions = drawn.positions if drawn else range(n_blocks)
    check_digests(dataset, differences, progress, positions)
    checks = [drawn.description if drawn else f"the digest of every block ({n_blocks:,})"]
    if not is_whole:
        return checks
    if not differences and any(
        spec.copies for spec in partitioned_tables(dataset.published.tables)
    ):
        checks.append("the rows in the order of genes, against those in the order of cells")
        check_copies(dataset, differences, progress)
    if not differences:
        check_readable(dataset, differences)
        check_annotations_readable(dataset, differences)
        check_string_ids(dataset, differences)
    return checks


def _compare(
    dataset: Dataset, source: Concat, differences: DifferenceLog, progress: Progress
) -> None:
    check_records(dataset, source, differences)
    # What was annotated is from no input.
    annotated = dataset.published.annotated_names
    check_against(dataset, source, differences, progress, ignored=annotated)
    check_annotations_against(
        dataset,
        source,
        differences,
        progress,
        types=lambda matrix, record: (str(matrix.dtype), record.source_dtype),
        ignored=annotated,
    )


def _check_files(
    dataset: Dataset, differences: DifferenceLog, *, read: bool, share: tuple[int, int]
) -> list[str]:
    """Check the files, a share of them by reading it; returns the check as text."""
    n_files = len(dataset.published.checksums.files)
    if not n_files:
        # The dataset was made before files were recorded.
        return []
    check_files(dataset, differences, read=read, share=share)
    n_unknown = 0 if differences else n_files_without_checksum(dataset)
    without = f"; {n_unknown:,} have none" if n_unknown else ""
    every = "every file" if share == (0, 1) else f"every {share[1]}th file"
    return [f"the {'checksum' if read else 'size'} of {every} ({n_files:,}{without})"]
