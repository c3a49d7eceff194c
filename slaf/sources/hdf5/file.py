"""HDF5 files from strangers: opened read-only, with nothing that points outside of them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from slaf.errors import DamagedInput, InputError, SlafError, StorageError
from slaf.sources.hdf5.links import check_subtree, resolve_link, try_resolve
from slaf.storage.paths import as_remote

if TYPE_CHECKING:
    from collections.abc import Iterator
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
    "parse_shape",
    "safe_keys",
]


# The signature stands at the start, or after a user block of 512 bytes or a doubling of it:
# https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html#Superblock
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_USER_BLOCKS = (0, 512, 1024, 2048, 4096)

# Enough to keep the last chunks of a run of slices decoded for the next one.
_CHUNK_CACHE = 8 << 20

# deflate, shuffle, fletcher32, szip, nbit, scaleoffset; and lzf, which h5py brings.
_BUILTIN_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})


def is_hdf5(path: Path) -> bool:
    """Whether a file starts as HDF5 does."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return any(_signature_at(file, start) for start in _USER_BLOCKS)
    except SlafError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error


def _signature_at(file: IO[bytes], start: int) -> bool:
    file.seek(start)
    return file.read(len(_SIGNATURE)) == _SIGNATURE


def _unreadable(path: Path, error: OSError) -> StorageError:
    msg = f"{path}: cannot read it: {error.strerror}; check that you may"
    return StorageError(error.errno, msg)


def open_file(path: Path) -> h5py.File:
    """Open for reading.

    Raises
    ------
    DamagedInput
        If it is cut short, or not HDF5.
    StorageError
        If the system does not let us read it.
    """
    import h5py

    elsewhere = as_remote(path)
    try:
        place = path if elsewhere is None else elsewhere.open_random()
        return h5py.File(place, "r", rdcc_nbytes=_CHUNK_CACHE)
    except SlafError:
        raise
    except (FileNotFoundError, PermissionError) as error:
        raise _unreadable(path, error) from error
    except OSError as error:
        msg = f"{path}: not a readable HDF5 file ({error})"
        raise DamagedInput(msg, remedy="was it copied to its end?") from error


def get_checked(group: h5py.Group, name: str) -> Any:
    """The group or dataset of this name, which must lie in the file itself, with all below it.

    Raises
    ------
    DamagedInput
        If it is not there, or points to another file.
    """
    found = resolve_link(group, name)
    check_subtree(found)
    return found


def safe_keys(file: h5py.File, name: str) -> list[str]:
    """The names in a group; none if there is no such group in this file."""
    import h5py

    group = try_resolve(file, name)
    if isinstance(group, h5py.Group):
        # h5py gives bytes for a name that is not UTF-8.
        return sorted(decode_text(name) or "" for name in group)
    if isinstance(group, h5py.Dataset) and group.dtype.names:
        return list(group.dtype.names)
    return []


@contextmanager
def errors_as_damaged_input(place: str) -> Iterator[None]:
    """Surround reading of `place`, which errors then name.

    Raises
    ------
    DamagedInput
        For whatever HDF5 cannot read to its end.
    """
    try:
        yield
    except InputError as error:
        error.add_note(f"in {place}")
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        # All of these are what h5py makes of HDF5's errors, and of types that it does not know.
        if isinstance(error, SlafError):
            raise
        msg = f"{place} cannot be read to its end ({error})"
        raise DamagedInput(msg) from error


def numeric(dataset: h5py.Dataset, place: str) -> h5py.Dataset:
    """The dataset, if it is one of numbers of at most 64 bits, with the filters that it needs.

    Raises
    ------
    InputError
        If it holds anything else.
    """
    import h5py

    if not isinstance(dataset, h5py.Dataset):
        msg = f"{dataset.name} is a group, not an array"
        raise DamagedInput(msg)
    if dataset.dtype.kind not in "biuf" or dataset.dtype.itemsize > 8:  # noqa: PLR2004
        msg = (
            f"{place} holds values of type {dataset.dtype}, which no table holds exactly; write "
            "them as integers or floats of at most 64 bits"
        )
        raise InputError(msg)
    load_filters(dataset)
    return dataset


def parse_shape(shape: Any, place: str) -> tuple[int, int]:
    """Two sizes as a file has them.

    Raises
    ------
    DamagedInput
        If they are anything but two whole numbers from 0.
    """
    found = np.asarray(shape)
    if found.shape != (2,) or found.dtype.kind not in "iu" or (found < 0).any():
        msg = f"{place} has the shape {str(shape)[:60]}, not a number of cells and one of genes"
        raise DamagedInput(msg)
    return int(found[0]), int(found[1])


def load_filters(dataset: h5py.Dataset) -> None:
    """Make the filters of a dataset known that HDF5 does not bring: Blosc, zstd, bitshuffle."""
    properties = dataset.id.get_create_plist()
    used = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
    if used - _BUILTIN_FILTERS:
        pass


def decode_text(value: Any) -> str | None:
    """An attribute as a string; Julia writes bytes, R writes arrays of one."""
    if isinstance(value, bytes):
        # What is no UTF-8 is no name that is known either.
        return value.decode(errors="backslashreplace")
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        return decode_text(value.item())
    return value if isinstance(value, str) else None
