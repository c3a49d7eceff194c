"""What an input claims to hold, against the bytes that it has: a bomb is refused unexploded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from slaf.errors import DamagedInput
from slaf.sources.hdf5.chunks import check_chunks, size_in_file
from slaf.sources.hdf5.links import resolve_link

if TYPE_CHECKING:
    import h5py

__all__ = [
    "ALWAYS_ALLOWED_BYTES",
    "check_arrays",
    "check_dense",
    "check_expansion_ratio",
    "check_table",
]


# What packs real matrices and tables best makes them 50 times smaller, and gzip nothing more than
# 1,032 times. Whatever comes of a file that is packed so far is bounded by the file's own size.
_MOST = 200
_MOST_OF_ZEROS = 1_100

# Below this nothing is a bomb, however empty it is.
ALWAYS_ALLOWED_BYTES = 64 << 20

# In a table whose rows are known to be there, a column of numbers may be one number.
_NARROW = 16


def check_expansion_ratio(place: str, stored: int, claimed: int, most: int = _MOST) -> None:
    """Refuse what claims far more bytes than it has.

    Raises
    ------
    DamagedInput
        If they are more than 64 MiB, and more than `most` times those that are stored.
    """
    if claimed > max(ALWAYS_ALLOWED_BYTES, most * stored):
        msg = (
            f"{place} claims {claimed:,} bytes or more, but stores {stored:,}: no matrix or table "
            f"can be packed {most} times smaller"
        )
        raise DamagedInput(msg, remedy="if it is right, write it anew without packing it")


def check_dense(array: h5py.Dataset) -> None:
    """Hold what a matrix with all its zeros claims against the bytes that its chunks have.

    It is read piece by piece, and gzip packs zeros as far as it can.

    Raises
    ------
    DamagedInput
        If it is mostly not there, or packed as nothing can be.
    """
    place, stored, claimed = str(array.name), _stored(array), _claimed(array)
    check_expansion_ratio(place, stored, claimed, _MOST_OF_ZEROS)
    if array.chunks:
        # They are unpacked whole.
        each = math.prod(array.chunks) * size_in_file(array)
        check_expansion_ratio(f"each chunk of {place}", stored * each // max(claimed, 1), each)


def check_arrays(place: str, *arrays: h5py.Dataset) -> None:
    """Hold what some arrays of HDF5 claim together against the bytes that their chunks have.

    Raises
    ------
    DamagedInput
        If they are mostly not there, or packed as nothing real is.
    """
    check_expansion_ratio(place, sum(map(_stored, arrays)), sum(map(_claimed, arrays)))


def check_table(table: Any, n_rows: int) -> None:
    """The same of all that lies in a table of so many rows, which have ids that are there.

    Raises
    ------
    DamagedInput
        If a part of it is mostly not there, packed as nothing real is, or has chunks that do
        not fill their place.
    """
    _check_below(table, n_rows, set())


def _check_below(element: Any, n_rows: int, seen: set[int]) -> None:
    import h5py

    if isinstance(element, h5py.Dataset):
        if element.shape != (n_rows,) or size_in_file(element) > _NARROW:
            check_arrays(str(element.name), element)
        check_chunks(element)
        return
    address = h5py.h5o.get_info(element.id).addr
    if isinstance(element, h5py.Group) and address not in seen:
        seen.add(address)
        for name in element:
            _check_below(resolve_link(element, name), n_rows, seen)


def _claimed(array: h5py.Dataset) -> int:
    """The bytes of all its chunks, or of the whole where there are none."""
    if array.shape is None:
        return 0
    count = size_in_file(array)
    for size, piece in zip(array.shape, array.chunks or (1,) * array.ndim, strict=True):
        count *= -(-int(size) // piece) * piece
    return count


def _stored(array: h5py.Dataset) -> int:
    if array.dtype.kind == "O":
        # Strings lie elsewhere in the file, each at its length.
        return int(array.file.id.get_filesize())
    return int(array.id.get_storage_size())
