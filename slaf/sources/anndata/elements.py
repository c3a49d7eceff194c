"""obs, var and the slots of a stored AnnData, as anndata reads them."""

from __future__ import annotations

import warnings
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slaf.annotations.dataframes import from_frame
from slaf.annotations.text import text_index
from slaf.errors import DamagedInput, InputError, SlafError
from slaf.options import RAW_VARM, SLOTS
from slaf.runtime.lazy import LazyMapping
from slaf.sources.anndata.plain_tables import read_plain_table
from slaf.sources.contents import Slots
from slaf.sources.hdf5.file import decode_text
from slaf.storage.system_errors import system_errno, system_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    import pyarrow as pa

    from slaf.sources.anndata.groups import Groups

__all__ = [
    "columns_left_out",
    "count_rows",
    "element_names",
    "read_slots",
    "read_table",
    "read_varm_of_raw",
]


# What anndata and h5py raise for a damaged element.
_READING_ERRORS: Final = (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError)
_NEIGHBORS: Final = "neighbors"

# The attributes of a group that is an element.
_MARKS: Final = ("encoding-type", "h5sparse_format", "_index", "column-order")


def count_rows(groups: Groups, table: str) -> int:
    """The number of rows of obs or var, by its ids.

    Raises
    ------
    DamagedInput
        If it has no ids, or they are packed more than real data.
    """
    groups.get(table)
    ids = table
    if groups.shape(table) is None:
        index = decode_text(groups.attribute(table, "_index", "_index"))
        if index is None or not groups.has(f"{table}/{index}"):
            msg = f"{table} has no index {index!r}"
            raise DamagedInput(msg)
        ids = f"{table}/{index}"
        # The index of pandas 3: nullable strings are a group of values and a mask.
        ids = ids if groups.shape(ids) is not None else f"{ids}/values"
    shape = groups.shape(ids)
    if shape is None or len(shape) != 1:
        msg = f"{ids} is not a list, with one entry a row"
        raise DamagedInput(msg)
    # All columns of a table are as long as its ids.
    groups.check_size(ids)
    return shape[0]


def read_table(groups: Groups, name: str, id_name: str) -> pa.Table:
    """A table as anndata reads it, in Arrow.

    Raises
    ------
    DamagedInput
        If it cannot be read, or is not a table.
    InputError
        If a column holds values that cannot be stored.
    """
    groups.check_table(name, count_rows(groups, name))
    table = read_plain_table(groups, name, id_name)
    return from_frame(_read_frame(groups, name), id_name) if table is None else table


def _read_frame(groups: Groups, name: str) -> pd.DataFrame:
    import pandas as pd

    with _anndata_errors(name, DamagedInput):
        if groups.shape(name) is not None:
            axis, other = ("var", "obs") if name.endswith("var") else ("obs", "var")
            categories = (key for key in groups.keys("uns") if key.endswith("_categories"))
            members = {f"uns/{key}": f"uns/{key}" for key in categories}
            adata = groups.read_tables_of_arrays({axis: name, other: other, **members})
            frame = getattr(adata, axis)
        else:
            frame = _read(groups, name)
    if not isinstance(frame, pd.DataFrame):
        msg = f"{name} holds a {type(frame).__name__}, not a table"
        raise DamagedInput(msg)
    # With pandas 3 anndata leaves text of zarr as Python objects, unlike that of HDF5.
    return frame.infer_objects()


def read_slots(groups: Groups, *, of_raw: bool) -> Slots:
    """The slots of an AnnData; elements are read when they are used.

    Parameters
    ----------
    groups
        The stored AnnData.
    of_raw
        Whether the genes are those of raw: then varm is that of raw, and there is no varp.
    """
    if groups.shape("obs") is not None:
        members = {name: name for name in ("obs", "var", *SLOTS)}
        with _anndata_errors("the slots", InputError):
            adata = groups.read_tables_of_arrays(members)
        slots = Slots(*(dict(getattr(adata, slot)) for slot in SLOTS))
    else:
        slots = _with_neighbors(groups, Slots(**{slot: _slot(groups, slot) for slot in SLOTS}))
    return replace(slots, varm=read_varm_of_raw(groups), varp={}) if of_raw else slots


def read_varm_of_raw(groups: Groups) -> Mapping[str, Any]:
    """The varm of raw."""
    for path in ("raw/varm", "raw.varm"):
        if groups.has(path):
            return _slot(groups, path)
    return {}


def columns_left_out(groups: Groups) -> Iterator[str]:
    """The columns of tables that are not in their column-order, so that anndata hides them."""
    tables = {name: name for name in ("obs", "var", "raw/var")}
    for slot in ("obsm", "varm", "raw/varm"):
        names = element_names(groups, slot)
        tables |= {f"{slot}:{name}": f"{slot}/{name}" for name in names}
    for label, path in tables.items():
        hidden = _hidden_columns(groups, path) if groups.has(path) else []
        if hidden:
            yield f"{label} ({', '.join(hidden)})"


def _hidden_columns(groups: Groups, table: str) -> list[str]:
    order = _attribute(groups, table, "column-order")
    if order is None:
        return []
    shown = {decode_text(name) or "" for name in np.ravel(order)}
    # A name with a slash is a path of groups.
    shown |= {name.partition("/")[0] for name in shown} | {"__categories"}
    shown.add(decode_text(_attribute(groups, table, "_index")) or "_index")
    return [name for name in groups.keys(table) if name not in shown]


def element_names(groups: Groups, slot: str) -> list[str]:
    """The names of the elements of a slot; a name with slashes is a path of groups."""
    names: list[str] = []
    for key in groups.keys(slot):
        if _is_part_of_a_name(groups, f"{slot}/{key}"):
            names += [f"{key}/{name}" for name in element_names(groups, f"{slot}/{key}")]
        else:
            names.append(key)
    return names


def _is_part_of_a_name(groups: Groups, path: str) -> bool:
    """Whether a group is made by a slash in a name: it says nothing of itself."""
    with suppress(DamagedInput):
        is_group = groups.has(path) and groups.shape(path) is None
        marks = (_attribute(groups, path, mark) for mark in _MARKS)
        return is_group and bool(groups.keys(path)) and all(mark is None for mark in marks)
    return False


def _attribute(groups: Groups, path: str, name: str) -> Any:
    """An attribute; None if there is none, or no such element: reading it says why."""
    with suppress(DamagedInput):
        return groups.attribute(path, name)
    return None


def _read_element(groups: Groups, path: str) -> Any:
    groups.get(path)
    with _anndata_errors(path, InputError):
        if groups.is_enumeration(path) and not path.startswith("uns/"):
            remedy = f"leave it out with --without {_without(path)}"
            msg = f"{path} is an enumeration of HDF5, not numbers; {remedy}"
            raise InputError(msg)
        return _read(groups, path)


def _without(path: str) -> str:
    """The value of --without for an element, or a slot, by its path."""
    slot, _, key = path.replace("raw/varm", RAW_VARM).partition("/")
    return f"{slot}:{key}" if key else slot


def _read(groups: Groups, path: str) -> Any:
    """An element as anndata reads it, and tables whose group does not say that it is one."""
    is_table = groups.shape(path) is None and groups.attribute(path, "_index") is not None
    if is_table and groups.attribute(path, "encoding-type") is None:
        return _untyped_frame(groups, path)
    return groups.read(path)


def _untyped_frame(groups: Groups, table: str) -> pd.DataFrame:
    """A table whose group does not say that it is one, as SeuratDisk writes it."""
    import pandas as pd

    index = decode_text(groups.attribute(table, "_index")) or "_index"
    hidden = {index, "__categories"}
    columns = [name for name in groups.keys(table) if name not in hidden]
    order = groups.attribute(table, "column-order", columns)
    names = [decode_text(name) or "" for name in np.ravel(order)]
    with_levels = groups.keys(f"{table}/__categories")

    def column(name: str) -> Any:
        values = groups.read(f"{table}/{name}")
        if name not in with_levels:
            return values
        levels = list(groups.read(f"{table}/__categories/{name}"))
        are_text = all(isinstance(level, str) for level in levels)
        categories = text_index(levels) if are_text else pd.Index(levels, dtype=object)
        return pd.Categorical.from_codes(values, categories=categories)

    ids = pd.Index(groups.read(f"{table}/{index}"), name=None if index == "_index" else index)
    data = {name: column(name) for name in names}
    return pd.DataFrame(data, index=ids, columns=text_index(names))


def _slot(groups: Groups, slot: str) -> Mapping[str, Any]:
    if not groups.has(slot):
        return {}
    if groups.shape(slot) is not None:
        # A compound array with a field for each key; in files of groups only an empty slot.
        return _fields(_read_element(groups, slot), slot)
    names = groups.keys(slot) if slot == "uns" else element_names(groups, slot)
    return LazyMapping(names, lambda name: _read_element(groups, f"{slot}/{name}"))


def _fields(array: Any, slot: str) -> Mapping[str, Any]:
    names = getattr(getattr(array, "dtype", None), "names", None)
    if names is not None:
        return {name: array[name] for name in names}
    if getattr(array, "size", 1) == 0 or array is None:
        return {}
    msg = f"{slot} holds a {type(array).__name__}, not elements by name"
    raise DamagedInput(msg)


def _with_neighbors(groups: Groups, slots: Slots) -> Slots:
    """The graph of neighbours in obsp: old releases wrote it into uns, and anndata moves it."""
    graphs = {"distances", "connectivities"}.intersection(groups.keys(f"uns/{_NEIGHBORS}"))
    neighbors = slots.uns[_NEIGHBORS] if graphs else None
    if not isinstance(neighbors, dict):
        return slots
    moved = [key for key in sorted(graphs, reverse=True) if hasattr(neighbors[key], "shape")]

    def uns(key: str) -> Any:
        element = slots.uns[key]
        if key != _NEIGHBORS:
            return element
        return {name: value for name, value in element.items() if name not in moved}

    def obsp(key: str) -> Any:
        in_uns = key not in slots.obsp
        return _read_element(groups, f"uns/{_NEIGHBORS}/{key}") if in_uns else slots.obsp[key]

    return replace(
        slots, obsp=LazyMapping([*slots.obsp, *moved], obsp), uns=LazyMapping(slots.uns, uns)
    )


@contextmanager
def _anndata_errors(label: str, error_type: type[InputError]) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except SlafError:
            raise
        except ImportError as error:
            msg = (
                f"{label} needs a package that is not installed here ({error}); install it, or "
                f"leave the element out with --without {_without(label)}"
            )
            raise error_type(msg) from error
        except Exception as error:  # the error of anndata's registry has no public name
            if not isinstance(error, _READING_ERRORS) and not _is_of_registry(error):
                raise
            if system_errno(error):
                raise system_error(label, "read", error) from error
            msg = f"{label} cannot be read: {error}"
            raise error_type(msg) from error


def _is_of_registry(error: Exception) -> bool:
    """Whether anndata knows no such element; anndata is imported only for errors."""
    from anndata._io.specs.registry import IORegistryError

    return isinstance(error, IORegistryError)
