"""obs, var and the slots of an AnnData file, as anndata reads them."""

from __future__ import annotations

import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from slaf.errors import DamagedInput, InputError, SlafError
from slaf.options import SLOTS
from slaf.runtime.lazy import LazyMapping
from slaf.sources.base import Slots
from slaf.sources.hdf5.file import decode_text, get_checked, safe_keys
from slaf.sources.hdf5.limits import check_arrays, check_table
from slaf.sources.hdf5.links import attribute, has_member

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import anndata
    import h5py
    import pandas as pd

__all__ = ["count_rows", "read_frame", "read_slots", "read_varm_of_raw"]


# What anndata and h5py raise for a damaged element.
_READING_ERRORS: Final = (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError)
_NEIGHBORS: Final = "neighbors"


def count_rows(table: h5py.Group | h5py.Dataset) -> int:
    """The number of rows of obs or var, by its ids.

    Raises
    ------
    DamagedInput
        If it has no ids, or they are packed more than real data.
    """
    import h5py

    ids = table
    if isinstance(table, h5py.Group):
        index = decode_text(attribute(table, "_index", "_index"))
        if index is None or not has_member(table, index):
            msg = f"{table.name} has no index {index!r}"
            raise DamagedInput(msg)
        ids = get_checked(table, index)
        # The index of pandas 3: nullable strings are a group of values and a mask.
        ids = ids if isinstance(ids, h5py.Dataset) else get_checked(ids, "values")
    if not isinstance(ids, h5py.Dataset) or ids.shape is None or ids.ndim != 1:
        msg = f"{ids.name} is not a list, with one entry a row"
        raise DamagedInput(msg)
    # All columns of a table are as long as its ids.
    check_arrays(ids.name, ids)
    return len(ids)


def read_frame(file: h5py.File, name: str) -> pd.DataFrame:
    """A table as anndata reads it.

    Raises
    ------
    DamagedInput
        If it cannot be read, or is not a table.
    """
    import anndata
    import h5py
    import pandas as pd

    table = get_checked(file, name)
    check_table(table, count_rows(table))
    with _anndata_errors(name, DamagedInput):
        if isinstance(table, h5py.Dataset):
            axis, other = ("var", "obs") if name.endswith("var") else ("obs", "var")
            categories = (key for key in safe_keys(file, "uns") if key.endswith("_categories"))
            members = {f"uns/{key}": f"uns/{key}" for key in categories}
            frame = getattr(_read_compound(file, {axis: name, other: other, **members}), axis)
        else:
            frame = anndata.io.read_elem(table)
    if not isinstance(frame, pd.DataFrame):
        msg = f"{name} holds a {type(frame).__name__}, not a table"
        raise DamagedInput(msg)
    return frame


def read_slots(file: h5py.File, *, of_raw: bool) -> Slots:
    """The slots of a file; elements are read when they are used.

    Parameters
    ----------
    file
        An open AnnData file.
    of_raw
        Whether the genes are those of raw: then varm is that of raw, and there is no varp.
    """
    import h5py

    if isinstance(get_checked(file, "obs"), h5py.Dataset):
        with _anndata_errors("the slots", InputError):
            adata = _read_compound(file, {name: name for name in ("obs", "var", *SLOTS)})
        slots = Slots(*(dict(getattr(adata, slot)) for slot in SLOTS))
    else:
        slots = _with_neighbors(file, Slots(**{slot: _slot(file, slot) for slot in SLOTS}))
    return replace(slots, varm=read_varm_of_raw(file), varp={}) if of_raw else slots


def read_varm_of_raw(file: h5py.File) -> Mapping[str, Any]:
    """The varm of raw."""
    for path in ("raw/varm", "raw.varm"):
        if has_member(file, path):
            return _slot(file, path)
    return {}


def _read_element(file: h5py.File, path: str) -> Any:
    import anndata

    element = get_checked(file, path)
    with _anndata_errors(path, InputError):
        return anndata.io.read_elem(element)


def _slot(file: h5py.File, slot: str) -> Mapping[str, Any]:
    import h5py

    if not has_member(file, slot):
        return {}
    if isinstance(get_checked(file, slot), h5py.Dataset):
        # A compound array with a field for each key; in files of groups only an empty slot.
        return _fields(_read_element(file, slot), slot)
    return LazyMapping(safe_keys(file, slot), lambda name: _read_element(file, f"{slot}/{name}"))


def _fields(array: Any, slot: str) -> Mapping[str, Any]:
    names = getattr(getattr(array, "dtype", None), "names", None)
    if names is not None:
        return {name: array[name] for name in names}
    if getattr(array, "size", 1) == 0 or array is None:
        return {}
    msg = f"{slot} holds a {type(array).__name__}, not elements by name"
    raise DamagedInput(msg)


def _with_neighbors(file: h5py.File, slots: Slots) -> Slots:
    """The graph of neighbours in obsp: old releases wrote it into uns, and anndata moves it."""
    graphs = {"distances", "connectivities"}.intersection(safe_keys(file, f"uns/{_NEIGHBORS}"))
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
        return _read_element(file, f"uns/{_NEIGHBORS}/{key}") if in_uns else slots.obsp[key]

    return replace(
        slots, obsp=LazyMapping([*slots.obsp, *moved], obsp), uns=LazyMapping(slots.uns, uns)
    )


def _read_compound(file: h5py.File, members: Mapping[str, str]) -> anndata.AnnData:
    """Some members of a file of anndata before 0.7, by their new names.

    anndata reads its compound tables only in a whole file: make one of these members.
    """
    import anndata
    import h5py

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "members.h5ad"
        with h5py.File(path, "w") as small:
            for target, source in members.items():
                if has_member(file, source):
                    small.copy(get_checked(file, source), target)
        return anndata.read_h5ad(path)


@contextmanager
def _anndata_errors(label: str, error_type: type[InputError]) -> Iterator[None]:
    from anndata._io.specs.registry import IORegistryError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except SlafError:
            raise
        except (*_READING_ERRORS, IORegistryError) as error:
            msg = f"{label} cannot be read: {error}"
            raise error_type(msg) from error
