"""Attributes and layouts of HDF5, read by their objects of low level, as h5py gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from slaf.errors import DamagedInput
from slaf.sources.hdf5.elements import attribute, check_attributes, layout_of

if TYPE_CHECKING:
    from pathlib import Path

TEXT = h5py.string_dtype()
VALUES: dict[str, Any] = {
    "text": "µm",
    "ascii": np.array(b"x", h5py.string_dtype("ascii")),
    "bytes that are no UTF-8": np.array(b"\xff", TEXT),
    "fixed length": np.bytes_(b"fixed"),
    "list of one": np.array(["one"], TEXT),
    "list": np.array(["a", "b"], TEXT),
    "empty list": np.array([], TEXT),
    "nothing": h5py.Empty(TEXT),
    "number": 3,
    "boolean": np.bool_(1),
    "numbers": np.array([5, 200]),
}


@pytest.mark.parametrize("is_checked", [False, True], ids=["at once", "checked before"])
def test_attributes_are_those_of_h5py(tmp_path: Path, *, is_checked: bool) -> None:
    """Every kind of attribute has the value and type that h5py gives; one that is missing, None."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name, value in VALUES.items():
            file.attrs[name] = value
    with h5py.File(path) as file:
        if is_checked:
            check_attributes(file)
        for name in VALUES:
            expected, actual = file.attrs[name], attribute(file, name)
            assert type(actual) is type(expected), name
            if isinstance(expected, h5py.Empty):
                assert actual.dtype == expected.dtype
            else:
                np.testing.assert_array_equal(actual, expected, name)
        assert attribute(file, "missing") is None
        assert attribute(file, "missing", 7) == 7


def test_lists_of_lists_are_refused(tmp_path: Path) -> None:
    """An attribute that crashes h5py is refused by name, however it is reached."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        lists = np.empty(1, object)
        lists[0] = np.array([1, 2])
        file.attrs.create("lists", lists, dtype=h5py.vlen_dtype(np.int64))
    with h5py.File(path) as file:
        for reach in (check_attributes, lambda element: attribute(element, "lists")):
            with pytest.raises(DamagedInput, match="'lists' of /"):
                reach(file)


def test_layouts(tmp_path: Path) -> None:
    """Chunks, filters and data elsewhere are those of the dataset."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        packed = file.create_dataset("packed", (9,), "i4", chunks=(4,), compression=1, shuffle=True)
        plain = file.create_dataset("plain", data=np.ones(3))
        outside = file.create_dataset("outside", (3,), "i4", external=[("b.raw", 0, 12)])
        virtual = h5py.VirtualLayout((9,), "i4")
        virtual[:] = h5py.VirtualSource(packed)
        file.create_virtual_dataset("virtual", virtual)
        known = [layout_of(each) for each in (packed, plain, outside, file["virtual"])]
    assert [each.chunks for each in known] == [(4,), None, None, None]
    assert [each.filters for each in known] == [(2, 1), (), (), ()]
    assert [each.is_elsewhere for each in known] == [False, False, True, True]
