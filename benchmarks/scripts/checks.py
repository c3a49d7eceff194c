"""What digests and exact checks of a conversion cost by themselves: its own functions, again."""

from __future__ import annotations

import sys
import time

import numpy as np
from content import tell

from slaf.format.digests import BlockDigest
from slaf.sources import open_source
from slaf.sparse.casting import as_float64, exact_cast
from slaf.sparse.ranges import RowRange

# As a conversion has it: one digest for so many cells.
_BLOCK_CELLS = 8192


def main(source: str) -> float:
    """CPU seconds of casting, widening and digesting all batches of an input of counts."""
    spent = 0.0
    opened = open_source(source)
    for block in RowRange(0, opened.info.n_cells).split(_BLOCK_CELLS):
        batches = list(opened.matrix().batches(block))
        began = time.process_time()
        digest = BlockDigest()
        for batch in batches:
            exact_cast(batch.values, np.dtype(np.uint16))
            digest.add_lengths(batch.counts)
            digest.add_entries(batch.genes, as_float64(batch.values))
        digest.hexdigest()
        spent += time.process_time() - began
    return spent


if __name__ == "__main__":
    tell(main(*sys.argv[1:]))
