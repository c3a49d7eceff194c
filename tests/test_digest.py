"""The digest of a block says the same of the same numbers, and another of any others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from slaf.format.digests import BlockDigest
from slaf.format.schema import value_type_for
from slaf.sparse.batch import batch_from_compressed
from slaf.sparse.casting import as_float64, exact_cast
from slaf.sparse.ranges import RowRange
from slaf.testing.strategies import Stored, matrices

if TYPE_CHECKING:
    from slaf.sparse.batch import Batch

_INTEGERS: st.SearchStrategy[np.dtype[Any]] = st.sampled_from(
    [np.dtype("int64"), np.dtype("int32"), np.dtype("float64")]
)
_SMALL = matrices(np.dtype(np.int64), values=st.integers(-9, 9), repeated=False)


@given(_INTEGERS.flatmap(lambda dtype: matrices(dtype, repeated=False)))
def test_the_type_that_stores_a_number_does_not_matter(stored: Stored) -> None:
    """Values cast exactly to the type of the table have the digest of the source's."""
    batch = _batch(stored)
    narrow = exact_cast(batch.values, value_type_for(batch.values))
    assert _digest([(batch, narrow)]) == _digest([(batch, batch.values)])


@given(_SMALL, st.data())
def test_where_batches_are_cut_does_not_matter(stored: Stored, data: st.DataObject) -> None:
    """Cells taken in two batches have the digest of the same cells in one."""
    cut = data.draw(st.integers(0, stored.shape[0]))
    whole = _batch(stored)
    parts = [_part(stored, 0, cut), _part(stored, cut, stored.shape[0])]
    assert _digest([(part, part.values) for part in parts]) == _digest([(whole, whole.values)])


@given(_SMALL, _SMALL)
def test_other_numbers_have_another_digest(one: Stored, other: Stored) -> None:
    """Two blocks have one digest only if lengths, genes and values are all the same."""
    first, second = _batch(one), _batch(other)
    same = all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("counts", "genes", "values")
    )
    equal = _digest([(first, first.values)]) == _digest([(second, second.values)])
    assert equal == same


def test_integers_beyond_float64_are_told_apart() -> None:
    """2**53 and 2**53 + 1 are one number as float64, and two for the digest, at either place."""
    digests = set()
    for values in ([2**53, 2**53], [2**53 + 1, 2**53], [2**53, 2**53 + 1]):
        digest = BlockDigest()
        digest.add_lengths(np.array([2]))
        digest.add_entries(np.array([0, 1], np.uint32), as_float64(np.array(values)))
        digests.add(digest.hexdigest())
    assert len(digests) == 3


def test_every_nan_is_the_same_nan() -> None:
    """The bits of a NaN carry no value."""
    odd = np.array([0x7FF8DEADBEEF0000], np.uint64).view(np.float64)
    digests = set()
    for values in (odd, np.array([np.nan]), np.array([np.nan], np.float32), -np.array([np.nan])):
        digest = BlockDigest()
        digest.add_entries(np.zeros(1, np.uint32), as_float64(values))
        digests.add(digest.hexdigest())
    assert len(digests) == 1


def test_a_digest_is_what_it_was_in_every_release() -> None:
    """The digest of a known block never changes, or old datasets could not be verified."""
    digest = BlockDigest()
    digest.add_lengths(np.array([2, 0, 1]))
    digest.add_entries(np.array([0, 7, 3], np.uint32), as_float64(np.array([1, 2.5, np.nan])))
    assert digest.hexdigest() == "33aa863fa1f11dbed198f199a20ccc19"


def _digest(batches: list[tuple[Batch, Any]]) -> str:
    digest = BlockDigest()
    for batch, values in batches:
        digest.add_lengths(batch.counts)
        digest.add_entries(batch.genes, as_float64(values))
    return digest.hexdigest()


def _batch(stored: Stored) -> Batch:
    return _part(stored, 0, stored.shape[0])


def _part(stored: Stored, start: int, stop: int) -> Batch:
    indptr, genes, values = stored.rows()
    offsets = indptr[start : stop + 1]
    span = slice(int(offsets[0]), int(offsets[-1]))
    return batch_from_compressed(
        RowRange(start, stop), offsets, genes[span], values[span], stored.shape[1]
    )
