"""A growing HDF5 dataset whose chunks are compressed on all cores."""

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

# About the choice of h5py, but equal for all sizes, so that they are comparable.
_CHUNK = 1 << 15
# The default of h5py, and so of anndata.
_LEVEL = 4


class Column:
    """A growing HDF5 dataset of one dimension.

    Its bytes equal those of HDF5's own filter, which compresses on one core only.

    Parameters
    ----------
    group, name, dtype
        Its group, name and type.
    compressed
        Whether gzip compresses it.
    """

    def __init__(self, group: h5py.Group, name: str, dtype: DTypeLike, *, compressed: bool) -> None:
        compression = {"compression": "gzip", "compression_opts": _LEVEL} if compressed else {}
        self._dataset = group.create_dataset(
            name, (0,), dtype, maxshape=(None,), chunks=(_CHUNK,), **compression
        )
        self._compressed = compressed
        self._rest = np.empty(0, dtype)
        self._pool = ThreadPoolExecutor()
        self._pending = deque[Future[bytes]]()
        self._submitted = self._written = self._length = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self._pool:
            if error[0] is None:
                self._close()

    def append(self, values: NDArray[np.generic]) -> None:
        """Append values."""
        self._length += len(values)
        self._rest = np.concatenate([self._rest, values.astype(self._rest.dtype)])
        n_full = len(self._rest) // _CHUNK
        for chunk in self._rest[: n_full * _CHUNK].reshape(n_full, _CHUNK):
            self._submit(chunk.tobytes())
        self._rest = self._rest[n_full * _CHUNK :].copy()

    def _submit(self, chunk: bytes) -> None:
        future = (
            self._pool.submit(zlib.compress, chunk, _LEVEL) if self._compressed else _done(chunk)
        )
        self._pending.append(future)
        self._submitted += 1
        if self._submitted * _CHUNK > self._dataset.shape[0]:
            self._dataset.resize((self._submitted * _CHUNK,))
        if len(self._pending) > 4 * (os.cpu_count() or 1):
            self._write()

    def _write(self) -> None:
        self._dataset.id.write_direct_chunk((self._written,), self._pending.popleft().result())
        self._written += _CHUNK

    def _close(self) -> None:
        if len(self._rest):
            last = np.zeros(_CHUNK, self._rest.dtype)
            last[: len(self._rest)] = self._rest
            self._submit(last.tobytes())
        while self._pending:
            self._write()
        self._dataset.resize((self._length,))


def _done(chunk: bytes) -> Future[bytes]:
    future = Future[bytes]()
    future.set_result(chunk)
    return future
