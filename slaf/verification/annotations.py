"""Check what a dataset has beside its matrix: layers, raw, obsm, varm, obsp, varp, uns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

from slaf.format.config import OPTIONAL_TABLES
from slaf.format.schema import LAYERS, RAW, RAW_GENES
from slaf.options import ALIGNED_SLOTS
from slaf.sparse.ranges import RowRange
from slaf.verification.rows import RowTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slaf.dataset.dataset import Dataset
    from slaf.format.records import MatrixRecord
    from slaf.runtime.progress import Progress
    from slaf.verification.report import DifferenceLog

__all__ = [
    "check_annotation_digests",
    "check_annotations",
    "check_annotations_readable",
    "layer_row_tables",
    "n_layer_tables",
]


def check_annotations(dataset: Dataset, findings: DifferenceLog) -> None:
    """Check rows, offsets and blocks of the tables beside `expression`, without their values.

    Parameters
    ----------
    dataset
        Any published dataset.
    findings
        Takes what contradicts.
    """
    with findings.reading("what is beside the matrix"):
        beside = dataset.annotations.record
        expected = {LAYERS: beside.layers is not None, RAW: beside.raw is not None}
        expected[RAW_GENES] = expected[RAW]
        for name, wanted in expected.items():
            findings.compare("config", f"table {name}", wanted, name in dataset.published.tables)
        for name in OPTIONAL_TABLES:
            if name in dataset.published.tables and not findings.of("config"):
                dataset.table(name).count_rows()
        if findings.of("config"):
            return
        for companion, matrices in layer_row_tables(dataset):
            rows = companion.table.count_rows()
            where = f"rows of {companion.name}"
            findings.compare("config", where, int(companion.offsets[-1]), rows)
            companion.check_offsets(findings)
            _check_blocks(companion, matrices, findings)
        if beside.raw is not None:
            found = dataset.table(RAW_GENES).count_rows()
            findings.compare("config", f"rows of {RAW_GENES}", beside.raw.n_genes, found)


def check_annotation_digests(
    dataset: Dataset, findings: DifferenceLog, seen: Progress, chosen: Sequence[int]
) -> None:
    """Read blocks of the layers and of raw, and compare the digest of each.

    Parameters
    ----------
    dataset
        Whose offsets and blocks are known to be right.
    findings
        Takes the blocks that differ.
    seen
        Told of the cells read, once for each table.
    chosen
        The positions of the blocks to read.
    """
    for companion, matrices in layer_row_tables(dataset):
        for at in chosen:
            block = companion.blocks[at]
            with findings.reading(companion.place(block)):
                found = companion.digests(RowRange(block.start, block.stop), findings)
                for matrix, digest in zip(matrices, found, strict=True):
                    where = f"{companion.name}, {matrix.original}, {block}"
                    findings.compare("digest", where, matrix.blocks[at].digest, digest)
            nonzeros = sum(matrix.blocks[at].rows for matrix in matrices)
            seen.advance(block.stop - block.start, nonzeros)


def check_annotations_readable(dataset: Dataset, findings: DifferenceLog) -> None:
    """Read every element of the slots, and hold the files against their digests."""
    for record in dataset.annotations.record.files:
        content = dataset.location.read(record.file)
        if content is None:
            findings.note("unreadable", record.file, "a file", "nothing")
        else:
            found = xxhash.xxh3_128(content).hexdigest()
            findings.compare("digest", record.file, record.digest, found)
    if findings.of("unreadable", "digest"):
        return
    for slot in ALIGNED_SLOTS:
        elements = dataset.annotations.slot(slot)
        for key in elements:
            with findings.reading(f"{slot} {key!r}"):
                elements[key]
    if dataset.raw is not None:
        with findings.reading(RAW_GENES):
            _ = dataset.raw.var, dict(dataset.raw.varm)
    with findings.reading("uns"):
        _ = dataset.uns


def n_layer_tables(dataset: Dataset) -> int:
    """How many tables of further matrices config.json lists."""
    return sum(name in dataset.published.tables for name in (LAYERS, RAW))


def layer_row_tables(dataset: Dataset) -> Iterator[tuple[RowTable, tuple[MatrixRecord, ...]]]:
    """The tables of further matrices that a dataset has, and the records of their columns."""
    for name, matrices in dataset.annotations.record.matrices().items():
        yield RowTable.of(dataset, name), matrices


def _check_blocks(
    companion: RowTable, matrices: tuple[MatrixRecord, ...], findings: DifferenceLog
) -> None:
    expected = [(block.start, block.stop) for block in companion.blocks]
    for matrix in matrices:
        found = [(block.start, block.stop) for block in matrix.blocks]
        where = f"blocks of {companion.name}, {matrix.original}"
        findings.compare("config", where, expected, found)
