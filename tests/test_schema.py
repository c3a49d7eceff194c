"""The smallest type that holds every value, and the columns of `expression`."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from slaf.errors import InexactValue
from slaf.format.schema import (
    EXPRESSION,
    VALUE_TYPES,
    gene_encodings,
    table_schema,
    value_type_for,
    widened,
)
from slaf.options import StoreOptions
from slaf.sparse.casting import first_inexact
from slaf.testing.strategies import NUMERIC_TYPES, numbers

_NUMBERS = tuple(dtype for dtype in NUMERIC_TYPES if dtype.kind != "b")


@given(st.sampled_from(_NUMBERS), st.data())
def test_the_type_is_the_first_that_holds_every_value(
    source: np.dtype[Any], data: st.DataObject
) -> None:
    """No earlier type would do, the chosen one does, and where none does the value is named."""
    values = np.array(data.draw(st.lists(numbers(source), max_size=6)), source)
    fitting = [dtype for dtype in VALUE_TYPES if first_inexact(values, dtype) is None]
    if fitting:
        assert value_type_for(values) == fitting[0]
    else:
        with pytest.raises(InexactValue, match=r"the value -?[0-9]"):
            value_type_for(values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "uint16"),
        ([1.0, 65_535.0], "uint16"),
        ([65_536], "uint32"),
        ([-1], "int32"),
        ([-1, 2**32 - 1], "int64"),
        ([2.0**32], "int64"),
        ([0.5], "float32"),
        ([np.float32(0.1)], "float32"),
        ([0.1], "float64"),
        ([np.nan, 1.0], "float32"),
        ([2**53 + 1], "int64"),
        ([np.uint64(2**63)], "float32"),
        ([np.uint64(2**63 + 2**11)], "float64"),
    ],
)
def test_the_type_of_well_known_values(values: list[Any], expected: str) -> None:
    """Counts are uint16, fractions float32 while that is exact, and so on."""
    assert value_type_for(np.array(values)) == np.dtype(expected)


def test_numbers_that_no_type_holds_are_refused() -> None:
    """2**63 + 1 is beyond int64, and no float64."""
    with pytest.raises(InexactValue, match="9223372036854775809"):
        value_type_for(np.array([1, 2**63 + 1], np.uint64))


@pytest.mark.parametrize(
    ("n_genes", "options", "expected"),
    [
        (0, StoreOptions(), ("uint16", "uint32 lz4")),
        (65_536, StoreOptions(), ("uint16", "uint32 lz4")),
        (65_537, StoreOptions(), ("uint32", "uint32 lz4")),
        (10, StoreOptions(compression="fast"), ("uint16",)),
        (10, StoreOptions(compression="small"), ("uint32 zstd",)),
        (10, StoreOptions(compression="small", plain_types=True), ("int32 zstd",)),
        (10, StoreOptions(plain_types=True), ("int32", "int32 lz4")),
    ],
)
def test_gene_ids_are_as_narrow_as_the_matrix_allows(
    n_genes: int, options: StoreOptions, expected: tuple[str, ...]
) -> None:
    """uint16 holds 65,536 genes; past that, and where a codec packs them, ids have 32 bits."""
    assert gene_encodings(n_genes, options) == expected
    assert widened("uint16", n_genes) == ("uint32" if n_genes > 65_536 else "uint16")
    assert widened(expected[-1], 70_000) == ("uint32" if expected == ("uint16",) else expected[-1])


def test_string_ids_come_before_the_integers() -> None:
    """`expression` has the columns that were asked for, none of them nullable."""
    plain = table_schema(EXPRESSION, {"value": np.dtype("uint16")}, 10, StoreOptions())
    assert plain.names == ["cell_integer_id", "gene_integer_id", "value"]
    options = StoreOptions(compression="fast", plain_types=True, string_ids=True)
    both = table_schema(EXPRESSION, {"value": np.dtype("float32")}, 10, options)
    assert both.names == ["cell_id", "gene_id", "cell_integer_id", "gene_integer_id", "value"]
    assert [str(field.type) for field in both][2:] == ["int32", "int32", "float"]
    assert not any(field.nullable for field in (*plain, *both))
