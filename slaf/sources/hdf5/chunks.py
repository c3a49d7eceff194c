"""Decode raw chunks of HDF5 datasets, and check their sizes.

HDF5 itself does not check: for a chunk that is too short it returns other memory of the process.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from isal import isal_zlib

from slaf.errors import DamagedInput
from slaf.kernels import kernels
from slaf.sources.hdf5.elements import kept, layout_of

if TYPE_CHECKING:
    import h5py

__all__ = [
    "DEFLATE",
    "SHUFFLE",
    "ChunkLabel",
    "check_chunks",
    "decode_chunk",
    "impossible_chunk",
    "inflate",
    "is_plain",
    "largest_chunk",
    "size_in_file",
    "stored_chunks",
]


# https://github.com/HDFGroup/hdf5/blob/develop/src/H5Zpublic.h
DEFLATE, SHUFFLE, _CHECKSUM = 1, 2, 3
_KNOWN = frozenset({DEFLATE, SHUFFLE, _CHECKSUM})
_CHECKSUM_BYTES = 4

# Encoding makes incompressible data larger by less than this.
_SLACK_BYTES = 64 << 10

# So few bytes inflate to at most 1,032 times as many, and may do so at once, which is faster.
_SMALL_BYTES = 16 << 10


def is_plain(dataset: h5py.Dataset) -> bool:
    """Whether an array holds no numbers, or has them in the file as in memory.

    HDF5 also has integers that use some bits of their bytes, and floats with other exponents.
    """
    import h5py

    if dataset.dtype.kind not in "iuf":
        return True
    return bool(dataset.id.get_type().equal(h5py.h5t.py_create(dataset.dtype, logical=True)))


def size_in_file(dataset: h5py.Dataset) -> int:
    """The bytes of an element; for a string of variable length, those of its reference."""
    known = kept(dataset)
    if known.itemsize is None:
        known.itemsize = _size_in_file(dataset, known.of_file)
    return known.itemsize


def _size_in_file(dataset: h5py.Dataset, of_file: dict[str, Any]) -> int:
    import h5py

    if h5py.check_vlen_dtype(dataset.dtype) is None:
        return int(dataset.id.get_type().get_size())
    # A length, an address and an index:
    # https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html#DatatypeMessage
    if "address" not in of_file:
        of_file["address"] = int(dataset.file.id.get_create_plist().get_sizes()[0])
    return 4 + int(of_file["address"]) + 4


def decode_chunk(
    packed: bytes,
    filters: tuple[int, ...],
    skipped: int,
    *,
    size: int,
    itemsize: int,
    label: object,
) -> bytes | memoryview:
    """The `size` bytes of a chunk.

    Parameters
    ----------
    packed
        The chunk in the file.
    filters, skipped
        The filters of the dataset, and a bit for each that this chunk has skipped.
    size, itemsize
        The bytes of the chunk, and of one of its elements.
    label
        Its location, as text for errors only.

    Raises
    ------
    DamagedInput
        If it has another size.
    """
    raw: bytes | memoryview = packed
    for name, length in _undone(filters, skipped, size):
        if name == _CHECKSUM:
            raw = raw[:-_CHECKSUM_BYTES]
        elif name == DEFLATE:
            raw = inflate(raw, length, label)
        elif name == SHUFFLE:
            raw = _unshuffle(raw, itemsize)
    if len(raw) != size:
        msg = f"{label} holds {len(raw):,} bytes where {size:,} are needed"
        raise DamagedInput(msg)
    return raw


@lru_cache
def _undone(filters: tuple[int, ...], skipped: int, size: int) -> tuple[tuple[int, int], ...]:
    """The filters that a chunk went through, the last first, and its bytes before each."""
    applied = [name for bit, name in enumerate(filters) if not skipped >> bit & 1]
    # A checksum follows the data.
    sizes = [size + _CHECKSUM_BYTES * applied[:at].count(_CHECKSUM) for at in range(len(applied))]
    return tuple(zip(reversed(applied), reversed(sizes), strict=True))


def _unshuffle(raw: bytes | memoryview, itemsize: int) -> memoryview:
    """Elements whose first bytes were stored together, then their second bytes, and so on."""
    whole = len(raw) - len(raw) % itemsize
    elements = kernels().unshuffle(raw[:whole], itemsize)
    if whole == len(raw):
        return elements.data
    # A rest of less than an element, such as a checksum, is not shuffled.
    return memoryview(elements.tobytes() + bytes(raw[whole:]))


def check_chunks(dataset: h5py.Dataset) -> None:
    """Check that each chunk decodes to its size, before HDF5 itself reads a dataset.

    Chunks with filters that HDF5 lacks are not checked: these filters check sizes themselves.

    Raises
    ------
    DamagedInput
        Naming the first chunk of another size.
    """
    layout, dtype = layout_of(dataset), dataset.dtype
    if layout.chunks is None or 0 in (dataset.shape or (0,)):
        return
    if dtype.fields and dtype.hasobject:
        return  # records with strings of variable length, of unknown size
    filters, itemsize = layout.filters, size_in_file(dataset)
    size = math.prod(layout.chunks) * itemsize
    for info in stored_chunks(dataset):
        applied = {f for bit, f in enumerate(filters) if not info.filter_mask >> bit & 1}
        label = ChunkLabel(str(dataset.name), info.chunk_offset)
        if DEFLATE in applied and applied <= _KNOWN:
            skipped, packed = dataset.id.read_direct_chunk(info.chunk_offset)
            decode_chunk(packed, filters, skipped, size=size, itemsize=itemsize, label=label)
        elif applied <= _KNOWN:
            n_bytes = info.size - (_CHECKSUM_BYTES if _CHECKSUM in applied else 0)
            if n_bytes != size:
                msg = f"{label} holds {n_bytes:,} bytes where {size:,} are needed"
                raise DamagedInput(msg)


def impossible_chunk(label: ChunkLabel) -> DamagedInput:
    """The error that a chunk cannot be where its file says, or of that size."""
    return DamagedInput(f"{label} is larger than it can be, or lies beyond its file")


def largest_chunk(dataset: h5py.Dataset) -> int:
    """The most bytes that a chunk may take in a file: encoding makes none much larger."""
    chunk = math.prod(layout_of(dataset).chunks or ()) * dataset.dtype.itemsize
    return int(2 * chunk) + _SLACK_BYTES


def stored_chunks(dataset: h5py.Dataset) -> list[h5py.h5d.StoreInfo]:
    """The chunks of a dataset that were written, in one pass over their index."""
    chunks: list[h5py.h5d.StoreInfo] = []
    dataset.id.chunk_iter(chunks.append)
    return chunks


class ChunkLabel(NamedTuple):
    """The location of a chunk in a dataset, which errors alone write as text."""

    name: str
    origin: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}: the chunk at {', '.join(f'{start:,}' for start in self.origin)}"


def inflate(packed: bytes | memoryview, size: int, label: object, window: int = 15) -> bytes:
    """Inflate to exactly `size` bytes; `window` as in `zlib.decompressobj`, 31 for gzip.

    Raises
    ------
    DamagedInput
        If it inflates to another size.
    """
    is_whole, raw = True, b""
    try:
        if len(packed) <= _SMALL_BYTES:
            raw = isal_zlib.decompress(packed, window, size + 1)
        else:
            inflater = isal_zlib.decompressobj(window)
            raw = inflater.decompress(packed, size + 1)
            is_whole = inflater.eof
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub says it is an object
        msg = f"{label} cannot be inflated ({error})"
        raise DamagedInput(msg) from error
    if len(raw) != size or not is_whole:
        msg = f"{label} does not inflate to {size:,} bytes"
        raise DamagedInput(msg)
    return raw
