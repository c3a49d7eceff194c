"""Recompute the digest of every block of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.arrays import RowRange, as_float64
from slaf.digest import BlockDigest
from slaf.tables.read import scan
from slaf.verification.report import SHOWN_OF_A_KIND

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from slaf.dataset import Dataset
    from slaf.manifest import Block
    from slaf.progress import Progress
    from slaf.verification.report import Findings

__all__ = ["check_digests", "entries_of", "same_values"]

_ENTRY_COLUMNS = ("cell_integer_id", "gene_integer_id", "value")


def check_digests(
    dataset: Dataset, findings: Findings, seen: Progress, chosen: Iterable[int]
) -> None:
    """Read blocks and compare the digest of each with the one taken while the source was read.

    Parameters
    ----------
    dataset
        Whose offsets and blocks are known to be right.
    findings
        Takes the blocks that differ.
    seen
        Told of each batch read.
    chosen
        The positions of the blocks to read.
    """
    for block in (dataset.published.blocks[at] for at in chosen):
        with findings.reading(str(block)):
            found = _digest(dataset, block, findings, seen)
            findings.compare("digest", str(block), block.digest, found)


def _digest(dataset: Dataset, block: Block, findings: Findings, seen: Progress) -> str:
    offsets = dataset.cell_offsets
    counts = np.diff(offsets[block.start : block.stop + 1])
    digest = BlockDigest()
    digest.add_lengths(counts)
    owners = np.repeat(np.arange(block.start, block.stop), counts)
    at = 0
    for cells, genes, values in entries_of(dataset, RowRange(block.start, block.stop)):
        expected = owners[at : at + len(cells)]
        wrong = np.flatnonzero(cells != expected)
        for row in wrong[:SHOWN_OF_A_KIND]:
            where = f"cell_integer_id of row {int(offsets[block.start]) + at + row}"
            findings.note("order", where, expected[row], cells[row])
        digest.add_entries(genes, as_float64(values))
        at += len(cells)
        seen.advance(0, len(cells))
    seen.advance(block.stop - block.start, 0)
    return digest.hexdigest()


def entries_of(
    dataset: Dataset, cells: RowRange
) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Cell ids, gene ids and values of some cells, in pieces."""
    offsets = dataset.cell_offsets
    rows = RowRange(int(offsets[cells.start]), int(offsets[cells.stop]))
    for batch in scan(dataset.expression, rows, _ENTRY_COLUMNS):
        ids, genes, values = (column.to_numpy(zero_copy_only=False) for column in batch.columns)
        yield ids, genes, values


def same_values(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two arrays hold the same numbers, whatever their types; every NaN is the same."""
    ours, theirs = as_float64(one), as_float64(other)
    if not np.array_equal(ours.values, theirs.values, equal_nan=True):
        return False
    if ours.rest is None or theirs.rest is None:
        return ours.rest is theirs.rest
    return np.array_equal(ours.rest, theirs.rest)
