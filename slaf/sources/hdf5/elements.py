"""Members and attributes of HDF5 groups and datasets, each read once: HDF5 takes long to find it.

The objects of h5py keep it, for files that are open for reading.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import DamagedInput

if TYPE_CHECKING:
    import h5py

__all__ = [
    "Kept",
    "Layout",
    "attribute",
    "check_attributes",
    "close_members",
    "hard_member",
    "kept",
    "layout_of",
    "member_names",
]

_KEPT = "_slaf_kept"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a dataset is stored.

    Attributes
    ----------
    chunks
        The shape of its chunks; None without chunks.
    filters
        Its filters, in the order of encoding.
    is_elsewhere
        True if its data are in other datasets or files.
    """

    chunks: tuple[int, ...] | None
    filters: tuple[int, ...]
    is_elsewhere: bool


@dataclass(slots=True)
class Kept:
    """The parts of a group or a dataset that were read.

    Attributes
    ----------
    members
        The members of a group that are no links, by name.
    names
        The names of all its members; None if they were not read.
    attributes
        By name; None for one that is not there.
    layout, itemsize
        The layout of a dataset, and the bytes of an element in the file.
    of_file
        The facts that all elements of the file share.
    """

    of_file: dict[str, Any] = field(default_factory=dict)
    members: dict[str, Any] = field(default_factory=dict)
    names: list[str | bytes] | None = None
    attributes: dict[str | bytes, Any] = field(default_factory=dict)
    layout: Layout | None = None
    itemsize: int | None = None


def kept(element: Any) -> Kept:
    """The parts of a group or a dataset that were read, kept with it."""
    attributes = vars(element)
    known: Kept | None = attributes.get(_KEPT)
    if known is None:
        known = attributes[_KEPT] = Kept()
    return known


def hard_member(group: Any, name: str) -> h5py.Group | h5py.Dataset | None:
    """The member of this name that a group has itself; None for a link, and for another type.

    `h5py.Group.get` gives the same, and takes several times as long.
    """
    of_group = kept(group)
    member = of_group.members.get(name)
    if member is None and (member := _opened(group, name.encode())) is not None:
        vars(member)[_KEPT] = Kept(of_group.of_file)
        of_group.members[name] = member
    return member


def close_members(group: Any) -> None:
    """Close the members of a group, of whose datasets HDF5 keeps the last chunks in memory."""
    kept(group).members.clear()


def _opened(group: Any, name: bytes) -> h5py.Group | h5py.Dataset | None:
    import h5py

    if not isinstance(group, h5py.Group):
        return None
    try:
        if group.id.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            return None
        member = h5py.h5o.open(group.id, name)
    except (KeyError, RuntimeError):
        return None
    if isinstance(member, h5py.h5g.GroupID):
        return h5py.Group(member)
    return h5py.Dataset(member, readonly=True) if isinstance(member, h5py.h5d.DatasetID) else None


def layout_of(dataset: h5py.Dataset) -> Layout:
    """How a dataset is stored."""
    known = kept(dataset)
    if known.layout is None:
        known.layout = _layout(dataset)
    return known.layout


def _layout(dataset: h5py.Dataset) -> Layout:
    import h5py

    properties = dataset.id.get_create_plist()
    layout = properties.get_layout()
    return Layout(
        properties.get_chunk() if layout == h5py.h5d.CHUNKED else None,
        tuple(properties.get_filter(at)[0] for at in range(properties.get_nfilters())),
        layout == h5py.h5d.VIRTUAL or properties.get_external_count() > 0,
    )


def member_names(group: h5py.Group) -> list[str | bytes]:
    """The names of the members of a group; bytes for one that is not UTF-8."""
    known = kept(group)
    if known.names is None:
        names: list[bytes] = []
        group.id.links.iterate(names.append)
        known.names = [_decoded(name) for name in names]
    return known.names


def _decoded(name: bytes) -> str | bytes:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name


def attribute(element: Any, name: str | bytes, default: Any = None) -> Any:
    """The value of an attribute; the default if there is none.

    Raises
    ------
    DamagedInput
        If it is a list of lists, which no program writes, and which crashes h5py.
    """
    known = kept(element).attributes
    if name not in known:
        known[name] = _read_attribute(element, name)
    value = known[name]
    return default if value is None else value


def _read_attribute(element: Any, name: str | bytes) -> Any:
    import h5py

    encoded = name.encode() if isinstance(name, str) else name
    if not h5py.h5a.exists(element.id, encoded):
        return None
    found = h5py.h5a.open(element.id, encoded)
    text = _text(found)
    if text is not None:
        return text
    _check_attribute(element, found)
    return element.attrs[name]


def check_attributes(element: Any) -> None:
    """Check that the attributes of an element can be read.

    Raises
    ------
    DamagedInput
        If one is a list of lists.
    """
    import h5py

    names: list[bytes] = []
    h5py.h5a.iterate(element.id, names.append)
    known = kept(element).attributes
    for name in names:
        found = h5py.h5a.open(element.id, name)
        text = _text(found)
        if text is None:
            _check_attribute(element, found)
        else:
            known[_decoded(name)] = text


def _text(found: h5py.h5a.AttrID) -> str | None:
    """The value of an attribute that is one text of any length, as h5py gives it; else None."""
    import h5py

    kind = found.get_type()
    if not isinstance(kind, h5py.h5t.TypeStringID) or not kind.is_variable_str():
        return None
    if found.shape != ():
        return None
    dtype, in_memory = _text_type()
    value = np.empty((), dtype)
    found.read(value, in_memory)
    text: bytes = value.item()
    return text.decode("utf-8", "surrogateescape")


@lru_cache(maxsize=1)
def _text_type() -> tuple[np.dtype[Any], Any]:
    import h5py

    dtype = h5py.string_dtype()
    return dtype, h5py.h5t.py_create(dtype)


def _check_attribute(element: Any, found: h5py.h5a.AttrID) -> None:
    import h5py

    # The type of h5py takes much longer, and is needed where types are in it only.
    kind = found.get_type().get_class()
    if kind not in {h5py.h5t.COMPOUND, h5py.h5t.ARRAY, h5py.h5t.VLEN}:
        return
    if _holds_lists(found.dtype):
        name = found.name.decode(errors="backslashreplace")
        msg = f"the attribute {name!r} of {element.name} is neither numbers nor text"
        raise DamagedInput(msg)


def _holds_lists(dtype: np.dtype[Any]) -> bool:
    import h5py

    if dtype.fields:
        return any(_holds_lists(each[0]) for each in dtype.fields.values())
    lists = h5py.check_vlen_dtype(dtype.base) is not None
    return lists and h5py.check_string_dtype(dtype.base) is None
