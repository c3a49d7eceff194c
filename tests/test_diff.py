"""How two datasets differ, or a dataset and a file, either way round."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.errors import InexactValue, NoSuchInput, NotADataset
from slaf.format.validation import with_checksum
from slaf.testing.strategies import Stored, frames, matrices
from slaf.verification.report import Difference
from tests.builders import counts, write_h5ad, write_stored

if TYPE_CHECKING:
    from pathlib import Path

    from slaf.verification.report import Comparison


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An h5ad."""
    return write_h5ad(tmp_path / "in.h5ad", counts(30, 12))


@pytest.fixture
def dataset(source: Path, tmp_path: Path) -> Path:
    """A dataset of it."""
    slaf.convert(source, tmp_path / "in.slaf")
    return tmp_path / "in.slaf"


def edited(source: Path, **elements: Any) -> Path:
    """A copy of an h5ad with other columns of obs, or another index."""
    path = source.with_name("edited.h5ad")
    adata = anndata.read_h5ad(source)
    adata.obs = adata.obs.assign(**elements)
    adata.write_h5ad(path)
    return path


def exchanged(comparison: Comparison) -> set[Difference]:
    """The differences of a comparison, with expected and found swapped."""
    return {Difference(d.kind, d.where, d.found, d.expected) for d in comparison.differences}


@settings(max_examples=10)
@given(stored=matrices(), one=st.integers(1, 9), other=st.integers(1, 9))
def test_how_it_is_stored_does_not_count(
    stored: Stored, one: int, other: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Datasets of one input equal each other and the input, whatever their options."""
    folder = tmp_path_factory.mktemp("same")
    path = write_stored(folder / "in.h5ad", stored)
    try:
        first = slaf.convert(path, folder / "1.slaf", chunk_size=one, compression="small")
        second = slaf.convert(path, folder / "2.slaf", chunk_size=other, string_ids=True)
    except InexactValue:
        return
    for pair in ((first, second), (second, first), (first, path), (path, second), (first, first)):
        assert slaf.diff(*pair).ok, slaf.diff(*pair)


@settings(max_examples=10)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore:.* names are not unique")
def test_tables_are_equal_to_themselves(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Columns of every type and name, NaN and categories without a cell too, do not differ."""
    n_cells = data.draw(st.integers(0, 4))
    adata = anndata.AnnData(np.zeros((n_cells, 2), np.float32), obs=data.draw(frames(n_cells)))
    folder = tmp_path_factory.mktemp("tables")
    first = slaf.convert(adata, folder / "1.slaf")
    second = slaf.convert(adata, folder / "2.slaf")
    assert slaf.diff(first, second).differences == ()
    assert slaf.diff(adata, second).differences == ()


def test_a_value_is_told_with_its_place(dataset: Path, source: Path, tmp_path: Path) -> None:
    """Two datasets, or a dataset and a file, differ alike, with the first one's value first."""
    changed = shutil.copy(source, tmp_path / "changed.h5ad")
    with h5py.File(changed, "r+") as file:
        cell, gene, old = 0, int(file["X/indices"][0]), float(file["X/data"][0])
        file["X/data"][0] = 300
    slaf.convert(changed, tmp_path / "changed.slaf")
    (by_file,) = slaf.diff(dataset, changed).differences
    (by_dataset,) = slaf.diff(dataset, tmp_path / "changed.slaf").differences
    assert by_file.kind == by_dataset.kind == "value"
    where = f"cell {cell} ('cell-{cell}'), gene {gene} ('gene-{gene}')"
    for one in (by_file, by_dataset):
        assert one.where == where
        assert (float(one.expected), float(one.found)) == (old, 300)


@pytest.mark.parametrize(
    ("elements", "where"),
    [
        ({"depth": 0.25}, "column 'depth' of row 0"),
        ({"depth": np.float32(0.5)}, "type of column 'depth'"),
        ({"more": 1}, "columns"),
        (
            {"batch": pd.Categorical([f"b{n % 3}" for n in range(30)], ["b1", "b0", "b2"])},
            "categories of column 'batch'",
        ),
        (
            {"batch": pd.Categorical([f"b{n % 3}" for n in range(30)], ordered=True)},
            "type of column 'batch'",
        ),
    ],
)
def test_a_table_is_told_by_column(
    elements: dict[str, Any], where: str, dataset: Path, source: Path, tmp_path: Path
) -> None:
    """Values, types, names and ordered categories are compared, of datasets and of files."""
    changed = edited(source, **elements)
    slaf.convert(changed, tmp_path / "changed.slaf")
    for other in (changed, tmp_path / "changed.slaf"):
        comparison = slaf.diff(dataset, other)
        assert ("cells", where) in {(d.kind, d.where) for d in comparison.differences}
        assert set(slaf.diff(other, dataset).differences) == exchanged(comparison)


def test_shape_and_type(dataset: Path, tmp_path: Path) -> None:
    """Another shape, and another type of the values, are differences of their own."""
    less = write_h5ad(tmp_path / "less.h5ad", counts(29, 12).astype(np.int32))
    comparison = slaf.diff(dataset, less)
    assert {(d.kind, d.expected, d.found) for d in comparison.differences} == {
        ("type", "float32", "int32"),
        ("shape", "(30, 12)", "(29, 12)"),
    }


def test_another_matrix_of_the_file(source: Path, tmp_path: Path) -> None:
    """`matrix` chooses the matrix of the file, X by default."""
    doubled = tmp_path / "doubled.h5ad"
    adata = anndata.read_h5ad(source)
    adata.layers["twice"] = adata.X * 2
    adata.write_h5ad(doubled)
    dataset = slaf.convert(doubled, tmp_path / "twice.slaf", matrix="layer:twice")
    assert slaf.diff(dataset, doubled, matrix="layer:twice").ok
    # X is a layer of the dataset, and the chosen layer one of the file.
    assert dict(slaf.diff(dataset, doubled).counts).keys() == {"value", "layers"}


def test_a_damaged_dataset_is_no_equal(dataset: Path, source: Path) -> None:
    """A dataset whose tables contradict each other differs, and its values are not read."""
    config = json.loads((dataset / "config.json").read_bytes())
    config["blocks"][0]["rows"] += 1
    (dataset / "config.json").write_bytes(with_checksum(config))
    assert dict(slaf.diff(dataset, source).counts).keys() == {"offsets"}


def test_neither_is_a_dataset(source: Path, tmp_path: Path) -> None:
    """A pair without a dataset, and a missing path, are refused."""
    with pytest.raises(NotADataset, match="one of them has to be"):
        slaf.diff(source, source)
    slaf.convert(source, tmp_path / "one.slaf")
    with pytest.raises(NoSuchInput):
        slaf.diff(tmp_path / "one.slaf", tmp_path / "none.h5ad")
