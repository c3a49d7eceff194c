"""The digest of a table: the same names, types and values give the same one, however stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["table_digest"]


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
