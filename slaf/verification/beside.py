"""Check what a dataset has beside its matrix: layers, raw, obsm, varm, obsp, varp, uns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

from slaf.arrays import RowRange
from slaf.beside import SLOTS
from slaf.manifest import COMPANIONS
from slaf.schema import LAYERS, RAW, RAW_GENES
from slaf.verification.ordered import Ordered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slaf.beside import MatrixRecord
    from slaf.dataset import Dataset
    from slaf.progress import Progress
    from slaf.verification.report import Findings

__all__ = [
    "check_beside",
    "check_beside_digests",
    "check_beside_readable",
    "companions",
    "n_companions",
]


def check_beside(dataset: Dataset, findings: Findings) -> None:
    """Check rows, offsets and blocks of the tables beside `expression`, without their values.

    Parameters
    ----------
    dataset
        Any published dataset.
    findings
        Takes what contradicts.
    """
    with findings.reading("what is beside the matrix"):
        beside = dataset.held.beside
        expected = {LAYERS: beside.layers is not None, RAW: beside.raw is not None}
        expected[RAW_GENES] = expected[RAW]
        for name, wanted in expected.items():
            findings.compare("config", f"table {name}", wanted, name in dataset.published.tables)
        for name in COMPANIONS:
            if name in dataset.published.tables and not findings.of("config"):
                dataset.table(name).count_rows()
        if findings.of("config"):
            return
        for companion, matrices in companions(dataset):
            rows = companion.table.count_rows()
            where = f"rows of {companion.name}"
            findings.compare("config", where, int(companion.offsets[-1]), rows)
            companion.check_offsets(findings)
            _check_blocks(companion, matrices, findings)
        if beside.raw is not None:
            found = dataset.table(RAW_GENES).count_rows()
            findings.compare("config", f"rows of {RAW_GENES}", beside.raw.n_genes, found)


def check_beside_digests(
    dataset: Dataset, findings: Findings, seen: Progress, chosen: Sequence[int]
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
    for companion, matrices in companions(dataset):
        for at in chosen:
            block = companion.blocks[at]
            with findings.reading(companion.place(block)):
                found = companion.digests(RowRange(block.start, block.stop), findings)
                for matrix, digest in zip(matrices, found, strict=True):
                    where = f"{companion.name}, {matrix.original}, {block}"
                    findings.compare("digest", where, matrix.blocks[at].digest, digest)
            nonzeros = sum(matrix.blocks[at].rows for matrix in matrices)
            seen.advance(block.stop - block.start, nonzeros)


def check_beside_readable(dataset: Dataset, findings: Findings) -> None:
    """Read every element of the slots, and hold the files against their digests."""
    for record in dataset.held.beside.files:
        content = dataset.location.read(record.file)
        if content is None:
            findings.note("unreadable", record.file, "a file", "nothing")
        else:
            found = xxhash.xxh3_128(content).hexdigest()
            findings.compare("digest", record.file, record.digest, found)
    if findings.of("unreadable", "digest"):
        return
    for slot in SLOTS:
        elements = dataset.held.slot(slot)
        for key in elements:
            with findings.reading(f"{slot} {key!r}"):
                elements[key]
    if dataset.raw is not None:
        with findings.reading(RAW_GENES):
            _ = dataset.raw.var, dict(dataset.raw.varm)
    with findings.reading("uns"):
        _ = dataset.uns


def n_companions(dataset: Dataset) -> int:
    """How many tables of further matrices config.json lists."""
    return sum(name in dataset.published.tables for name in (LAYERS, RAW))


def companions(dataset: Dataset) -> Iterator[tuple[Ordered, tuple[MatrixRecord, ...]]]:
    """The tables of further matrices that a dataset has, and the records of their columns."""
    for name, matrices in dataset.held.beside.matrices().items():
        yield Ordered.of(dataset, name), matrices


def _check_blocks(
    companion: Ordered, matrices: tuple[MatrixRecord, ...], findings: Findings
) -> None:
    expected = [(block.start, block.stop) for block in companion.blocks]
    for matrix in matrices:
        found = [(block.start, block.stop) for block in matrix.blocks]
        where = f"blocks of {companion.name}, {matrix.original}"
        findings.compare("config", where, expected, found)
