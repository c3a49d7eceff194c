"""Exact casts, batches and ranges, compared with Python's arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given

from slaf.errors import DamagedInput, InexactValue
from slaf.kernels.reference import Tiles
from slaf.sparse.batch import Batch, GeneMap, batch_from_compressed, batches_from_dense
from slaf.sparse.casting import as_float64, exact_cast, first_inexact, is_whole, to_int64
from slaf.sparse.ranges import RowRange, estimate_indptr, mask_of, runs_of
from slaf.testing.strategies import NUMERIC_TYPES, Stored, matrices, numbers
from tests.builders import totals

_NUMBERS = tuple(dtype for dtype in NUMERIC_TYPES if dtype.kind != "b")


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether a type holds a number, by Python's unlimited integers and fractions."""
    if dtype.kind == "f":
        if not math.isfinite(value):
            return True
        try:
            with np.errstate(over="ignore"):
                rounded = float(dtype.type(value))
        except OverflowError:
            return False
        return math.isfinite(rounded) and Fraction(rounded) == Fraction(value)
    limits = np.iinfo(dtype)
    return (
        math.isfinite(value)
        and Fraction(value).denominator == 1
        and int(limits.min) <= int(value) <= int(limits.max)
    )


def _python(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _equal(a: Any, b: Any) -> bool:
    a, b = _python(a), _python(b)
    return bool(a == b or (a != a and b != b))  # noqa: PLR0124


@pytest.mark.parametrize("source", _NUMBERS, ids=str)
@given(data=st.data())
def test_a_cast_keeps_every_value_or_names_the_first_that_it_cannot(
    source: np.dtype[Any], data: st.DataObject
) -> None:
    """For every pair of types, a cast equals its input, or names the first value that changes."""
    values = np.array(data.draw(st.lists(numbers(source), max_size=12)), source)
    for target in _NUMBERS:
        wrong = [at for at, value in enumerate(values) if not _holds(target, _python(value))]
        assert first_inexact(values, target) == (wrong[0] if wrong else None)
        if wrong:
            with pytest.raises(InexactValue, match="cannot be held exactly"):
                exact_cast(values, target)
            continue
        cast = exact_cast(values, target)
        assert cast.dtype == target
        assert all(_equal(*pair) for pair in zip(cast, values, strict=True))


@pytest.mark.parametrize("source", _NUMBERS, ids=str)
def test_casts_at_the_limits_of_every_type(source: np.dtype[Any]) -> None:
    """Powers of two and their neighbours are cast to every type, or refused, one by one."""
    powers = [sign * 2**bits + by for bits in range(65) for by in (-1, 0, 1) for sign in (1, -1)]
    values = [value for value in powers if _holds(source, value)]
    extra: list[Any] = [math.inf, -math.inf, math.nan, -0.0, 0.5] if source.kind == "f" else []
    for target in _NUMBERS:
        for value in [*values, *extra]:
            changed = first_inexact(np.array([value], source), target)
            assert (changed is None) == _holds(target, value), (value, target)


@given(matrices())
def test_a_batch_holds_the_sums_of_its_entries(stored: Stored) -> None:
    """Unsorted, repeated and zero entries become ascending genes with exact sums and no zeros."""
    expected = totals(stored)
    assume(not any(_overflows(total) for total in expected.values()))
    batch = _batch(stored)
    _check_rules(batch, stored.shape[1])
    sums = dict(zip(_positions(batch), batch.values.tolist(), strict=True))
    # Sums of fractions depend on the order of adding, in their last digits.
    finite = [abs(float(value)) for value in stored.values if math.isfinite(value)]
    magnitude = max(finite, default=0.0)
    slack = magnitude * 1e-14 if stored.values.dtype.kind == "f" else 0.0
    for position in sums.keys() | expected.keys():
        pair = sums.get(position, 0), expected.get(position, 0)
        assert _equal(*pair) or abs(pair[0] - pair[1]) <= slack


@given(matrices(repeated=False))
def test_a_dense_block_makes_the_batch_of_its_nonzeros(stored: Stored) -> None:
    """A dense block and compressed rows of the same matrix make the same batch."""
    assume(stored.shape[0] > 0)
    (dense,) = batches_from_dense(0, Tiles.of(stored.dense()))
    sparse = _batch(stored)
    _check_rules(dense, stored.shape[1])
    assert _positions(dense) == _positions(sparse)
    assert np.array_equal(dense.values, sparse.values, equal_nan=True)
    assert dense.values.dtype == sparse.values.dtype


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint16", "uint64", "float32"])
def test_big_endian_numbers_are_read_as_numbers(dtype: str) -> None:
    """Big-endian arrays make the same batch as native ones."""
    values = np.array([1, 2, 100], np.dtype(dtype).newbyteorder(">"))
    genes = np.array([4, 0, 2], ">i4")
    batch = batch_from_compressed(RowRange(0, 2), np.array([0, 1, 3], ">i8"), genes, values, 5)
    assert batch.genes.tolist() == [4, 0, 2]
    assert batch.values.tolist() == [1, 2, 100]
    assert batch.values.dtype.isnative


def test_repeats_that_cancel_leave_nothing() -> None:
    """Entries of one cell and gene that sum to zero are removed."""
    stored = Stored((1, 3), np.zeros(3, int), np.array([1, 2, 1]), np.array([5, 7, -5], np.int8))
    assert _positions(_batch(stored)) == [(0, 2)]


def test_sums_may_exceed_the_type_of_the_entries() -> None:
    """A sum beyond int8 is exact, not truncated to eight bits."""
    stored = Stored((1, 1), np.zeros(3, int), np.zeros(3, int), np.full(3, 100, np.int8))
    assert _batch(stored).values.tolist() == [300]


def test_sums_beyond_64_bits_are_refused() -> None:
    """A sum that no type of 64 bits can hold names the cell and the gene."""
    for number in (np.int64(2**62), np.int64(-(2**62) - 1), np.uint64(2**63), np.float64(1.7e308)):
        stored = Stored((3, 5), np.full(2, 2), np.full(2, 4), np.full(2, number))
        with pytest.raises(InexactValue, match="cell 2 for gene 4 add up to more"):
            _batch(stored)


def test_opposite_infinities_add_up_to_no_number() -> None:
    """Repeats of inf and -inf are NaN, which is a value; inf alone stays what it is."""
    values = np.array([np.inf, -np.inf, np.inf, 1.0])
    stored = Stored((1, 2), np.zeros(4, int), np.array([0, 0, 1, 1]), values)
    assert np.array_equal(_batch(stored).values, [np.nan, np.inf], equal_nan=True)


def test_large_numbers_with_repeats_elsewhere() -> None:
    """The largest numbers of 64 bits stay exact if other entries are repeated."""
    for large in (np.uint64(2**64 - 2**40), np.int64(-(2**63)), np.int64(2**63 - 1)):
        values = np.array([large, 1, 2], large.dtype)
        stored = Stored((2, 2), np.array([0, 1, 1]), np.array([0, 1, 1]), values)
        assert _batch(stored).values.tolist() == [int(large), 3]


@pytest.mark.parametrize(
    ("indptr", "genes", "message"),
    [
        ([0, 1], [0], "1 cells were read where 2 were declared"),
        ([0, 2, 1], [0, 1], "decrease at cell 11"),
        ([0, 1, 3], [0, 1], "should hold 3 entries, but there are 2 gene positions"),
        ([0, 1, 2], [0, 5], "cell 11 has an entry for gene 5, but the matrix has 5 genes"),
        ([0, 1, 2], [-1, 0], "cell 10 has an entry for gene -1"),
        ([0.0, 0.5, 2.0], [0, 1], "an offset is not a whole number"),
        ([0.0, 1.0, math.nan], [0, 1], "an offset is not a whole number"),
        ([0, 1, 2], [0.0, 1.0], "gene positions are of type float64"),
    ],
)
def test_inconsistent_rows_are_refused(
    indptr: list[float], genes: list[float], message: str
) -> None:
    """Invalid lengths, offsets and positions are errors that name the cell."""
    with pytest.raises(DamagedInput, match=message):
        batch_from_compressed(
            RowRange(10, 12), np.array(indptr), np.array(genes), np.ones(len(genes)), 5
        )


@given(st.sampled_from([d for d in _NUMBERS if d.itemsize == 8]), st.data())
def test_float64_and_the_remainder_are_the_number(
    dtype: np.dtype[Any], data: st.DataObject
) -> None:
    """`as_float64` gives a float64 and the remainder of large integers."""
    values = np.array(data.draw(st.lists(numbers(dtype), max_size=9)), dtype)
    wide, rest = as_float64(values)
    for at, value in enumerate(values.tolist()):
        if dtype.kind == "f":
            assert _equal(wide[at], value)
        else:
            assert int(wide[at]) + (0 if rest is None else int(rest[at])) == value


def test_offsets_may_be_of_any_integer_or_whole_float_type() -> None:
    """Offsets may be floats, as R writes them, if they are whole numbers."""
    for dtype in ("int32", "int64", "uint64", "float64", ">i8"):
        assert to_int64(np.array([0, 3, 2**31 - 1], dtype)).tolist() == [0, 3, 2**31 - 1]


@given(st.lists(numbers(np.dtype(np.float64)), max_size=9))
def test_whole_numbers_are_recognised(values: list[float]) -> None:
    """A whole number is finite and has no fraction."""
    whole = all(math.isfinite(value) and value == math.trunc(value) for value in values)
    assert is_whole(np.array(values)) == whole


def test_ranges_of_rows_are_half_open() -> None:
    """A range is split into consecutive pieces; a negative one is refused."""
    assert list(RowRange(3, 10).split(3)) == [RowRange(3, 6), RowRange(6, 9), RowRange(9, 10)]
    assert list(RowRange(3, 3).split(5)) == []
    for start, stop in ((5, 4), (-1, 3)):
        with pytest.raises(ValueError, match="not a range of rows"):
            RowRange(start, stop)


@st.composite
def row_ranges(draw: st.DrawFn) -> RowRange:
    """A range of a few rows, or of none."""
    start = draw(st.integers(0, 9))
    return RowRange(start, start + draw(st.integers(0, 9)))


@given(row_ranges(), row_ranges(), st.integers(0, 9))
def test_overlap_and_shift_of_ranges(first: RowRange, second: RowRange, by: int) -> None:
    """The overlap holds the rows of both; a shifted range has as many rows as before."""

    def rows(range_: RowRange) -> list[int]:
        return list(range(range_.start, range_.stop))

    assert rows(first.overlap(second)) == [row for row in rows(first) if row in rows(second)]
    assert rows(first.shifted(by)) == [row + by for row in rows(first)]
    assert first.shifted(by).shifted(-by) == first


@given(matrices(), st.data())
def test_genes_are_moved_with_their_values(stored: Stored, data: st.DataObject) -> None:
    """Values move with their genes; a map that moves no gene returns the batch itself."""
    assume(not any(map(_overflows, totals(stored).values())))
    batch, n_genes = _batch(stored).shifted(3), stored.shape[1]
    assert batch.rows == RowRange(3, 3 + stored.shape[0])
    wider = n_genes + 2
    permuted = data.draw(st.permutations(range(wider)))[:n_genes]
    dropped = data.draw(st.lists(st.booleans(), min_size=n_genes, max_size=n_genes))
    positions = np.where(dropped, -1, np.array(permuted, np.int64))
    moved = GeneMap(positions, wider).apply(batch)
    _check_rules(moved, wider)
    assert moved.rows == batch.rows
    entries = zip(_positions(batch), batch.values.tolist(), strict=True)
    expected = [
        ((cell, int(positions[gene])), repr(value))
        for (cell, gene), value in entries
        if positions[gene] >= 0
    ]
    result = zip(_positions(moved), map(repr, moved.values.tolist()), strict=True)
    assert list(result) == sorted(expected)
    assert GeneMap(np.arange(n_genes), wider).apply(batch) is batch


def _overflows(total: float) -> bool:
    return abs(total) >= 2**63 if isinstance(total, int) else abs(total) > 1e308


def _batch(stored: Stored) -> Batch:
    indptr, genes, values = stored.rows()
    return batch_from_compressed(
        RowRange(0, stored.shape[0]), indptr, genes, values, stored.shape[1]
    )


def _positions(batch: Batch) -> list[tuple[int, int]]:
    return list(zip(batch.cells().tolist(), batch.genes.tolist(), strict=True))


def _check_rules(batch: Batch, n_genes: int) -> None:
    assert len(batch.counts) == len(batch.rows)
    assert batch.nnz == batch.counts.sum() == len(batch.values)
    positions = _positions(batch)
    assert positions == sorted(set(positions))
    assert all(gene < n_genes for _, gene in positions)
    assert (batch.values != 0).all()


@given(st.integers(1, 300), st.integers(1, 50), st.integers(0, 10**6))
def test_estimated_offsets(n_cells: int, step: int, entries: int) -> None:
    """Estimated offsets ascend from 0 to all entries in steps that differ by one at most."""
    indptr = estimate_indptr(n_cells, step, entries)
    assert (indptr[0], indptr[-1]) == (0, entries)
    assert len(indptr) == -(-n_cells // step) + 1
    lengths = np.diff(indptr)
    assert lengths.min() >= 0
    assert lengths[:-1].max(initial=0) - lengths[:-1].min(initial=10**6) <= 1


@given(st.lists(st.booleans(), max_size=12))
def test_runs_of_a_mask(values: list[bool]) -> None:
    """They are the true positions, ascending, apart, and as long as they can be."""
    mask = np.array(values, np.bool_)
    runs = runs_of(mask)
    np.testing.assert_array_equal(mask_of(runs, len(mask)), mask)
    flat = [edge for run in runs for edge in run]
    assert flat == sorted(set(flat))


@given(st.integers(0, 6).flatmap(lambda n: st.permutations(range(-1, n)).map(lambda p: p[:n])))
def test_genes_that_stay(positions: list[int]) -> None:
    """A batch is not copied if each gene keeps its position, and only then."""
    n = len(positions)
    batch = Batch(RowRange(0, 1), np.array([n]), np.arange(n, dtype=np.uint32), np.ones(n))
    mapped = GeneMap(np.array(positions, np.int64), n).apply(batch)
    assert (mapped is batch) == (positions == list(range(n)))
