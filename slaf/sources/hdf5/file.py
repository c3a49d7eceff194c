"""Open untrusted HDF5 files: read-only, and without links to other files."""

from __future__ import annotations

import os
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from slaf.errors import DamagedInput, InputError, SlafError
from slaf.runtime.extras import require
from slaf.sources.base import note_once
from slaf.sources.hdf5.elements import layout_of, member_names
from slaf.sources.hdf5.enumerations import is_enumeration
from slaf.sources.hdf5.links import check_subtree, resolve_link, try_resolve
from slaf.sources.matrix import check_numeric
from slaf.storage.paths import as_remote
from slaf.storage.system_errors import system_errno, system_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import h5py

__all__ = [
    "decode_text",
    "errors_as_damaged_input",
    "get_checked",
    "is_hdf5",
    "load_filters",
    "numeric",
    "open_file",
    "opened_once",
    "parse_shape",
    "recognise",
    "safe_keys",
]


# The signature is at the start, or after a user block of 512 bytes, 1024, 2048, …:
# https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html#Superblock
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_USER_BLOCKS = (0, 512, 1024, 2048, 4096)

# Enough for the last chunks of a slice, which the next one begins with.
_CHUNK_CACHE = 8 << 20

# Bytes in the file.
_METADATA_CACHE = 128 << 10

# deflate, shuffle, fletcher32, szip, nbit, scaleoffset; and lzf of h5py.
_BUILTIN_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})


def is_hdf5(path: Path) -> bool:
    """Whether a file has the signature of HDF5."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return any(_has_signature(file, start) for start in _USER_BLOCKS)
    except SlafError:
        raise
    except OSError as error:
        raise system_error(str(path), "read", error) from error


def _has_signature(file: IO[bytes], start: int) -> bool:
    file.seek(start)
    return file.read(len(_SIGNATURE)) == _SIGNATURE


def open_file(path: Path) -> h5py.File:
    """Open for reading.

    Raises
    ------
    DamagedInput
        If it is cut short, or not HDF5.
    StorageError
        If the system refuses to read it.
    """
    import h5py

    remote = as_remote(path)
    try:
        if remote is not None:
            return h5py.File(remote.open_random(), "r", rdcc_nbytes=_CHUNK_CACHE)
        access, read_only = _access(), h5py.h5f.ACC_RDONLY
        return h5py.File(h5py.h5f.open(os.fsencode(path), read_only, fapl=access))
    except SlafError:
        raise
    except OSError as error:
        if isinstance(error, FileNotFoundError) or system_errno(error):
            raise system_error(str(path), "read", error) from error
        msg = f"{path}: not a readable HDF5 file ({error})"
        raise DamagedInput(msg, remedy="was it copied to its end?") from error


@lru_cache(maxsize=1)
def _access() -> h5py.h5p.PropFAID:
    """How local files are opened: as `h5py.File` does, which makes this anew for each file.

    HDF5 keeps 2 MB of metadata, or more. In memory the index of chunks takes 280 bytes for each,
    many times as many as in the file: it is read once, and needs no cache.
    """
    import h5py

    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    unused, slots, _, preference = access.get_cache()
    access.set_cache(unused, slots, _CHUNK_CACHE, preference)
    metadata = access.get_mdc_config()
    metadata.set_initial_size = True
    metadata.initial_size = metadata.min_size = metadata.max_size = _METADATA_CACHE
    access.set_mdc_config(metadata)
    return access


_opened: ContextVar[dict[Path, h5py.File | None] | None] = ContextVar("opened", default=None)


@contextmanager
def opened_once() -> Iterator[dict[Path, h5py.File | None]]:
    """Open each path once for all formats that recognise it within this context, if it is HDF5."""
    outer = _opened.get()
    if outer is not None:
        yield outer
        return
    files: dict[Path, h5py.File | None] = {}
    token = _opened.set(files)
    try:
        yield files
    finally:
        _opened.reset(token)
        for file in files.values():
            if file is not None:
                file.close()


def recognise(path: Path, matches: Callable[[h5py.File], bool]) -> bool:
    """Whether a path is an HDF5 file with this content."""
    with opened_once() as files, errors_as_damaged_input(str(path)):
        if path not in files:
            files[path] = open_file(path) if is_hdf5(path) else None
        file = files[path]
        return file is not None and matches(file)


def get_checked(group: h5py.Group, name: str) -> Any:
    """The group or dataset of this name, which must be in the file itself with all its members.

    Raises
    ------
    DamagedInput
        If there is none, or it points to another file.
    """
    element = resolve_link(group, name)
    check_subtree(element)
    return element


def safe_keys(file: h5py.File, name: str) -> list[str]:
    """The names in a group; none if the file has no such group."""
    import h5py

    group = try_resolve(file, name)
    if isinstance(group, h5py.Group):
        # h5py gives bytes for a name that is not UTF-8.
        return sorted(decode_text(name) or "" for name in member_names(group))
    if isinstance(group, h5py.Dataset) and group.dtype.names:
        return list(group.dtype.names)
    return []


@contextmanager
def errors_as_damaged_input(label: str) -> Iterator[None]:
    """Turn the errors of h5py into DamagedInput, and name the location.

    Raises
    ------
    DamagedInput
        If HDF5 cannot read it to its end.
    """
    try:
        yield
    except InputError as error:
        note_once(error, f"in {label}")
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        # h5py raises these for errors of HDF5 and for unknown types.
        if isinstance(error, SlafError):
            raise
        if system_errno(error):
            raise system_error(label, "read", error) from error
        msg = f"{label} cannot be read to its end ({error})"
        raise DamagedInput(msg) from error


def numeric(dataset: h5py.Dataset, label: str) -> h5py.Dataset:
    """The dataset, if it holds numbers of at most 64 bits; loads the filters that it needs.

    Raises
    ------
    InputError
        If it holds anything else.
    """
    import h5py

    if not isinstance(dataset, h5py.Dataset):
        msg = f"{dataset.name} is a group, not an array"
        raise DamagedInput(msg)
    if is_enumeration(dataset):
        msg = f"{label} is an enumeration of HDF5, not numbers; write its values as numbers"
        raise InputError(msg)
    check_numeric(dataset.dtype, label)
    load_filters(dataset)
    return dataset


def parse_shape(shape: Any, label: str) -> tuple[int, int]:
    """The two sizes of a matrix.

    Raises
    ------
    DamagedInput
        If they are anything but two whole numbers from 0.
    """
    sizes = np.asarray(shape)
    if sizes.shape != (2,) or sizes.dtype.kind not in "iu" or (sizes < 0).any():
        msg = f"{label} has the shape {str(shape)[:60]}, not a number of cells and one of genes"
        raise DamagedInput(msg)
    return int(sizes[0]), int(sizes[1])


def load_filters(dataset: h5py.Dataset) -> None:
    """Register the filters of a dataset that HDF5 lacks: Blosc, zstd, bitshuffle."""
    if not _BUILTIN_FILTERS.issuperset(layout_of(dataset).filters):
        # Its import registers the filters.
        require("hdf5plugin", f"{dataset.file.filename}: the compression of {dataset.name}")


def decode_text(value: Any) -> str | None:
    """An attribute as a string; Julia writes bytes, R an array of one."""
    if type(value) is str:  # no text of numpy
        return value
    if isinstance(value, bytes):
        # Escaped where it is not UTF-8: no known name has escapes.
        return value.decode(errors="backslashreplace")
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        return decode_text(value.item())
    return None
