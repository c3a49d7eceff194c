"""Plain elements, written and read without anndata."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaf.annotations.columns import to_lance
from slaf.annotations.dataframes import from_frame, to_frame
from slaf.annotations.equality import equal_elements
from slaf.annotations.plain_columns import plain_table
from slaf.annotations.plain_elements import NotPlainError, is_plain, read_plain, write_plain
from slaf.annotations.text import as_objects
from slaf.annotations.uns import anndata_settings
from slaf.testing.strategies import frames
from tests.annotations.test_uns import ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Callable

NOT_PLAIN = {"a list", "a list of text", "an empty list", "numpy's text", "text of fixed length"}
NOT_PLAIN |= {
    "text of any length",
    "a table",  # for its nullable text, of which releases of anndata write different marks
    "bytes",
    "records",
    "a structured array",
    "a sparse matrix",
    "columns",
    "categories",
}


def by_anndata(group: h5py.Group, name: str, element: Any, options: dict[str, Any]) -> None:
    """Write an element by anndata."""
    with anndata_settings():
        anndata.io.write_elem(group, name, element, dataset_kwargs=options)


def written(
    write: Callable[[h5py.Group, str, Any, dict[str, Any]], None],
    element: Any,
    options: dict[str, Any],
) -> io.BytesIO:
    """A file with one element."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        write(file, "element", element, options)
    return content


def described(node: Any) -> Any:
    """All that a group or a dataset of HDF5 holds, to compare."""
    marks = {name: np.asarray(value).tolist() for name, value in node.attrs.items()}
    if isinstance(node, h5py.Group):
        return marks, {name: described(node[name]) for name in node}
    layout = (node.shape, node.dtype, node.dtype.metadata, node.chunks, node.compression)
    stored = node[()]
    values = stored.tobytes() if node.dtype.kind != "O" and node.shape is not None else repr(stored)
    return marks, layout, values


def description(content: io.BytesIO) -> Any:
    """What a file holds."""
    with h5py.File(content) as file:
        return described(file["element"])


@pytest.mark.parametrize("name", ELEMENTS)
def test_elements_are_written_and_read_as_by_anndata(name: str) -> None:
    """A plain element has the layout and the marks that anndata gives it, and is read so."""
    element = ELEMENTS[name]
    assert is_plain(element) is (name not in NOT_PLAIN)
    if not is_plain(element):
        return
    ours, theirs = written(write_plain, element, {}), written(by_anndata, element, {})
    assert description(ours) == description(theirs)
    with h5py.File(theirs) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not isinstance(element, pd.DataFrame):
            read = anndata.io.read_elem(file["element"])
            assert equal_elements(read_plain(file["element"]), read)


def test_a_table_is_written_as_by_anndata() -> None:
    """A table of nullable numbers and categories is plain, and is written as anndata writes it."""
    table = as_objects(ELEMENTS["a table"].drop(columns="text"))
    assert is_plain(table)
    ours, theirs = (written(each, table, {}) for each in (write_plain, by_anndata))
    assert description(ours) == description(theirs)


@given(data=st.data())
def test_tables_are_written_as_by_anndata(data: st.DataObject) -> None:
    """A plain table of any columns has the layout that anndata gives it, compressed or not."""
    table = as_objects(data.draw(frames(data.draw(st.integers(0, 3)), on_disk=True)))
    options = data.draw(st.sampled_from([{}, {"compression": "gzip", "compression_opts": 1}]))
    if is_plain(table):
        ours, theirs = (written(each, table, options) for each in (write_plain, by_anndata))
        assert description(ours) == description(theirs)


@given(data=st.data())
@settings(max_examples=60)
def test_tables_of_arrow_are_written_as_frames(data: st.DataObject) -> None:
    """A table that needs no pandas has the layout of the frame that is made of it."""
    table = data.draw(frames(data.draw(st.integers(0, 3)), on_disk=True))
    stored, columns = to_lance(from_frame(table, "cell_id"), ())
    plain = plain_table(stored, columns)
    if plain is not None and is_plain(plain):
        made = to_frame(stored, columns)
        ours, theirs = (written(write_plain, each, {}) for each in (plain, made))
        assert description(ours) == description(theirs)


def test_plain_columns_need_no_pandas() -> None:
    """Columns of each plain type are taken from Arrow; those of other types are left to pandas."""
    n_categories = [1, 126, 127, 300, 33_000]
    for n in n_categories:
        labels: Any = [f"c{at}" for at in range(n)]
        table = pd.DataFrame(index=list(map(str, range(33_000))))
        codes: Any = np.arange(33_000) % (n + 1) - 1
        table["kind"] = pd.Categorical.from_codes(codes, labels, ordered=n > 1)
        table["counts"] = pd.array([1, *[None] * 32_999], "UInt16")
        table["flag"] = pd.array([True, None, *[False] * 32_998], "boolean")
        table["is"], table["share"], table["text"] = True, np.float32(0.5), "µ"
        stored, columns = to_lance(from_frame(table, "cell_id"), ())
        plain = plain_table(stored, columns)
        ours, theirs = (written(each, one, {}) for each, one in
                        ((write_plain, plain), (by_anndata, as_objects(table))))  # fmt: skip
        assert is_plain(plain)
        assert description(ours) == description(theirs)
    for column in (
        pd.array(["a"], "string"),
        pd.array([1.5], "Float64"),
        pd.to_datetime(["2020-01-01"]),
        pd.Categorical([1.5]),
        pd.Series([None], dtype=object),
    ):
        odd = pd.DataFrame({"odd": column}).set_index(pd.Index(["i"]))
        assert plain_table(*to_lance(from_frame(odd, "cell_id"), ())) is None


@pytest.mark.parametrize(
    "element",
    [
        *({"a/b": 1}, {"_index": 1}, {1: 1}, {"": 1}, {"a": {"b": 1j}}, 2**64, 1j),
        *("a\0b", "\ud800", np.array(1), np.array(["a", 1], object), np.zeros(2, np.longdouble)),
        pd.DataFrame({"a": [1]}, index=[1j]),
        pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}, index=["i"]),
        pd.DataFrame([[1, 2]], columns=["a", "a"], index=["i"]),
        pd.DataFrame({"a": [1]}, index=pd.Index(["i"], name="a")),
    ],
    ids=repr,
)
def test_what_is_not_plain_is_left_to_anndata(element: Any) -> None:
    """Names, texts and types that HDF5 or anndata treats in a way of its own are not plain."""
    assert not is_plain(element)


def test_only_plain_elements_are_read() -> None:
    """Tables, enumerations, other encodings and marks of other types are left to anndata."""
    with h5py.File("m", "w", driver="core", backing_store=False) as file:
        by_anndata(file, "table", ELEMENTS["a table"], {})
        by_anndata(file, "records", ELEMENTS["records"], {})
        logical = h5py.enum_dtype({"FALSE": 0, "TRUE": 1, "NA": 2})
        file.create_dataset("logical", data=[0, 1], dtype=logical)
        file["logical"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        file.create_group("odd").attrs["encoding-type"] = np.array(["dict", "dict"], "S4")
        file.create_dataset("old", data=[1, 2])
        for name in file:
            with pytest.raises(NotPlainError):
                read_plain(file[name])
