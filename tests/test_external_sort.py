"""Entries in any order become rows, with the bits of their values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from slaf.errors import InexactValue
from slaf.sparse.external_sort import Coo, ExternalSort
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">u4", "<i8", "<f2", ">f4", "<f8", "?"])
@pytest.mark.parametrize("memory", [1 << 12, 1 << 24])
def test_values_of_every_type_are_moved_bit_for_bit(dtype: str, memory: int) -> None:
    """Also float16 and the other byte order; repeated cells keep the order of their entries."""
    random = np.random.default_rng(0)
    n, shape = 20_000, (50, 1000)
    pairs = random.choice(shape[0] * shape[1], n, replace=False)
    cells, genes = (pairs // shape[1]).astype(np.uint32), (pairs % shape[1]).astype(np.uint32)
    values = random.integers(1, 200, n).astype(dtype)

    def entries(size: int) -> Iterator[Coo]:
        for part in RowRange(0, n).split(size):
            cut = slice(part.start, part.stop)
            yield Coo(cells[cut], genes[cut], values[cut])

    matrix = ExternalSort(shape, values.dtype, n, entries, memory=memory, scratch=None)
    batches = list(matrix.batches(RowRange(0, shape[0])))
    order = np.lexsort([genes, cells])
    assert np.array_equal(np.concatenate([batch.cells() for batch in batches]), cells[order])
    assert np.array_equal(np.concatenate([batch.genes for batch in batches]), genes[order])
    found = np.concatenate([batch.values for batch in batches])
    assert np.array_equal(found, values[order].astype(values.dtype.newbyteorder("=")))
    matrix.close()


def test_numbers_that_no_type_holds_together() -> None:
    """Entries of two types are not rounded to a type that holds neither."""
    pieces = [np.array([-1]), np.array([2**64 - 1], np.uint64)]

    def entries(size: int) -> Iterator[Coo]:
        del size
        for at, values in enumerate(pieces):
            yield Coo(np.array([at], np.uint32), np.array([0], np.uint32), values)

    matrix = ExternalSort((2, 1), np.dtype(np.int64), 2, entries, memory=1 << 20, scratch=None)
    with pytest.raises(InexactValue):
        list(matrix.batches(RowRange(0, 2)))
    matrix.close()
