"""obs and var read without anndata: the table that anndata and pandas make, or none."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

import slaf
from slaf.annotations.dataframes import from_frame
from slaf.annotations.text import as_objects
from slaf.errors import InputError
from slaf.sources.anndata.plain_tables import read_plain_table
from slaf.sources.hdf5.file import open_file
from slaf.testing.strategies import frames
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

PLAIN = pd.DataFrame(
    {
        "int": np.arange(3, dtype=">i2"),
        "float": [0.5, np.nan, np.inf],
        "flag": [True, False, True],
        "text": np.array(["", "ä", "b\n"], object),
        "kind": pd.Categorical(["b", None, "a"], categories=["b", "a", "z"], ordered=True),
        "none": pd.Categorical([None, None, None], categories=["b", "a"]),
        "number": pd.Categorical([7, 7, 3]),
        "Int": pd.array([1, None, 3], "UInt8"),
        "boolean": pd.array([None, True, False], "boolean"),
    },
    index=pd.Index(["x", "y", "x"], name="barcode"),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[h5py.File]:
    """An HDF5 file, whose groups are written anew by each test."""
    path = tmp_path_factory.mktemp("tables") / "tables.h5"
    with h5py.File(path, "w") as opened:
        yield opened


def written(file: h5py.File, frame: pd.DataFrame) -> h5py.Group:
    """The group of a table that anndata has written."""
    with warnings.catch_warnings(), anndata.settings.override(allow_write_nullable_strings=True):
        warnings.simplefilter("ignore")
        anndata.io.write_elem(file, "obs", frame)
    return file["obs"]


def assert_as_anndata_reads(table: pa.Table | None, group: h5py.Group) -> None:
    """The same arrays, names, types and metadata as by anndata and pandas."""
    expected = from_frame(anndata.io.read_elem(group), "cell_id")
    assert table is not None
    assert table.schema.equals(expected.schema, check_metadata=True)
    assert [str(column) for column in table.columns] == [str(c) for c in expected.columns]


def test_every_plain_column(file: h5py.File) -> None:
    """Numbers, booleans, strings, categories and nullable columns need no anndata."""
    for frame in (PLAIN, PLAIN[["text"]].rename_axis(None), PLAIN.iloc[:, :0]):
        # As pandas 2 has it, of which anndata writes plain text.
        group = written(file, as_objects(frame))
        assert_as_anndata_reads(read_plain_table(group, "cell_id"), group)


def test_a_table_without_rows(file: h5py.File) -> None:
    """A table without rows is left to anndata: pandas 3 does not know which columns are text."""
    assert read_plain_table(written(file, PLAIN[:0]), "cell_id") is None


@settings(max_examples=30)
@given(data=st.data())
def test_any_table(file: h5py.File, data: st.DataObject) -> None:
    """Whatever anndata writes is read as anndata and pandas read it, or left to them."""
    frame = data.draw(frames(data.draw(st.integers(0, 6)), on_disk=True))
    # One column that is not plain hides the others.
    group = written(file, frame.iloc[:, : data.draw(st.integers(0, 2))])
    table = read_plain_table(group, "cell_id")
    if table is not None:
        assert_as_anndata_reads(table, group)


def put(name: str, values: Any, **keywords: Any) -> Callable[[h5py.Group], None]:
    """Exchange a dataset, keeping its attributes."""

    def edit(table: h5py.Group) -> None:
        attributes = dict(table[name].attrs)
        del table[name]
        table.create_dataset(name, data=values, **keywords).attrs.update(attributes)

    return edit


def mark(name: str, key: str, value: Any) -> Callable[[h5py.Group], None]:
    """Change an attribute of a column, or of the table."""
    return lambda table: table[name].attrs.__setitem__(key, value)


DAMAGED: dict[str, Callable[[h5py.Group], None]] = {
    "a code without a category": put("kind/codes", np.array([0, 3, 1], "i1")),
    "a code below none": put("kind/codes", np.array([0, -2, 1], "i1")),
    "a code that would be none as int64": put("kind/codes", np.array([0, 2**64 - 1, 1], "u8")),
    "fractions as codes": put("kind/codes", np.array([0, 0.5, 1])),
    "equal categories": put("kind/categories", ["b", "b", "z"]),
    "a shorter column": put("int", np.arange(2)),
    "a matrix": put("int", np.zeros((3, 2))),
    "a number": put("int", 3),
    "text that is not UTF-8": put("text", [b"\xff", b"a", b"b"], dtype=h5py.string_dtype()),
    "text of fixed length": put("text", np.array([b"a", b"b", b"c"])),
    "ids that are numbers": put("barcode", np.arange(3)),
    "another version": mark(".", "encoding-version", "9.9.9"),
    "another encoding": mark("int", "encoding-type", "unheard-of"),
    "a column that is not there": mark(".", "column-order", ["int", "gone"]),
    "a column twice": mark(".", "column-order", ["int", "int"]),
    "an index that is not there": mark(".", "_index", "gone"),
    "numbers as names": mark(".", "column-order", [1, 2]),
    "a mask of other length": put("Int/mask", np.zeros(2, bool)),
    "no mask": lambda table: table.__delitem__("Int/mask"),
    "a mask of numbers": put("Int/mask", np.zeros(3, "u1")),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_what_is_not_plain_is_left_to_anndata(file: h5py.File, damage: str) -> None:
    """A table that is damaged, or of other encodings, is not read: anndata says what is wrong."""
    group = written(file, PLAIN)
    DAMAGED[damage](group)
    assert read_plain_table(group, "cell_id") is None


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    """The error of a damaged column is that of anndata, with the file and the table."""
    path = write_h5ad(tmp_path / "in.h5ad", counts(3, 2))
    with h5py.File(path, "r+") as opened:
        written(opened, PLAIN)
        DAMAGED["a code without a category"](opened["obs"])
    with pytest.raises(InputError, match="codes need to be between"):
        slaf.convert(path, tmp_path / "out.slaf")


def test_hdf5_keeps_nothing_of_a_table(tmp_path: Path) -> None:
    """It keeps the last chunks of an open column, and metadata: all is closed, and little kept."""
    path = write_h5ad(tmp_path / "in.h5ad", counts(5, 4))
    with open_file(path) as file:
        assert read_plain_table(file["obs"], "cell_id") is not None
        assert not h5py.h5f.get_obj_ids(file.id, h5py.h5f.OBJ_DATASET)
        most, _, kept, _ = file.id.get_mdc_size()
        assert kept <= most <= 1 << 17
