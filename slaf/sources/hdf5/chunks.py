"""The raw chunks of HDF5 datasets, unpacked to just the bytes that they must have.

HDF5 itself does not look: where a chunk unpacks to less than its size, it gives whatever lay in
memory behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slaf.errors import DamagedInput

if TYPE_CHECKING:
    import h5py

__all__ = [
    "DEFLATE",
    "SHUFFLE",
    "check_chunks",
    "decode_chunk",
    "filters_of",
    "is_plain",
    "size_in_file",
]


# https://github.com/HDFGroup/hdf5/blob/develop/src/H5Zpublic.h
DEFLATE, SHUFFLE, _CHECKSUM = 1, 2, 3
_KNOWN = frozenset({DEFLATE, SHUFFLE, _CHECKSUM})
_CHECKSUM_BYTES = 4


def filters_of(dataset: h5py.Dataset) -> tuple[int, ...]:
    """The filters of a dataset, in the order in which they packed it."""
    properties = dataset.id.get_create_plist()
    return tuple(properties.get_filter(i)[0] for i in range(properties.get_nfilters()))


def is_plain(dataset: h5py.Dataset) -> bool:
    """Whether numbers are in the file as they are in memory, or something else is.

    HDF5 also has integers of some bits of their bytes, and floats with other exponents.
    """
    import h5py

    if dataset.dtype.kind not in "iuf":
        return True
    return bool(dataset.id.get_type().equal(h5py.h5t.py_create(dataset.dtype, logical=True)))


def size_in_file(dataset: h5py.Dataset) -> int:
    """The bytes of an element; of a string of any length, those of what says where it is."""
    import h5py

    if h5py.check_vlen_dtype(dataset.dtype) is None:
        return int(dataset.id.get_type().get_size())
    # Its length, an address and a number there:
    # https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html#DatatypeMessage
    return 4 + int(dataset.file.id.get_create_plist().get_sizes()[0]) + 4


def decode_chunk(
    packed: bytes, filters: tuple[int, ...], skipped: int, *, size: int, itemsize: int, place: str
) -> bytes | memoryview:
    """What a chunk holds, which must be `size` bytes.

    Parameters
    ----------
    packed
        As it lies in the file.
    filters, skipped
        What the dataset is packed with, and in bits those that this chunk was not.
    size, itemsize
        The bytes of the chunk, and of one of its elements.
    place
        Where it is, for errors.

    Raises
    ------
    DamagedInput
        If it is anything else.
    """
    applied = [found for bit, found in enumerate(filters) if not skipped >> bit & 1]
    # How long it is before each of them: a checksum is behind what is checked.
    sizes = [size + _CHECKSUM_BYTES * applied[:at].count(_CHECKSUM) for at in range(len(applied))]
    raw: bytes | memoryview = packed
    for found, length in zip(reversed(applied), reversed(sizes), strict=True):
        if found == _CHECKSUM:
            raw = raw[:-_CHECKSUM_BYTES]
        elif found == DEFLATE:
            raw = _inflated(raw, length, place)
        elif found == SHUFFLE:
            raw = _unshuffled(raw, itemsize)
    if len(raw) != size:
        msg = f"{place} holds {len(raw):,} bytes where {size:,} are needed"
        raise DamagedInput(msg)
    return raw


def _unshuffled(raw: bytes | memoryview, itemsize: int) -> memoryview:
    """Elements, of which first all first bytes were stored, then all second ones, and so on."""
    count = len(raw) // itemsize
    planes = np.frombuffer(raw, np.uint8, count * itemsize).reshape(itemsize, count)
    elements = np.zeros((count, itemsize), np.uint8)
    for at, plane in enumerate(planes):
        # Of small numbers most bytes are zero: to look costs a tenth of moving them.
        if count and plane.max():
            elements[:, at] = plane
    if count * itemsize == len(raw):
        return elements.reshape(-1).data
    # A checksum, say: less than an element stays behind them as it is.
    return memoryview(elements.tobytes() + bytes(raw[count * itemsize :]))


def check_chunks(dataset: h5py.Dataset) -> None:
    """Check that each chunk unpacks to its size, of a dataset that HDF5 itself will read.

    Of filters that HDF5 does not bring only their presence is known: they keep sizes of their own.

    Raises
    ------
    DamagedInput
        Naming the first that does not.
    """
    if dataset.chunks is None or not dataset.size:
        return
    if dataset.dtype.fields and dataset.dtype.hasobject:
        return  # records of strings of any length, whose size nothing tells
    filters, itemsize = filters_of(dataset), size_in_file(dataset)
    size = int(np.prod(dataset.chunks)) * itemsize
    for info in _stored_chunks(dataset):
        applied = {f for bit, f in enumerate(filters) if not info.filter_mask >> bit & 1}
        place = f"{dataset.name}: the chunk at {', '.join(map(str, info.chunk_offset))}"
        if DEFLATE in applied and applied <= _KNOWN:
            skipped, packed = dataset.id.read_direct_chunk(info.chunk_offset)
            decode_chunk(packed, filters, skipped, size=size, itemsize=itemsize, place=place)
        elif applied <= _KNOWN:
            found = info.size - (_CHECKSUM_BYTES if _CHECKSUM in applied else 0)
            if found != size:
                msg = f"{place} holds {found:,} bytes where {size:,} are needed"
                raise DamagedInput(msg)


def _stored_chunks(dataset: h5py.Dataset) -> list[h5py.h5d.StoreInfo]:
    found: list[h5py.h5d.StoreInfo] = []
    dataset.id.chunk_iter(found.append)
    return found


def _inflated(packed: bytes | memoryview, size: int, place: str) -> bytes:
    from isal import isal_zlib

    inflater = isal_zlib.decompressobj()
    try:
        found: bytes = inflater.decompress(packed, size + 1)
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub says it is an object
        msg = f"{place} cannot be inflated ({error})"
        raise DamagedInput(msg) from error
    if len(found) != size or not inflater.eof:
        msg = f"{place} does not inflate to {size:,} bytes"
        raise DamagedInput(msg)
    return found
