"""Whichever of its types pandas holds strings in, they are the same strings."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest

import slaf
from tests.builders import counts

if TYPE_CHECKING:
    from pathlib import Path

# What pandas 2 and 3 make of a column of strings, and what either makes of a nullable one.
TYPES = (np.dtype(object), pd.StringDtype("pyarrow", na_value=np.nan), pd.StringDtype("python"))


def with_strings(dtype: Any, categories: tuple[str, ...] = ("a", "b")) -> anndata.AnnData:
    """Strings in the index, in a column and in categories, one of them missing."""
    obs = pd.DataFrame(
        {
            "note": pd.Series(["x", None, "z"], dtype=dtype).to_numpy(object),
            "batch": pd.Categorical.from_codes([0, 1, 0], pd.Index(categories, dtype=dtype)),
        },
        index=pd.Index(["c0", "c1", "c2"], dtype=object),
    ).astype({"note": dtype})
    return anndata.AnnData(counts(3, 4), obs=obs)


@pytest.mark.parametrize(("written", "read"), list(permutations(TYPES, 2)), ids=str)
def test_a_dataset_is_proven_by_another_pandas(written: Any, read: Any, tmp_path: Path) -> None:
    """A source whose strings are read as another type than once is still the source."""
    dataset = slaf.convert(with_strings(written), tmp_path / "out.slaf")
    assert slaf.verify(dataset, against=with_strings(read)).ok


def test_other_strings_are_found(tmp_path: Path) -> None:
    """Categories that differ are no matter of types."""
    dataset = slaf.convert(with_strings(TYPES[0]), tmp_path / "out.slaf")
    with pytest.raises(slaf.VerificationFailed, match="categories of column 'batch'"):
        slaf.verify(dataset, against=with_strings(TYPES[1], ("a", "c")))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_categories_keep_their_type(dtype: Any, tmp_path: Path) -> None:
    """Categories are given back in the type that they had, whatever pandas would choose."""
    expected = with_strings(dtype)
    found = slaf.convert(expected, tmp_path / "out.slaf").obs
    assert found["batch"].cat.categories.dtype == expected.obs["batch"].cat.categories.dtype
