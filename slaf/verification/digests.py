"""Recompute the digest of every block of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slaf.arrays import RowRange
from slaf.schema import EXPRESSION
from slaf.verification.ordered import Ordered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from slaf.dataset import Dataset
    from slaf.progress import Progress
    from slaf.verification.report import Findings

__all__ = ["check_digests"]


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

    def count(cells: NDArray[Any], *_: object) -> None:
        seen.advance(0, len(cells))

    for block in (dataset.published.blocks[at] for at in chosen):
        with findings.reading(str(block)):
            cells = RowRange(block.start, block.stop)
            (found,) = Ordered.of(dataset, EXPRESSION).digests(cells, findings, count)
            seen.advance(len(cells), 0)
            findings.compare("digest", str(block), block.digest, found)
