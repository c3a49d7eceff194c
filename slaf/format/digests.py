"""Digests of entries: the same numbers give the same one, however they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from slaf.sparse.casting import Float64WithRemainder

__all__ = ["BlockDigest", "MultisetHash", "table_digest"]


# Odd numbers without a pattern, as multiplicative hashing asks for.
_KEY, _VALUE, _REST, _MIX = (
    np.uint64(number)
    for number in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
)
_CELL, _HIGH, _LOW = np.uint64(32), np.uint64(29), np.uint64(32)

# So many entries at a time, for a pass over them to stay in the cache.
_PIECE = 1 << 15
_MODULUS = 1 << 64


class BlockDigest:
    """xxh3-128 over the rows per cell, the gene ids and the values of whole cells, in order.

    Lengths are taken as uint32, gene ids as uint32, values as float64, each in a stream of its
    own, so that neither the type a table stores, nor its compression, nor the batches it was
    read in change the result. Of integers beyond 2**53 what float64 leaves is hashed too,
    with its position.
    """

    def __init__(self) -> None:
        self._lengths = xxhash.xxh3_128()
        self._genes = xxhash.xxh3_128()
        self._values = xxhash.xxh3_128()
        self._rests = xxhash.xxh3_128()
        self._nnz = 0

    def add_lengths(self, counts: NDArray[np.int64]) -> None:
        """Take the numbers of rows of the next cells."""
        self._lengths.update(np.ascontiguousarray(counts, dtype="<u4").data)

    def add_entries(self, genes: NDArray[Any], widened: Float64WithRemainder) -> None:
        """Take the next gene ids and values, wherever they are cut."""
        values, rest = widened
        self._genes.update(np.ascontiguousarray(genes, dtype="<u4").data)
        self._values.update(np.ascontiguousarray(values, dtype="<f8").data)
        if rest is not None:
            at = np.flatnonzero(rest)
            self._rests.update(np.stack([at + self._nnz, rest[at]], axis=1).astype("<i8").data)
        self._nnz += len(genes)

    def hexdigest(self) -> str:
        """The digest of all that was taken, 32 hexadecimal characters."""
        streams = (self._lengths, self._genes, self._values, self._rests)
        return xxhash.xxh3_128(b"".join(stream.digest() for stream in streams)).hexdigest()


class MultisetHash:
    """The sum, modulo 2**64, of a hash of each entry: of its cell, its gene and its value.

    The order of the entries makes no difference, which lets tables in different orders be held
    against each other: one entry that is missing, doubled or changed makes another sum.
    """

    def __init__(self, total: int = 0) -> None:
        self._total = total

    def add(self, cells: NDArray[Any], genes: NDArray[Any], widened: Float64WithRemainder) -> None:
        """Take entries; positions of cells and genes, and values as `as_float64` gives them."""
        values, rest = widened
        for start in range(0, len(values), _PIECE):
            piece = slice(start, start + _PIECE)
            mixed = cells[piece].astype(np.uint64)
            mixed <<= _CELL
            mixed |= genes[piece].astype(np.uint64)
            mixed *= _KEY
            mixed += values[piece].view(np.uint64) * _VALUE
            if rest is not None:
                mixed += rest[piece].view(np.uint64) * _REST
            mixed ^= mixed >> _HIGH
            mixed *= _MIX
            mixed ^= mixed >> _LOW
            self._total += int(mixed.sum(dtype=np.uint64))

    def hexdigest(self) -> str:
        """16 hexadecimal characters."""
        return f"{self._total % _MODULUS:016x}"

    @classmethod
    def total(cls, parts: Iterable[str]) -> str:
        """The fingerprint of all entries, by those of parts of them."""
        return cls(sum(int(part, 16) for part in parts)).hexdigest()


def table_digest(table: pa.Table) -> str:
    """The xxh3-128 of the digests of all columns, in their order.

    Of a column are hashed its name, its type, which of its rows have a value, and the values.
    Neither how it is cut into chunks, nor what stands behind a missing value, nor the categories
    of a column where no row has one, changes the result: those Lance does not keep.
    """
    whole = xxhash.xxh3_128()
    for name, column in zip(table.column_names, table.columns, strict=True):
        streams = _Streams()
        streams.add("name", name.encode())
        _add(streams, "", column)
        whole.update(streams.digest())
    return whole.hexdigest()


class _Streams:
    """Bytes that come in pieces, hashed apart by what they are."""

    def __init__(self) -> None:
        self._hashes: dict[str, Any] = {}

    def add(self, name: str, data: Any) -> None:
        self._hashes.setdefault(name, xxhash.xxh3_128()).update(data)

    def digest(self) -> bytes:
        return b"".join(name.encode() + found.digest() for name, found in self._hashes.items())


def _add(streams: _Streams, at: str, column: pa.ChunkedArray) -> None:
    """Take a column; `at` tells it from the others that it is inside of, or beside."""
    dtype = column.type
    streams.add(f"{at}valid", b"")
    for chunk in column.chunks:
        streams.add(f"{at}valid", chunk.is_valid().to_numpy(zero_copy_only=False).astype("u1").data)
    if pa.types.is_dictionary(dtype):
        streams.add(f"{at}type", b"dictionary")
        if column.null_count < len(column):
            one = column.unify_dictionaries()
            categories = pa.chunked_array([one.chunk(0).dictionary])
            _add(streams, f"{at}categories.", categories)
            _add(streams, f"{at}codes.", pa.chunked_array([c.indices for c in one.chunks]))
        return
    present = column.drop_null()
    if pa.types.is_fixed_size_list(dtype):
        streams.add(f"{at}type", f"list of {dtype.list_size}".encode())
        flat = [chunk.flatten() for chunk in present.chunks]
        _add(streams, f"{at}items.", pa.chunked_array(flat, dtype.value_type))
        return
    streams.add(f"{at}type", str(dtype).encode())
    for name, data in _pieces(present):
        streams.add(f"{at}{name}", data)


def _pieces(column: pa.ChunkedArray) -> Iterator[tuple[str, Any]]:
    """The bytes of values none of which is missing."""
    dtype = column.type
    for chunk in filter(len, column.chunks):
        if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
            yield from _text(chunk)
        elif pa.types.is_temporal(dtype):
            yield "values", _little(chunk.view(f"int{dtype.bit_width}").to_numpy())
        else:
            yield "values", _little(chunk.to_numpy(zero_copy_only=False))


def _text(chunk: pa.Array) -> Iterator[tuple[str, Any]]:
    _, ends, text = chunk.buffers()
    width = np.dtype("<i8" if pa.types.is_large_string(chunk.type) else "<i4")
    at = np.frombuffer(ends, width)[chunk.offset : chunk.offset + len(chunk) + 1]
    yield "lengths", np.diff(at).astype("<i8").data
    yield "text", b"" if text is None else memoryview(text)[int(at[0]) : int(at[-1])]


def _little(values: np.ndarray[Any, Any]) -> Any:
    """Numbers and booleans as bytes, the least first.

    Raises
    ------
    TypeError
        If they are anything else.
    """
    if values.dtype.kind not in "biuf":
        msg = f"a column of {values.dtype} has no digest"
        raise TypeError(msg)
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data
