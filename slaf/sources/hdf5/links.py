"""Links of untrusted HDF5 files, which must stay inside the file."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from slaf.errors import DamagedInput
from slaf.sources.hdf5.elements import (
    attribute,
    check_attributes,
    hard_member,
    kept,
    layout_of,
    member_names,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    import h5py

__all__ = [
    "check_subtree",
    "has_all",
    "has_member",
    "resolve_link",
    "try_resolve",
]


# HDF5 follows as many links; no table is so deep.
_MAX_LINKS = 16
_MAX_DEPTH = 32
_ONE_FILE = "copy the data into one file first"


def resolve_link(group: h5py.Group, path: str | bytes) -> Any:
    """The element at a path, which must be in the file itself.

    HDF5 would open any file that a link names, also behind a soft link.

    Raises
    ------
    DamagedInput
        If it is missing, in another file, or its links form a circle.
    """
    import h5py

    if isinstance(path, bytes):
        # h5py returns bytes for a name that is not UTF-8.
        msg = f"{group.name} has a member whose name is no text: {path!r}"
        raise DamagedInput(msg)
    if (known := kept(group).members.get(path)) is not None:
        return known
    element, remaining, n_links = group, _reversed_names(path), 0
    while remaining:
        name = remaining.pop()
        if name == "/":
            element = group.file
            continue
        member = hard_member(element, name)
        if member is not None:
            element = member
            continue
        link = _link(element, name)
        label = f"{element.name.rstrip('/')}/{name}"
        if link is None:
            target = f" leads to {label}, which" if n_links else ""
            msg = f"{posixpath.join(group.name, path)}{target} is missing"
            raise DamagedInput(msg)
        if isinstance(link, h5py.SoftLink):
            n_links += 1
            remaining += _reversed_names(link.path)
        elif isinstance(link, h5py.HardLink):
            element = element[name]
        else:
            file = f" ({link.filename})" if isinstance(link, h5py.ExternalLink) else ""
            msg = f"{label} is a link to another file{file}"
            raise DamagedInput(msg, remedy=_ONE_FILE)
        if n_links > _MAX_LINKS:
            msg = f"the links from {posixpath.join(group.name, path)} lead in a circle"
            raise DamagedInput(msg)
    return element


def has_member(group: h5py.Group, path: str) -> bool:
    """Whether a group has a member of this name, wherever it leads.

    Raises
    ------
    DamagedInput
        If a group of its path is in another file.
    """
    *groups, name = path.split("/")
    for part in groups:
        if not _has_link(group, part):
            return False
        group = resolve_link(group, part)
    return _has_link(group, name)


def has_all(group: h5py.Group, names: Iterable[str]) -> bool:
    """True for a group with members of all of these names, wherever they lead."""
    return all(group.id.links.exists(name.encode()) for name in names)


def try_resolve(group: h5py.Group, path: str | bytes) -> Any:
    """The element at a path; None if there is none in this file."""
    try:
        return resolve_link(group, path)
    except DamagedInput:
        return None


def check_subtree(element: Any) -> None:
    """Check that an element and all its members are in the file itself.

    Raises
    ------
    DamagedInput
        If a link leads to another file, to nothing or to a group above it, or an array stores its
        data in other files.
    """
    _check_element(element, (), set())


def _check_element(element: Any, parents: tuple[int, ...], seen: set[int]) -> None:
    import h5py

    check_attributes(element)
    if isinstance(element, h5py.Dataset):
        _check_data(element)
        _check_categories(element)
    if not isinstance(element, h5py.Group):
        return
    address = h5py.h5o.get_info(element.id).addr
    if address in parents or len(parents) == _MAX_DEPTH:
        msg = f"{element.name} leads back to where it lies, or lies too deep"
        raise DamagedInput(msg)
    if address in seen:
        return
    seen.add(address)
    for name in member_names(element):
        _check_element(resolve_link(element, name), (*parents, address), seen)


def _check_data(dataset: h5py.Dataset) -> None:
    if layout_of(dataset).is_elsewhere:
        msg = f"{dataset.name} keeps its data in other files"
        raise DamagedInput(msg, remedy=_ONE_FILE)


def _check_categories(column: h5py.Dataset) -> None:
    """Check the categories of a column of anndata before 0.8, which an attribute points to."""
    import h5py

    target = attribute(column, "categories")
    categories = None
    if isinstance(target, h5py.Reference) and target:
        categories = column.file[target]
    elif isinstance(target, str):
        categories = resolve_link(column.parent, target)
    if isinstance(categories, h5py.Dataset):
        _check_data(categories)


def _reversed_names(path: str) -> list[str]:
    """The parts of a path, the last one first; "/" for an absolute path."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if path.startswith("/"):
        parts.insert(0, "/")
    return parts[::-1]


def _has_link(group: Any, name: str) -> bool:
    import h5py

    # HDF5 takes no empty name, as an absolute path has one.
    is_there = isinstance(group, h5py.Group) and name != ""
    return is_there and bool(group.id.links.exists(name.encode()))


def _link(group: Any, name: str) -> Any:
    """The link of this name; None if there is none, an empty string if HDF5 cannot read it."""
    import h5py

    if not isinstance(group, h5py.Group):
        return None
    try:
        return group.get(name, getlink=True)
    except TypeError:
        return ""
