"""Attributes in HDF5 files from strangers: numbers, text and references."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from slaf.errors import DamagedInput

if TYPE_CHECKING:
    import h5py
    import numpy as np

__all__ = [
    "attribute",
    "check_attributes",
    "check_subtree",
    "has_member",
    "resolve_link",
    "try_resolve",
]


def attribute(element: Any, name: str, default: Any = None) -> Any:
    """The value of an attribute; the default if there is none.

    Raises
    ------
    DamagedInput
        If it is a list of lists, which nobody writes, and which crashes those that read it.
    """
    if name not in element.attrs:
        return default
    _check_attribute(element, name)
    return element.attrs[name]


def check_attributes(element: Any) -> None:
    """Check that other programs may read the attributes of an element.

    Raises
    ------
    DamagedInput
        If one of them is a list of lists.
    """
    for name in element.attrs:
        _check_attribute(element, name)


def _check_attribute(element: Any, name: str) -> None:
    if _holds_lists(element.attrs.get_id(name).dtype):
        msg = f"the attribute {name!r} of {element.name} is neither numbers nor text"
        raise DamagedInput(msg)


def _holds_lists(dtype: np.dtype[Any]) -> bool:
    import h5py

    if dtype.fields:
        return any(_holds_lists(field[0]) for field in dtype.fields.values())
    lists = h5py.check_vlen_dtype(dtype.base) is not None
    return lists and h5py.check_string_dtype(dtype.base) is None


# As many as HDF5 itself follows, and deeper than any table goes.
_MOST_LINKS = 16
_DEEPEST = 32
_ONE_FILE = "copy the data into one file first"


def resolve_link(group: h5py.Group, path: str | bytes) -> Any:
    """What a path leads to, which must lie in the file itself.

    HDF5 would open whatever file a link names, be it through a soft link that leads to it.

    Raises
    ------
    DamagedInput
        If it is not there, lies in another file, or its links go in a circle.
    """
    import h5py

    if isinstance(path, bytes):
        # What h5py gives for a name that is not UTF-8.
        msg = f"{group.name} has a member whose name is no text: {path!r}"
        raise DamagedInput(msg)
    at, ahead, links = group, _names(path), 0
    while ahead:
        name = ahead.pop()
        if name == "/":
            at = group.file
            continue
        link = _link(at, name)
        place = f"{at.name.rstrip('/')}/{name}"
        if link is None:
            whole = posixpath.join(group.name, path)
            leads = f" leads to {place}, which" if links else ""
            msg = f"{whole}{leads} is missing"
            raise DamagedInput(msg)
        if isinstance(link, h5py.SoftLink):
            links += 1
            ahead += _names(link.path)
        elif isinstance(link, h5py.HardLink):
            at = at[name]
        else:
            where = f" ({link.filename})" if isinstance(link, h5py.ExternalLink) else ""
            msg = f"{place} is a link to another file{where}"
            raise DamagedInput(msg, remedy=_ONE_FILE)
        if links > _MOST_LINKS:
            msg = f"the links from {posixpath.join(group.name, path)} lead in a circle"
            raise DamagedInput(msg)
    return at


def has_member(group: h5py.Group, path: str) -> bool:
    """Whether a group has a member of this name, wherever that leads.

    Raises
    ------
    DamagedInput
        If the way to its last part leaves the file.
    """
    import h5py

    *above, name = path.split("/")
    at = group
    for part in above:
        if _link(at, part) is None:
            return False
        at = resolve_link(at, part)
    return isinstance(at, h5py.Group) and _link(at, name) is not None


def try_resolve(group: h5py.Group, path: str | bytes) -> Any:
    """What a path leads to; None where that is nothing in this file."""
    try:
        return resolve_link(group, path)
    except DamagedInput:
        return None


def check_subtree(element: Any) -> None:
    """Check that an element, and everything below it, lies in the file itself.

    Raises
    ------
    DamagedInput
        If something is a link to another file or to nothing, keeps its data in other files, or
        leads back to where it lies.
    """
    _check_link(element, (), set())


def _check_link(element: Any, above: tuple[int, ...], seen: set[int]) -> None:
    import h5py

    check_attributes(element)
    if isinstance(element, h5py.Dataset):
        if element.is_virtual or element.external:
            msg = f"{element.name} keeps its data in other files"
            raise DamagedInput(msg, remedy=_ONE_FILE)
        _check_categories(element)
    if not isinstance(element, h5py.Group):
        return
    address = h5py.h5o.get_info(element.id).addr
    if address in above or len(above) == _DEEPEST:
        msg = f"{element.name} leads back to where it lies, or lies too deep"
        raise DamagedInput(msg)
    if address in seen:
        return
    seen.add(address)
    for name in element:
        _check_link(resolve_link(element, name), (*above, address), seen)


def _check_categories(column: h5py.Dataset) -> None:
    """Of a column of before 0.8, whose categories lie where an attribute says."""
    import h5py

    where = attribute(column, "categories")
    if isinstance(where, h5py.Reference) and where:
        found = column.file[where]
    elif isinstance(where, str):
        found = resolve_link(column.parent, where)
    else:
        return
    if isinstance(found, h5py.Dataset) and (found.is_virtual or found.external):
        msg = f"{found.name} keeps its data in other files"
        raise DamagedInput(msg, remedy=_ONE_FILE)


def _names(path: str) -> list[str]:
    """The parts of a path, the last one first; "/" where it begins at the top."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if path.startswith("/"):
        parts.insert(0, "/")
    return parts[::-1]


def _link(group: Any, name: str) -> Any:
    """The link of this name; None if there is none, an empty string if HDF5 does not know it."""
    import h5py

    if not isinstance(group, h5py.Group):
        return None
    try:
        return group.get(name, getlink=True)
    except TypeError:
        return ""
