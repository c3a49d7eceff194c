"""Some blocks of a dataset, drawn at random."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slaf.manifest import Block

__all__ = ["Sample"]

_LISTED = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """Blocks that are read instead of all.

    Attributes
    ----------
    positions
        Which blocks, ascending.
    n_cells
        The cells in them.
    told
        In words, what the sample is.
    """

    positions: tuple[int, ...]
    n_cells: int
    told: str

    @classmethod
    def drawn(cls, blocks: Sequence[Block], size: int | None, seed: int) -> Self | None:
        """So many blocks, or all where there are no more; None for no sample.

        Raises
        ------
        ValueError
            If it is of less than one block.
        """
        if size is None:
            return None
        if size < 1:
            msg = f"a sample of {size} blocks shows nothing; ask for one at least"
            raise ValueError(msg)
        # Of the standard library: its draws stay what they are from one release to the next.
        rng = random.Random(seed)  # noqa: S311 - nobody gains by knowing it
        positions = tuple(sorted(rng.sample(range(len(blocks)), min(size, len(blocks)))))
        listed = [str(blocks[at]) for at in positions[:_LISTED]]
        listed += ["…"] if len(positions) > _LISTED else []
        told = (
            f"the digest of {len(positions):,} of {len(blocks):,} blocks, drawn with seed {seed} "
            f"({', '.join(listed)})"
        )
        return cls(positions, sum(blocks[at].stop - blocks[at].start for at in positions), told)
