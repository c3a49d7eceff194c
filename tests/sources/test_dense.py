"""Dense matrices are read by whole rows of chunks, and given in batches that stay small."""

from __future__ import annotations

import numpy as np
import pytest

from slaf.options import ReadOptions
from slaf.sources.dense import DenseRows, dense_matrix
from slaf.sources.unsorted import UnsortedMatrix
from slaf.sparse.batch import BATCH_NONZEROS
from slaf.sparse.ranges import RowRange

N_CELLS, N_GENES = 6000, 1000


@pytest.mark.parametrize("chunk", [1, 4096, 6000])
def test_batches_do_not_grow_with_the_chunks(chunk: int) -> None:
    """Of a row of chunks that is decoded at once, a batch has a bounded number of nonzeros."""
    array = np.zeros((N_CELLS, N_GENES), np.float32)
    array[:, ::7] = (np.arange(N_CELLS) + 1)[:, np.newaxis]
    matrix = dense_matrix(array, (chunk, 10), ReadOptions(memory=array.nbytes))
    batches = list(matrix.batches(RowRange(5, N_CELLS)))
    assert max(batch.nnz for batch in batches) <= BATCH_NONZEROS
    values = np.concatenate([batch.values for batch in batches])
    np.testing.assert_array_equal(values, array[5:, ::7].ravel())


@pytest.mark.parametrize(("readers", "expected"), [(1, DenseRows), (2, UnsortedMatrix)])
def test_who_reads_shares_the_budget(readers: int, expected: type) -> None:
    """Chunks that fit into the budget once, and not once for each who reads, are spilled."""
    array = np.ones((N_CELLS, N_GENES), np.float32)
    options = ReadOptions(memory=array.nbytes, workers=readers)
    matrix = dense_matrix(array, (N_CELLS, 10), options)
    assert type(matrix) is expected
    assert matrix.size.memory <= options.memory_budget
