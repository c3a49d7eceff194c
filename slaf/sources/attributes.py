"""Attributes in HDF5 files from strangers: numbers, text and references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slaf.errors import DamagedInput

if TYPE_CHECKING:
    import numpy as np

__all__ = ["attribute", "check_attributes"]


def attribute(element: Any, name: str, default: Any = None) -> Any:
    """The value of an attribute; the default if there is none.

    Raises
    ------
    DamagedInput
        If it is a list of lists, which nobody writes, and which crashes those that read it.
    """
    if name not in element.attrs:
        return default
    _check(element, name)
    return element.attrs[name]


def check_attributes(element: Any) -> None:
    """Check that other programs may read the attributes of an element.

    Raises
    ------
    DamagedInput
        If one of them is a list of lists.
    """
    for name in element.attrs:
        _check(element, name)


def _check(element: Any, name: str) -> None:
    if _holds_lists(element.attrs.get_id(name).dtype):
        msg = f"the attribute {name!r} of {element.name} is neither numbers nor text"
        raise DamagedInput(msg)


def _holds_lists(dtype: np.dtype[Any]) -> bool:
    import h5py

    if dtype.fields:
        return any(_holds_lists(field[0]) for field in dtype.fields.values())
    lists = h5py.check_vlen_dtype(dtype.base) is not None
    return lists and h5py.check_string_dtype(dtype.base) is None
