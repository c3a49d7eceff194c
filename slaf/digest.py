"""Digests of entries: the same numbers give the same one, however they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from slaf.arrays import Widened

__all__ = ["BlockDigest", "Fingerprint"]

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

    def add_entries(self, genes: NDArray[Any], widened: Widened) -> None:
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


class Fingerprint:
    """The sum, modulo 2**64, of a hash of each entry: of its cell, its gene and its value.

    The order of the entries makes no difference, which lets tables in different orders be held
    against each other: one entry that is missing, doubled or changed makes another sum.
    """

    def __init__(self, total: int = 0) -> None:
        self._total = total

    def add(self, cells: NDArray[Any], genes: NDArray[Any], widened: Widened) -> None:
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
