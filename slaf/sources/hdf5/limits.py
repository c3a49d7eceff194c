"""Refuse decompression bombs: compare the declared size of an input with its stored bytes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from slaf.errors import DamagedInput
from slaf.sources.hdf5.chunks import check_chunks, size_in_file
from slaf.sources.hdf5.elements import kept, layout_of, member_names
from slaf.sources.hdf5.links import resolve_link

if TYPE_CHECKING:
    import h5py

__all__ = [
    "ALWAYS_ALLOWED_BYTES",
    "MAX_RATIO",
    "MAX_RATIO_OF_ZEROS",
    "NARROW",
    "check_arrays",
    "check_dense",
    "check_expansion_ratio",
    "check_table",
]


# The best compression makes real matrices and tables 50 times smaller, gzip at most 1,032 times.
MAX_RATIO = 200
MAX_RATIO_OF_ZEROS = 1_100

# A smaller size is never a bomb.
ALWAYS_ALLOWED_BYTES = 64 << 20

# A column of elements of at most so many bytes may repeat one number in all rows of a table.
NARROW = 16


def check_expansion_ratio(label: str, stored: int, declared: int, ratio: int = MAX_RATIO) -> None:
    """Refuse a declared size far above the stored bytes.

    Raises
    ------
    DamagedInput
        If it is more than 64 MiB, and more than `ratio` times the stored bytes.
    """
    if declared > max(ALWAYS_ALLOWED_BYTES, ratio * stored):
        msg = (
            f"{label} claims {declared:,} bytes or more, but stores {stored:,}: no matrix or table "
            f"can be packed {ratio} times smaller"
        )
        raise DamagedInput(msg, remedy="if it is right, write it anew without packing it")


def check_dense(array: h5py.Dataset) -> None:
    """Check the size of a dense matrix, which may be mostly zeros, and of its chunks.

    Raises
    ------
    DamagedInput
        If it is mostly missing, or packed more than gzip can.
    """
    name, stored, declared = str(array.name), _stored_bytes(array), _declared_bytes(array)
    check_expansion_ratio(name, stored, declared, MAX_RATIO_OF_ZEROS)
    if chunks := layout_of(array).chunks:
        # A chunk is decoded whole.
        chunk = math.prod(chunks) * size_in_file(array)
        check_expansion_ratio(f"each chunk of {name}", stored * chunk // max(declared, 1), chunk)


def check_arrays(label: str, *arrays: h5py.Dataset) -> None:
    """Check the size of some arrays together.

    Raises
    ------
    DamagedInput
        If they are mostly missing, or packed more than real data.
    """
    stored, declared = sum(map(_stored_bytes, arrays)), sum(map(_declared_bytes, arrays))
    check_expansion_ratio(label, stored, declared)


def check_table(table: Any, n_rows: int) -> None:
    """Check the size of all arrays in a table with so many checked ids.

    Raises
    ------
    DamagedInput
        If an array is mostly missing, packed more than real data, or has chunks of a wrong size.
    """
    _check_members(table, n_rows, set())


def _check_members(element: Any, n_rows: int, seen: set[int]) -> None:
    import h5py

    if isinstance(element, h5py.Dataset):
        if element.shape != (n_rows,) or size_in_file(element) > NARROW:
            check_arrays(str(element.name), element)
        check_chunks(element)
        return
    address = h5py.h5o.get_info(element.id).addr
    if isinstance(element, h5py.Group) and address not in seen:
        seen.add(address)
        for name in member_names(element):
            _check_members(resolve_link(element, name), n_rows, seen)


def _declared_bytes(array: h5py.Dataset) -> int:
    """The bytes of all chunks, or of the array without chunks."""
    shape = array.shape
    if shape is None:
        return 0
    pairs = zip(shape, layout_of(array).chunks or (1,) * len(shape), strict=True)
    elements: int = math.prod(-(-int(size) // chunk) * chunk for size, chunk in pairs)
    return elements * size_in_file(array)


def _stored_bytes(array: h5py.Dataset) -> int:
    if array.dtype.kind == "O":
        # Strings are stored elsewhere in the file, with their own lengths.
        of_file = kept(array).of_file
        if "size" not in of_file:
            of_file["size"] = int(array.file.id.get_filesize())
        return int(of_file["size"])
    return int(array.id.get_storage_size())
