"""Entries in any order become rows, with the bits of their values, and in few bytes."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slaf.errors import InexactValue
from slaf.sparse.buckets import Coo, MemoryBucket, SortedBucket
from slaf.sparse.external_sort import ExternalSort
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


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">u4", "<i8", "<f2", ">f4", "<f8", "?"])
@pytest.mark.parametrize("largest", [200, 70_000, 0.5])
def test_a_bucket_in_memory_keeps_its_entries(dtype: str, largest: float) -> None:
    """Whole numbers are kept in a few bits until a piece has others; no value changes."""
    random = np.random.default_rng(0)
    n, shape = 20_000, (50, 1000)
    pairs = random.choice(shape[0] * shape[1], n, replace=False)
    cells, genes = pairs // shape[1], pairs % shape[1]
    values = random.integers(1, 200, n).astype(dtype)
    with np.errstate(over="ignore"):  # infinity, as float16
        values[n // 2] = np.array(largest).astype(dtype)
    bucket = MemoryBucket(shape, values.dtype)
    for part in RowRange(0, n).split(3_000):
        cut = slice(part.start, part.stop)
        bucket.append(Coo(cells[cut], genes[cut], values[cut]))
    batches = list(SortedBucket(bucket, shape, 7_000).batches(RowRange(0, shape[0])))
    order = np.lexsort([genes, cells])
    order = order[values[order] != 0]
    assert np.array_equal(np.concatenate([batch.cells() for batch in batches]), cells[order])
    assert np.array_equal(np.concatenate([batch.genes for batch in batches]), genes[order])
    found = np.concatenate([batch.values for batch in batches])
    assert found.dtype.itemsize <= values.dtype.itemsize
    assert np.array_equal(found, values[order])


def test_a_count_in_memory_takes_ten_bytes() -> None:
    """Six as a record, in any type of the source, and four once it is sorted."""
    n, shape = 1 << 20, (1 << 10, 1 << 11)
    entry = np.arange(n)
    tracemalloc.start()
    bucket = MemoryBucket(shape, np.dtype(np.float64))
    for part in RowRange(0, n).split(1 << 16):
        at = entry[part.start : part.stop]
        bucket.append(Coo(at % shape[0], at // shape[0], (at % 99 + 1).astype(np.float64)))
    entries = SortedBucket(bucket, shape, 1 << 16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * 11
    assert sum(batch.nnz for batch in entries.batches(RowRange(0, shape[0]))) == n
