"""One column of an HDF5 file, written piece by piece, its chunks deflated on all cores."""

from __future__ import annotations

import os
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    import h5py
    from numpy.typing import DTypeLike, NDArray

__all__ = ["Column"]

# About what h5py chooses; the same for all sizes, so that they can be compared.
_CHUNK = 1 << 15
# h5py's, and with it anndata's.
_LEVEL = 4


class Column:
    """A dataset of one dimension that grows.

    The bytes are those that HDF5's own filter makes, which deflates on one core only.

    Parameters
    ----------
    group, name, dtype
        Where it is, and what of.
    packed
        Whether it is compressed by gzip.
    """

    def __init__(self, group: h5py.Group, name: str, dtype: DTypeLike, *, packed: bool) -> None:
        compression = {"compression": "gzip", "compression_opts": _LEVEL} if packed else {}
        self._dataset = group.create_dataset(
            name, (0,), dtype, maxshape=(None,), chunks=(_CHUNK,), **compression
        )
        self._packed = packed
        self._rest = np.empty(0, dtype)
        self._pool = ThreadPoolExecutor()
        self._under_way = deque[Future[bytes]]()
        self._submitted = self._written = self._length = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self._pool:
            if error[0] is None:
                self._close()

    def append(self, values: NDArray[np.generic]) -> None:
        """Put values behind those that are there."""
        self._length += len(values)
        self._rest = np.concatenate([self._rest, values.astype(self._rest.dtype)])
        n_whole = len(self._rest) // _CHUNK
        for chunk in self._rest[: n_whole * _CHUNK].reshape(n_whole, _CHUNK):
            self._submit(chunk.tobytes())
        self._rest = self._rest[n_whole * _CHUNK :].copy()

    def _submit(self, chunk: bytes) -> None:
        made = self._pool.submit(zlib.compress, chunk, _LEVEL) if self._packed else _done(chunk)
        self._under_way.append(made)
        self._submitted += 1
        if self._submitted * _CHUNK > self._dataset.shape[0]:
            self._dataset.resize((self._submitted * _CHUNK,))
        if len(self._under_way) > 4 * (os.cpu_count() or 1):
            self._write()

    def _write(self) -> None:
        self._dataset.id.write_direct_chunk((self._written,), self._under_way.popleft().result())
        self._written += _CHUNK

    def _close(self) -> None:
        if len(self._rest):
            last = np.zeros(_CHUNK, self._rest.dtype)
            last[: len(self._rest)] = self._rest
            self._submit(last.tobytes())
        while self._under_way:
            self._write()
        self._dataset.resize((self._length,))


def _done(chunk: bytes) -> Future[bytes]:
    made = Future[bytes]()
    made.set_result(chunk)
    return made
