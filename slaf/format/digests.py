"""Digests of blocks and tables: equal values have equal digests, however they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

from slaf.annotations.lazy_table import LazyTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from slaf.annotations.lazy_table import AnyTable
    from slaf.sparse.casting import Float64WithRemainder

__all__ = ["BlockDigest", "MultisetHash", "table_digest"]


# Odd numbers without a pattern, for multiplicative hashing.
_KEY, _VALUE, _REMAINDER, _MIX = (
    np.uint64(number)
    for number in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
)
_CELL, _HIGH, _LOW = np.uint64(32), np.uint64(29), np.uint64(32)

# The entries of a pass, which stay in the cache of a core.
_PIECE = 1 << 15

# Rows of a column that are added at a time.
_ROWS = 1 << 18
_MODULUS = 1 << 64


class BlockDigest:
    """xxh3-128 of the rows per cell, the gene ids and the values of whole cells, in order.

    Lengths are hashed as uint32, gene ids as uint32, values as float64, each in its own stream:
    stored types, compression and batch boundaries do not change the result. The remainder of
    integers beyond 2**53 in float64 is hashed too, with its position.
    """

    def __init__(self) -> None:
        self._lengths = xxhash.xxh3_128()
        self._genes = xxhash.xxh3_128()
        self._values = xxhash.xxh3_128()
        self._remainders = xxhash.xxh3_128()
        self._nnz = 0

    def add_lengths(self, counts: NDArray[np.int64]) -> None:
        """Add the numbers of rows of the next cells."""
        self._lengths.update(np.ascontiguousarray(counts, dtype="<u4").data)

    def add_entries(self, genes: NDArray[Any], widened: Float64WithRemainder) -> None:
        """Add the next gene ids and values, in batches of any size."""
        values, remainder = widened
        self._genes.update(np.ascontiguousarray(genes, dtype="<u4").data)
        self._values.update(np.ascontiguousarray(values, dtype="<f8").data)
        if remainder is not None:
            at = np.flatnonzero(remainder)
            self._remainders.update(
                np.stack([at + self._nnz, remainder[at]], axis=1).astype("<i8").data
            )
        self._nnz += len(genes)

    def hexdigest(self) -> str:
        """The digest of all that was added, 32 hexadecimal characters."""
        streams = (self._lengths, self._genes, self._values, self._remainders)
        return xxhash.xxh3_128(b"".join(stream.digest() for stream in streams)).hexdigest()


class MultisetHash:
    """The sum modulo 2**64 of a hash of each entry: its cell, gene and value.

    It is independent of order, so that tables in different orders can be compared: a missing,
    repeated or changed entry makes another sum.
    """

    def __init__(self, total: int = 0) -> None:
        self._total = total

    def add(self, cells: NDArray[Any], genes: NDArray[Any], widened: Float64WithRemainder) -> None:
        """Add entries: positions of cells and genes, and values as returned by `as_float64`."""
        values, remainder = widened
        for start in range(0, len(values), _PIECE):
            piece = slice(start, start + _PIECE)
            mixed = cells[piece].astype(np.uint64)
            mixed <<= _CELL
            mixed |= genes[piece].astype(np.uint64)
            mixed *= _KEY
            mixed += values[piece].view(np.uint64) * _VALUE
            if remainder is not None:
                mixed += remainder[piece].view(np.uint64) * _REMAINDER
            mixed ^= mixed >> _HIGH
            mixed *= _MIX
            mixed ^= mixed >> _LOW
            self._total += int(mixed.sum(dtype=np.uint64))

    def hexdigest(self) -> str:
        """The hash of all that was added, 16 hexadecimal characters."""
        return f"{self._total % _MODULUS:016x}"

    @classmethod
    def total(cls, parts: Iterable[str]) -> str:
        """The hash of all entries, from the hashes of parts of them."""
        return cls(sum(int(part, 16) for part in parts)).hexdigest()


def table_digest(table: AnyTable) -> str:
    """The xxh3-128 of the digests of all columns, in their order.

    The digest of a column covers its name, type, validity and values. Chunks, the bytes of
    missing values, and the categories of a column without values do not change it: Lance does not
    keep these.
    """
    pieces = table.pieces() if isinstance(table, LazyTable) else iter([table])
    streams = [_Streams() for _ in table.column_names]
    for name, of_column in zip(table.column_names, streams, strict=True):
        of_column.add_once("name", name.encode())
    for piece in pieces:
        for of_column, column in zip(streams, piece.columns, strict=True):
            _add(of_column, "", column)
    return xxhash.xxh3_128(b"".join(one.digest() for one in streams)).hexdigest()


class _Streams:
    """Named streams of bytes, each with its own hash."""

    def __init__(self) -> None:
        self._hashes: dict[str, Any] = {}

    def add(self, name: str, data: Any) -> None:
        self._hashes.setdefault(name, xxhash.xxh3_128()).update(data)

    def add_once(self, name: str, data: bytes) -> bool:
        """Add what all pieces of a column have alike; whether this one is the first."""
        is_first = name not in self._hashes
        if is_first:
            self.add(name, data)
        return is_first

    def digest(self) -> bytes:
        return b"".join(name.encode() + stream.digest() for name, stream in self._hashes.items())


def _add(streams: _Streams, prefix: str, column: pa.ChunkedArray) -> None:
    """Add a column to the streams whose names begin with a prefix."""
    dtype = column.type
    streams.add(f"{prefix}valid", b"")
    for chunk in column.chunks:
        streams.add(
            f"{prefix}valid", chunk.is_valid().to_numpy(zero_copy_only=False).astype("u1").data
        )
    if pa.types.is_dictionary(dtype):
        is_first = streams.add_once(f"{prefix}type", b"dictionary")
        if column.null_count < len(column):
            unified = column.unify_dictionaries()
            categories = pa.chunked_array([unified.chunk(0).dictionary])
            if is_first:
                _add(streams, f"{prefix}categories.", categories)
            _add(streams, f"{prefix}codes.", pa.chunked_array([c.indices for c in unified.chunks]))
        return
    present = _split(column.drop_null())
    if pa.types.is_fixed_size_list(dtype):
        streams.add_once(f"{prefix}type", f"list of {dtype.list_size}".encode())
        flat = [chunk.flatten() for chunk in present.chunks]
        _add(streams, f"{prefix}items.", pa.chunked_array(flat, dtype.value_type))
        return
    streams.add_once(f"{prefix}type", str(dtype).encode())
    for name, data in _pieces(present):
        streams.add(f"{prefix}{name}", data)


def _split(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same column in chunks of so few rows that what is made of one takes little memory."""
    chunks = [
        chunk.slice(at, _ROWS) for chunk in column.chunks for at in range(0, len(chunk), _ROWS)
    ]
    return pa.chunked_array(chunks, column.type)


def _pieces(column: pa.ChunkedArray) -> Iterator[tuple[str, Any]]:
    """The bytes of values, none of them missing."""
    dtype = column.type
    for chunk in filter(len, column.chunks):
        if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
            yield from _text(chunk)
        elif pa.types.is_temporal(dtype):
            yield "values", _little_endian(chunk.view(f"int{dtype.bit_width}").to_numpy())
        else:
            yield "values", _little_endian(chunk.to_numpy(zero_copy_only=False))


def _text(chunk: pa.Array) -> Iterator[tuple[str, Any]]:
    _, ends, text = chunk.buffers()
    width = np.dtype("<i8" if pa.types.is_large_string(chunk.type) else "<i4")
    at = np.frombuffer(ends, width)[chunk.offset : chunk.offset + len(chunk) + 1]
    yield "lengths", np.diff(at).astype("<i8").data
    yield "text", b"" if text is None else memoryview(text)[int(at[0]) : int(at[-1])]


def _little_endian(values: np.ndarray[Any, Any]) -> Any:
    """Numbers and booleans as little-endian bytes.

    Raises
    ------
    TypeError
        If they are of another type.
    """
    if values.dtype.kind not in "biuf":
        msg = f"a column of {values.dtype} has no digest"
        raise TypeError(msg)
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data
