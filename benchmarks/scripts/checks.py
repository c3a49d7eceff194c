"""Measure the cost of the digests and exact checks of a conversion alone."""

from __future__ import annotations

import sys
import time

import numpy as np
from content import print_result

from slaf.format.digests import BlockDigest
from slaf.sources import open_source
from slaf.sparse.casting import as_float64, exact_cast
from slaf.sparse.ranges import RowRange

# Cells of one digest.
_BLOCK_CELLS = 8192


def main(source: str) -> float:
    """CPU seconds to cast, widen and digest all batches of an input of counts."""
    seconds = 0.0
    opened = open_source(source)
    for block in RowRange(0, opened.info.n_cells).split(_BLOCK_CELLS):
        batches = list(opened.matrix().batches(block))
        start = time.process_time()
        digest = BlockDigest()
        for batch in batches:
            exact_cast(batch.values, np.dtype(np.uint16))
            digest.add_lengths(batch.counts)
            digest.add_entries(batch.genes, as_float64(batch.values))
        digest.hexdigest()
        seconds += time.process_time() - start
    return seconds


if __name__ == "__main__":
    print_result(main(*sys.argv[1:]))
