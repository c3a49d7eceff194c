"""Read chunks of zarr arrays as they are stored, and decode them within their declared size."""

from __future__ import annotations

import math
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import DamagedInput
from slaf.sources.chunked import ChunkedArray
from slaf.sources.hdf5.chunks import inflate
from slaf.storage.range_prefetch import RangePrefetcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import zarr
    from numpy.typing import NDArray

    from slaf.sources.zarr.store import Objects

__all__ = ["ZarrArray", "chunk_elements", "codec_errors"]

# Shards whose index says that a chunk was never written:
# https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html
_ABSENT = 2**64 - 1
_CHECKSUM_BYTES = 4
_GZIP, _ZLIB = 31, 15


@dataclass(frozen=True)
class _Decoder:
    """The codecs of a chunk: checksum, compression, byte order, and the order of its elements.

    Attributes
    ----------
    stored
        The type of the elements in the chunk.
    order
        "C" or "F".
    compressor
        Decompresses into a buffer; None without compression.
    has_checksum
        Whether a CRC-32C follows the data.
    """

    stored: np.dtype[Any]
    order: Any
    compressor: Callable[[bytes, NDArray[Any], str], None] | None
    has_checksum: bool

    def decode(self, packed: bytes, shape: tuple[int, ...], label: str) -> NDArray[Any]:
        """The elements of a chunk.

        Raises
        ------
        DamagedInput
            If they are not as many, or the checksum is another.
        """
        if self.has_checksum:
            packed = _without_checksum(packed, label)
        size = math.prod(shape) * self.stored.itemsize
        if self.compressor is None:
            if len(packed) != size:
                msg = f"{label} holds {len(packed):,} bytes where {size:,} are needed"
                raise DamagedInput(msg)
            raw = np.frombuffer(packed, np.uint8)
        else:
            raw = np.empty(size, np.uint8)
            self.compressor(packed, raw, label)
        return raw.view(self.stored).reshape(shape, order=self.order)


@dataclass(frozen=True)
class _Shards:
    """The shards of an array: objects of several chunks, with an index.

    Attributes
    ----------
    shape
        The shape of a shard.
    has_checksum
        Whether a checksum follows the index.
    index_at_end
        Whether the index follows the chunks.
    """

    shape: tuple[int, ...]
    has_checksum: bool
    index_at_end: bool

    def index_bytes(self, chunks: tuple[int, ...]) -> int:
        """The bytes of an index."""
        n_chunks = math.prod(s // c for s, c in zip(self.shape, chunks, strict=True))
        return 16 * n_chunks + _CHECKSUM_BYTES * self.has_checksum


class ZarrArray(ChunkedArray):
    """A zarr array of numbers, read chunk by chunk, outside the event loop of zarr.

    Chunks with codecs other than gzip, zlib, zstd, Blosc, LZ4 and CRC-32C are decoded by zarr.

    Parameters
    ----------
    array
        The array.
    objects
        The objects of its store.
    """

    def __init__(self, array: zarr.Array[Any], objects: Objects) -> None:
        self._array = array
        self._objects = objects
        self._path = array.path
        super().__init__(array.shape, array.dtype.newbyteorder("="), array.chunks)
        self._shards, self._decoder = _codecs_of(array)
        self._indices: dict[tuple[int, ...], NDArray[np.uint64] | None] = {}
        self._grid = [-(-s // c) for s, c in zip(self.shape, self.chunks, strict=True)]
        self._ahead: RangePrefetcher | None = None
        if objects.is_remote and self._decoder is not None:
            # The numbers of chunks take the place of offsets.
            numbers = list(pairwise(range(math.prod(self._grid) + 1)))
            self._ahead = RangePrefetcher(lambda number, _: self._fetch(number), numbers)

    def read_chunk(self, origin: tuple[int, ...]) -> NDArray[Any]:
        """The elements of the chunk that begins here."""
        decoder = self._decoder
        if decoder is None:
            ends = zip(origin, self.chunks, strict=True)
            with codec_errors():
                return np.asarray(self._array[tuple(slice(at, at + size) for at, size in ends)])
        at = tuple(o // c for o, c in zip(origin, self.chunks, strict=True))
        if self._ahead is None:
            packed = self._read_raw(at)
        else:
            packed = self._ahead[int(np.ravel_multi_index(at, self._grid))] or None
        if packed is None:
            # A chunk that was never written has the fill value.
            return np.full(self.chunks, self._array.fill_value or 0, self.dtype)
        return decoder.decode(packed, self.chunks, self._label(origin))

    def _fetch(self, number: int) -> bytes:
        """The bytes of a chunk by its number; none if it was never written."""
        at = tuple(int(one) for one in np.unravel_index(number, self._grid))
        return self._read_raw(at) or b""

    def _read_raw(self, at: tuple[int, ...]) -> bytes | None:
        """The bytes of a chunk by its position in the grid; None if it was never written."""
        start, stop = 0, None
        key = at
        if self._shards is not None:
            pairs = zip(self._shards.shape, self.chunks, strict=True)
            per_shard = [shard // chunk for shard, chunk in pairs]
            key = tuple(one // n for one, n in zip(at, per_shard, strict=True))
            index = self._index(key, self._shards)
            if index is None:
                return None
            within = tuple(one % n for one, n in zip(at, per_shard, strict=True))
            first, size = index.reshape(*per_shard, 2)[within].tolist()
            if first == size == _ABSENT:
                return None
            start, stop = first, first + size
        data = self._objects.read(self._key(key), start, stop)
        if data is not None and (not data or (stop is not None and len(data) != stop - start)):
            # Read as never written it would be zeros.
            msg = f"{self._path}: {self._key(key)} ends before a chunk that it should hold"
            raise DamagedInput(msg)
        return data

    def _index(self, shard: tuple[int, ...], shards: _Shards) -> NDArray[np.uint64] | None:
        """Offset and length of each chunk of a shard; None if the shard was never written."""
        if shard not in self._indices:
            size = shards.index_bytes(self.chunks)
            span = (-size, None) if shards.index_at_end else (0, size)
            data = self._objects.read(self._key(shard), *span)
            index = None
            if data is not None:
                label = f"{self._path}: the index of {self._key(shard)}"
                if len(data) != size:
                    msg = f"{label} holds {len(data):,} bytes where {size:,} are needed"
                    raise DamagedInput(msg)
                data = _without_checksum(data, label) if shards.has_checksum else data
                index = np.frombuffer(data, "<u8")
            self._indices[shard] = index
        return self._indices[shard]

    def _key(self, at: tuple[int, ...]) -> str:
        key = self._array.metadata.encode_chunk_key(at)
        return f"{self._path}/{key}" if self._path else key

    def _label(self, origin: tuple[int, ...]) -> str:
        return f"{self._path}: the chunk at {', '.join(f'{start:,}' for start in origin)}"


@contextmanager
def codec_errors() -> Iterator[None]:
    """Turn the errors of decompressors that zarr calls into ValueError, as most of them are.

    Raises
    ------
    ValueError
        If a chunk cannot be decompressed.
    """
    try:
        yield
    except Exception as error:
        # LZMA is not in every Python.
        if isinstance(error, EOFError | zlib.error) or type(error).__name__ == "LZMAError":
            raise ValueError(str(error)) from error
        raise


def chunk_elements(array: zarr.Array[Any]) -> int:
    """The elements of all chunks, which may be more than those of the array."""
    pairs = zip(array.shape, array.chunks, strict=True)
    return math.prod(-(-size // chunk) * chunk for size, chunk in pairs)


def _codecs_of(array: zarr.Array[Any]) -> tuple[_Shards | None, _Decoder | None]:
    """The shards and the decoder of an array; no decoder for codecs that zarr itself decodes."""
    metadata: Any = array.metadata
    if metadata.zarr_format == 2:  # noqa: PLR2004 - version of the format
        compressor = _compressor(metadata.compressor)
        if metadata.filters or (metadata.compressor is not None and compressor is None):
            return None, None
        return None, _Decoder(array.dtype, metadata.order, compressor, has_checksum=False)
    return _codecs_of_v3(array.dtype, metadata)


def _codecs_of_v3(dtype: np.dtype[Any], metadata: Any) -> tuple[_Shards | None, _Decoder | None]:
    from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec

    codecs = list(metadata.codecs)
    shards = None
    if len(codecs) == 1 and isinstance(codecs[0], ShardingCodec):
        sharding = codecs[0]
        kinds = [type(codec) for codec in sharding.index_codecs]
        if kinds not in ([BytesCodec], [BytesCodec, Crc32cCodec]) or _is_big(
            sharding.index_codecs[0]
        ):
            return None, None
        shards = _Shards(
            tuple(metadata.chunk_grid.chunk_shape),
            len(kinds) > 1,
            _name(sharding.index_location) == "end",
        )
        codecs = list(sharding.codecs)
    if not codecs or not isinstance(codecs[0], BytesCodec):
        return None, None
    stored = dtype.newbyteorder(">" if _is_big(codecs.pop(0)) else "<")
    has_checksum = bool(codecs) and isinstance(codecs[-1], Crc32cCodec)
    if has_checksum:
        codecs.pop()
    compressor = _compressor(_numcodec(codecs[0])) if len(codecs) == 1 else None
    if codecs and compressor is None:
        return None, None
    return shards, _Decoder(stored, "C", compressor, has_checksum)


def _is_big(codec: Any) -> bool:
    return bool(_name(codec.endian) == "big")


def _name(choice: Any) -> Any:
    """The name of a choice: an enumeration before zarr 3.2, text since."""
    return getattr(choice, "value", choice)


def _numcodec(codec: Any) -> Any:
    """The codec of numcodecs that a codec of zarr 3 stands for; None without one."""
    import numcodecs

    ids = {"ZstdCodec": "zstd", "GzipCodec": "gzip", "BloscCodec": "blosc"}
    name = ids.get(type(codec).__name__)
    return None if name is None else numcodecs.get_codec({"id": name})


def _compressor(codec: Any) -> Callable[[bytes, NDArray[Any], str], None] | None:
    """What decompresses into a buffer of the right size; None for an unknown codec."""
    name = getattr(codec, "codec_id", None)
    if name in {"gzip", "zlib"}:
        window = _GZIP if name == "gzip" else _ZLIB

        def inflated(packed: bytes, out: NDArray[Any], label: str) -> None:
            out[:] = np.frombuffer(inflate(packed, out.nbytes, label, window), np.uint8)

        return inflated
    if name not in {"zstd", "blosc", "lz4"}:
        return None

    def decompressed(packed: bytes, out: NDArray[Any], label: str) -> None:
        declared = _SIZE_OF[name](packed)
        try:
            if declared == out.nbytes:
                codec.decode(packed, out)
                return
            if declared is None:
                raw = np.frombuffer(codec.decode(packed), np.uint8)
                declared = raw.nbytes
                if declared == out.nbytes:
                    out[:] = raw
                    return
        except (RuntimeError, ValueError, TypeError) as error:
            msg = f"{label} cannot be decompressed ({error})"
            raise DamagedInput(msg) from error
        msg = f"{label} decompresses to {declared:,} bytes, where {out.nbytes:,} are needed"
        raise DamagedInput(msg)

    return decompressed


def _zstd_size(packed: bytes) -> int | None:
    """The size that a frame of zstd declares; None if it declares none.

    https://datatracker.ietf.org/doc/html/rfc8878#name-frame-header
    """
    descriptor = packed[4] if len(packed) > 4 else 0  # noqa: PLR2004 - the magic number
    is_single = descriptor >> 5 & 1
    length = (is_single, 2, 4, 8)[descriptor >> 6]
    start = 5 + (not is_single) + (0, 1, 2, 4)[descriptor & 3]
    if not length:
        return None
    size = int.from_bytes(packed[start : start + length], "little")
    return size + 256 * (length == 2)  # noqa: PLR2004 - two bytes count from 256


# The size of the data after decompression, which the codecs themselves check from above only.
_SIZE_OF: dict[str, Callable[[bytes], int | None]] = {
    "zstd": _zstd_size,
    "blosc": lambda packed: int.from_bytes(packed[4:8], "little"),
    "lz4": lambda packed: int.from_bytes(packed[:4], "little"),
}


def _without_checksum(data: bytes, label: str) -> bytes:
    import google_crc32c

    content, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if google_crc32c.value(content) != int.from_bytes(checksum, "little"):
        msg = f"{label} has another checksum than it was written with"
        raise DamagedInput(msg)
    return content
