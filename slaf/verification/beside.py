"""Check what a dataset has beside its matrix: layers, raw, obsm, varm, obsp, varp, uns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from slaf.arrays import RowRange, as_float64
from slaf.beside import SLOTS
from slaf.digest import BlockDigest
from slaf.manifest import COMPANIONS
from slaf.schema import LAYERS, RAW, RAW_GENES
from slaf.tables.read import scan
from slaf.verification.report import SHOWN_OF_A_KIND

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from slaf.beside import MatrixRecord
    from slaf.dataset import Dataset
    from slaf.progress import Progress
    from slaf.verification.report import Findings

__all__ = [
    "CompanionTable",
    "check_beside",
    "check_beside_digests",
    "check_beside_readable",
    "companions",
    "n_companions",
    "rows_of",
]

_ENTRY_COLUMNS = ("cell_integer_id", "gene_integer_id")


@dataclass(frozen=True, slots=True)
class CompanionTable:
    """A table of further matrices: its columns of values, and where each cell's rows begin."""

    dataset: Dataset
    table: str
    matrices: Sequence[MatrixRecord]
    offsets: NDArray[np.int64]


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
        for companion in companions(dataset):
            rows = dataset.table(companion.table).count_rows()
            where = f"rows of {companion.table}"
            findings.compare("config", where, int(companion.offsets[-1]), rows)
            _check_offsets(companion, findings)
            _check_blocks(companion, findings)
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
    for companion in companions(dataset):
        for at in chosen:
            block = dataset.published.blocks[at]
            with findings.reading(f"{companion.table}, {block}"):
                found = _digests(companion, RowRange(block.start, block.stop), findings)
                for matrix, digest in zip(companion.matrices, found, strict=True):
                    where = f"{companion.table}, {matrix.original}, {block}"
                    findings.compare("digest", where, matrix.blocks[at].digest, digest)
            nonzeros = sum(matrix.blocks[at].rows for matrix in companion.matrices)
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


def companions(dataset: Dataset) -> Iterator[CompanionTable]:
    """The tables of further matrices that a dataset has."""
    for table, matrices in dataset.held.beside.matrices().items():
        yield CompanionTable(dataset, table, matrices, dataset.offsets(table))


def _check_offsets(companion: CompanionTable, findings: Findings) -> None:
    name, offsets = f"{companion.table}_start_index", companion.offsets
    findings.compare("offsets", f"{name} of the first cell", 0, int(offsets[0]))
    for cell in np.flatnonzero(np.diff(offsets) < 0)[:SHOWN_OF_A_KIND]:
        findings.note(
            "offsets", f"{name} after cell {cell}", f"≥ {offsets[cell]}", offsets[cell + 1]
        )


def _check_blocks(companion: CompanionTable, findings: Findings) -> None:
    blocks = companion.dataset.published.blocks
    expected = [(block.start, block.stop) for block in blocks]
    for matrix in companion.matrices:
        found = [(block.start, block.stop) for block in matrix.blocks]
        where = f"blocks of {companion.table}, {matrix.original}"
        findings.compare("config", where, expected, found)


def _digests(companion: CompanionTable, cells: RowRange, findings: Findings) -> list[str]:
    """Of each column of values, the digest of some cells."""
    names = [matrix.name for matrix in companion.matrices]
    digests = [BlockDigest() for _ in names]
    lengths = [np.zeros(len(cells), np.int64) for _ in names]
    starts = companion.offsets[cells.start : cells.stop + 1]
    owners, at = np.repeat(np.arange(len(cells)), np.diff(starts)), 0
    for ids, genes, columns in rows_of(companion, names, cells):
        owned = owners[at : at + len(ids)]
        for row in np.flatnonzero(ids != owned + cells.start)[:SHOWN_OF_A_KIND]:
            where = f"cell_integer_id of row {int(starts[0]) + at + row} of {companion.table}"
            findings.note("order", where, owned[row] + cells.start, ids[row])
        for column, (valid, values) in enumerate(columns):
            lengths[column] += np.bincount(owned[valid], minlength=len(cells))
            digests[column].add_entries(genes[valid], as_float64(values))
        at += len(ids)
    for digest, counts in zip(digests, lengths, strict=True):
        digest.add_lengths(counts)
    return [digest.hexdigest() for digest in digests]


def rows_of(
    companion: CompanionTable, names: Sequence[str], cells: RowRange
) -> Iterator[tuple[NDArray[Any], NDArray[Any], list[tuple[NDArray[np.bool_], NDArray[Any]]]]]:
    """Of some cells the ids of cells and genes, and of each column which rows have a value, and it.

    Parameters
    ----------
    companion
        The table.
    names
        Its columns of values.
    cells
        Positions of cells.
    """
    rows = RowRange(int(companion.offsets[cells.start]), int(companion.offsets[cells.stop]))
    table = companion.dataset.table(companion.table)
    for batch in scan(table, rows, (*_ENTRY_COLUMNS, *names)):
        ids, genes, *values = batch.columns
        found = [
            (
                column.is_valid().to_numpy(zero_copy_only=False),
                column.drop_null().to_numpy(zero_copy_only=False),
            )
            for column in values
        ]
        yield ids.to_numpy(), genes.to_numpy(), found
