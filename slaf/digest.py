"""The digest of a block of cells: the same numbers give the same one, however they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slaf.arrays import Widened

__all__ = ["BlockDigest"]


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
