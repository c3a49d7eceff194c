"""What an AnnData file holds beside its matrices, as anndata reads it."""

from __future__ import annotations

import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from slaf.errors import DamagedInput, InputError, SlafError
from slaf.options import SLOTS
from slaf.runtime.lazy import LazyMapping
from slaf.sources.base import Slots
from slaf.sources.hdf5.file import get_checked, safe_keys
from slaf.sources.hdf5.links import has_member

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import anndata
    import h5py

__all__ = ["READING_ERRORS", "read_element", "read_slots", "read_varm_of_raw"]


# What anndata and h5py raise for an element that is not as it should be.
READING_ERRORS: Final = (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError)


def read_slots(file: h5py.File, *, of_raw: bool) -> Slots:
    """The slots of a file.

    Parameters
    ----------
    file
        An open AnnData file.
    of_raw
        Whether the genes are those of raw: then varm is raw's, and varp is nobody's.
    """
    import h5py

    if isinstance(get_checked(file, "obs"), h5py.Dataset):
        found = _read_compound(file)
        slots = Slots(*(dict(getattr(found, slot)) for slot in SLOTS))
    else:
        slots = Slots(**{slot: _slot(file, slot) for slot in SLOTS})
        slots = _with_neighbours(slots)
    if of_raw:
        return Slots(slots.obsm, read_varm_of_raw(file), slots.obsp, {}, slots.uns)
    return slots


def read_varm_of_raw(file: h5py.File) -> Mapping[str, Any]:
    """The varm of raw."""
    for place in ("raw/varm", "raw.varm"):
        if has_member(file, place):
            return _slot(file, place)
    return {}


def read_element(file: h5py.File, place: str) -> Any:
    """An element as anndata reads it.

    Raises
    ------
    InputError
        If it cannot, or part of it lies in another file.
    """
    import anndata

    element = get_checked(file, place)
    with _reading(place):
        return anndata.io.read_elem(element)


def _slot(file: h5py.File, slot: str) -> Mapping[str, Any]:
    import h5py

    if not has_member(file, slot):
        return {}
    if isinstance(get_checked(file, slot), h5py.Dataset):
        # A compound array of one field a key: no file of groups has one, but for an empty slot.
        return _fields(read_element(file, slot), slot)
    return LazyMapping(safe_keys(file, slot), lambda name: read_element(file, f"{slot}/{name}"))


def _fields(array: Any, slot: str) -> Mapping[str, Any]:
    names = getattr(getattr(array, "dtype", None), "names", None)
    if names is None:
        if getattr(array, "size", 1) == 0 or array is None:
            return {}
        msg = f"{slot} holds a {type(array).__name__}, not elements by name"
        raise DamagedInput(msg)
    return {name: array[name] for name in names}


def _with_neighbours(slots: Slots) -> Slots:
    """As anndata does: a graph of neighbours that lies in uns, where older releases put it."""
    if "neighbors" not in slots.uns:
        return slots
    found = slots.uns["neighbors"]
    moved = {
        key: found[key]
        for key in ("distances", "connectivities")
        if isinstance(found, dict) and key in found and hasattr(found[key], "shape")
    }
    if not moved:
        return slots
    left = {key: value for key, value in found.items() if key not in moved}
    uns = {key: left if key == "neighbors" else slots.uns[key] for key in slots.uns}
    obsp = {key: slots.obsp[key] for key in slots.obsp}
    obsp |= {key: value for key, value in moved.items() if key not in obsp}
    return Slots(slots.obsm, slots.varm, obsp, slots.varp, uns)


def _read_compound(file: h5py.File) -> anndata.AnnData:
    """A file of the time before groups, whose slots anndata reads only as part of a file.

    So it is given one that has everything but the matrices.
    """
    import anndata
    import h5py

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "slots.h5ad"
        with _reading("the slots"):
            with h5py.File(path, "w") as small:
                for name in ("obs", "var", *SLOTS):
                    if has_member(file, name):
                        small.copy(get_checked(file, name), name)
            return anndata.read_h5ad(path)


@contextmanager
def _reading(place: str) -> Iterator[None]:
    from anndata._io.specs.registry import IORegistryError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except SlafError:
            raise
        except (*READING_ERRORS, IORegistryError) as error:
            msg = f"{place} cannot be read: {error}"
            raise InputError(msg) from error
