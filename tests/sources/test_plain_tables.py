"""obs and var read without anndata: the table that anndata and pandas make, or none."""

from __future__ import annotations

import warnings
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import hypothesis.strategies as st
import numcodecs
import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings

import slaf
from slaf.annotations.dataframes import from_frame
from slaf.annotations.text import as_objects
from slaf.errors import InputError
from slaf.sources import open_source
from slaf.sources.anndata.h5ad import Hdf5Groups
from slaf.sources.anndata.plain_tables import read_plain_table
from slaf.sources.anndata.zarr import ZarrGroups
from slaf.sparse.ranges import RowRange
from slaf.testing.strategies import frames
from tests.builders import counts, examples, write_h5ad

if TYPE_CHECKING:
    from collections.abc import Callable
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


class Store:
    """A file of HDF5, or a folder of zarr, with the table obs, which each test writes anew.

    Parameters
    ----------
    folder
        Where it is made.
    kind
        "HDF5", or "zarr 2" or "zarr 3".
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self.path = folder / kind
        if kind == "HDF5":
            self.root = h5py.File(self.path, "w")
        else:
            self.root = zarr.open_group(self.path, mode="w", zarr_format=2 if "2" in kind else 3)

    def write(self, frame: pd.DataFrame) -> Any:
        """The group of the table, as anndata writes it."""
        self.put("obs", frame)
        return self.root["obs"]

    def put(self, name: str, element: Any) -> None:
        """Write an element."""
        with (
            warnings.catch_warnings(),
            anndata.settings.override(allow_write_nullable_strings=True),
        ):
            warnings.simplefilter("ignore")
            anndata.io.write_elem(self.root, name, element)

    def read(self) -> pa.Table | None:
        """The table, read without anndata; None if that is not possible."""
        groups = Hdf5Groups if isinstance(self.root, h5py.File) else ZarrGroups
        with closing(groups(self.path)) as opened:
            return read_plain_table(opened, "obs", "cell_id")

    def check(self, table: pa.Table | None) -> None:
        """The same arrays, names, types and metadata as by anndata and pandas."""
        is_hdf5 = isinstance(self.root, h5py.File)
        root = self.root if is_hdf5 else zarr.open_group(self.path, mode="r")
        frame = anndata.io.read_elem(root["obs"])
        # With pandas 3 anndata leaves text of zarr as Python objects; here it is text, as in HDF5.
        expected = from_frame(frame if is_hdf5 else frame.infer_objects(), "cell_id")
        assert table is not None
        assert table.schema.equals(expected.schema, check_metadata=True)
        assert [str(column) for column in table.columns] == [str(c) for c in expected.columns]


@pytest.fixture(scope="module", params=["HDF5", "zarr 2", "zarr 3"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of each kind."""
    return Store(tmp_path_factory.mktemp("tables"), request.param)


@pytest.fixture(scope="module", params=["zarr 2", "zarr 3"])
def tables(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of zarr with a table that is written once."""
    store = Store(tmp_path_factory.mktemp("changed"), request.param)
    store.write(as_objects(PLAIN))
    store.put("var", PLAIN[[]].reset_index(drop=True).set_axis(list("abc")))
    store.put("X", np.eye(3))
    return store


@pytest.fixture
def file(tmp_path: Path) -> Store:
    """A file of HDF5."""
    return Store(tmp_path, "HDF5")


def test_every_plain_column(store: Store) -> None:
    """Numbers, booleans, strings, categories and nullable columns need no anndata."""
    for frame in (PLAIN, PLAIN[["text"]].rename_axis(None), PLAIN.iloc[:, :0]):
        # As pandas 2 has it, of which anndata writes plain text.
        store.write(as_objects(frame))
        store.check(store.read())


def test_text_is_text_next_to_any_column(tables: Store) -> None:
    """The type of text does not depend on whether the other columns are plain."""
    types = []
    for more in ({}, {"more": pd.array(["a", None, "b"], "string")}):
        tables.write(as_objects(PLAIN.assign(**more)))
        assert (tables.read() is None) is bool(more)
        with open_source(tables.path) as source:
            types.append(source.cells().schema.field("text").metadata)
    tables.write(as_objects(PLAIN))
    assert types[0] == types[1]


def test_a_table_without_rows(store: Store) -> None:
    """A table without rows is left to anndata: pandas 3 does not know which columns are text."""
    store.write(PLAIN[:0])
    assert store.read() is None


@settings(max_examples=30)
@given(data=st.data())
def test_any_table(store: Store, data: st.DataObject) -> None:
    """Whatever anndata writes is read as anndata and pandas read it, or left to them."""
    frame = data.draw(frames(data.draw(st.integers(0, 6)), on_disk=True))
    # One column that is not plain hides the others.
    store.write(frame.iloc[:, : data.draw(st.integers(0, 2))])
    table = store.read()
    if table is not None:
        store.check(table)


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
def test_what_is_not_plain_is_left_to_anndata(file: Store, damage: str) -> None:
    """A table that is damaged, or of other encodings, is not read: anndata says what is wrong."""
    DAMAGED[damage](file.write(PLAIN))
    assert file.read() is None


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    """The error of a damaged column is that of anndata, with the file and the table."""
    path = write_h5ad(tmp_path / "in.h5ad", counts(3, 2))
    with h5py.File(path, "r+") as opened:
        anndata.io.write_elem(opened, "obs", as_objects(PLAIN))
        DAMAGED["a code without a category"](opened["obs"])
    with pytest.raises(InputError, match="codes need to be between"):
        slaf.convert(path, tmp_path / "out.slaf")


def test_hdf5_keeps_nothing_of_a_table(file: Store) -> None:
    """It keeps the last chunks of an open column, and metadata: all is closed, and little kept."""
    file.write(as_objects(PLAIN))
    file.root.close()
    with closing(Hdf5Groups(file.path)) as groups:
        opened = groups.get("obs").file.id
        assert read_plain_table(groups, "obs", "cell_id") is not None
        assert not h5py.h5f.get_obj_ids(opened, h5py.h5f.OBJ_DATASET)
        most, _, kept, _ = opened.get_mdc_size()
        assert kept <= most <= 1 << 17


@examples(12)
@given(data=st.data())
def test_changed_bytes(tables: Store, data: st.DataObject) -> None:
    """A table of zarr with a changed file is read as anndata reads it, or refused."""
    files = sorted(path for path in (tables.path / "obs").rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    put = data.draw(
        st.sampled_from([b"", bytes([content[at] ^ 1 << data.draw(st.integers(0, 7))])])
    )
    path.write_bytes(content[:at] + (put + content[at + 1 :] if put else b""))
    try:
        table = tables.read()
        if table is None:
            with suppress(InputError), open_source(tables.path) as source:
                table = source.cells()
        if table is not None:
            tables.check(table)
    finally:
        path.write_bytes(content)


CODECS = [numcodecs.GZip(), numcodecs.Zlib(), numcodecs.BZ2(), numcodecs.LZMA()]


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.codec_id)
@pytest.mark.parametrize("name", ["obs/n", "X", "obsm/n"])
def test_no_decompressor_has_an_error_of_its_own(
    tmp_path: Path, codec: numcodecs.abc.Codec, name: str
) -> None:
    """A chunk of a zarr that is changed or cut is refused, whatever packed it."""
    store = Store(tmp_path, "zarr 2")
    names = PLAIN[[]].set_axis(list("abc"))
    for key, element in (("obs", names), ("var", names), ("X", np.eye(3)), ("obsm", {})):
        store.put(key, element)
    values = np.arange(9.0).reshape(3, 3)[:, : 1 if name == "obs/n" else 3].squeeze()
    array = store.root.create_array(name, data=values, compressors=codec, overwrite=True)
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    if name == "obs/n":
        store.root["obs"].attrs["column-order"] = ["n"]
    (chunk,) = (path for path in (store.path / name).iterdir() if path.name[0] == "0")
    content = chunk.read_bytes()
    for damaged in (content[: len(content) // 2], b"xx" + content[2:]):
        chunk.write_bytes(damaged)
        with pytest.raises(InputError):
            read_whole(store.path)


def read_whole(path: Path) -> None:
    """Read the cells, the matrix and obsm of an input."""
    with open_source(path) as source:
        source.cells()
        list(source.matrix().batches(RowRange(0, 3)))
        dict(source.slots().obsm)
