"""HDF5 files whose arrays are compressed by threads, outside the lock of HDF5."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.runtime.extras import require
from slaf.runtime.resources import cpu_count
from slaf.targets.csr import AppendableArray
from slaf.targets.hdf5_file import SafeFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    import h5py
    from numpy.typing import NDArray

    from slaf.options import ArrayCompression
    from slaf.targets.base import WriteOptions

__all__ = ["Hdf5Groups", "is_file", "new_hdf5_file"]


# Values in a chunk: a quarter of a megabyte of float32, which a reader of few cells decompresses;
# more where none does, for each chunk takes time.
_CHUNK = 1 << 16
_PLAIN_CHUNK = 1 << 18
_MAX_THREADS = 4

# Chunks in work, or waiting to be written, for each thread and array.
_CHUNKS_PER_THREAD = 3

# After shuffle, ISA-L's level 2 takes a tenth of the time of zlib's level 4 without it, and makes
# smaller files of counts.
_ISAL_LEVEL = 2
_ZSTD_LEVEL = 3


def is_file(path: Path) -> bool:
    """Whether a path is a file."""
    return path.is_file()


@contextmanager
def new_hdf5_file(path: Path, options: WriteOptions) -> Iterator[Hdf5Groups]:
    """A new HDF5 file; if the block fails, chunks that wait for compression are dropped."""
    import h5py

    with SafeFile(path) as disk, h5py.File(disk, "w", driver="fileobj") as file:
        pool = ThreadPoolExecutor(_n_threads(), thread_name_prefix="slaf-compress")
        try:
            yield Hdf5Groups(file, disk, options.compression, pool)
        finally:
            pool.shutdown(cancel_futures=True)


class Hdf5Groups:
    """An HDF5 file; a `slaf.targets.anndata_groups.Groups`.

    Parameters
    ----------
    root
        The file.
    disk
        The file below HDF5.
    compression
        The compression of arrays.
    pool
        The threads that compress chunks.
    """

    def __init__(
        self,
        root: h5py.File,
        disk: SafeFile,
        compression: ArrayCompression,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.root = root
        self._disk = disk
        self._compression = compression
        self._pool = pool
        # Without shuffle, which anndata would set for scalars too.
        self.array_options = _dataset_options(compression)

    def appendable(
        self, group: h5py.Group, name: str, dtype: np.dtype[Any], size: int
    ) -> AppendableArray:
        """A new array of at most `size` values."""
        chunk = min(max(size, 1), _CHUNK if self.array_options else _PLAIN_CHUNK)
        dataset = group.create_dataset(
            name, (0,), dtype, maxshape=(None,), chunks=(chunk,), **self._shuffled()
        )
        return _Hdf5Array(dataset, _compressor(self._compression, dtype), self._pool, self._disk)

    def write_array(self, group: h5py.Group, name: str, values: NDArray[Any]) -> None:
        """Write a whole array."""
        group.create_dataset(name, data=values, **self._shuffled())

    def _shuffled(self) -> dict[str, Any]:
        return self.array_options and self.array_options | {"shuffle": True}


class _Hdf5Array(AppendableArray):
    """A one-dimensional HDF5 dataset.

    Parameters
    ----------
    dataset
        The dataset, empty and chunked.
    compress
        Gives the bytes of a chunk; None if HDF5 compresses it itself.
    pool
        The threads that compress chunks.
    disk
        The file below HDF5.
    """

    def __init__(
        self,
        dataset: h5py.Dataset,
        compress: Callable[[NDArray[Any]], Any] | None,
        pool: ThreadPoolExecutor,
        disk: SafeFile,
    ) -> None:
        super().__init__(dataset.dtype, dataset.chunks[0])
        self._dataset = dataset
        self._compress = compress
        self._pool = pool
        self._disk = disk
        self._by_hdf5 = compress is None and dataset.compression is not None
        self._waiting: deque[Future[Any]] = deque()
        self._max_waiting = _n_threads() * _CHUNKS_PER_THREAD
        self._size = 0
        self._written = 0

    def finish(self) -> None:
        """Write the values that remain."""
        super().finish()
        while self._waiting:
            self._write_chunk(self._waiting.popleft().result())
        self._dataset.resize((self._size,))

    def _write(self, block: NDArray[Any]) -> None:
        self._size += len(block)
        # HDF5 stores whole chunks.
        missing = self._block_size - len(block)
        chunk = np.pad(block, (0, missing)) if missing else block
        if self._compress is None:
            self._write_chunk(chunk)
            return
        self._waiting.append(self._pool.submit(self._compress, chunk))
        while len(self._waiting) > self._max_waiting:
            self._write_chunk(self._waiting.popleft().result())

    def _write_chunk(self, chunk: Any) -> None:
        self._disk.check()
        start, self._written = self._written, self._written + self._block_size
        self._dataset.resize((self._written,))
        if self._by_hdf5:
            self._dataset[start : self._written] = chunk
        else:
            self._dataset.id.write_direct_chunk((start,), chunk)


def _n_threads() -> int:
    return min(cpu_count(), _MAX_THREADS)


def _dataset_options(compression: ArrayCompression) -> dict[str, Any]:
    """Keywords of `create_dataset` for a compression."""
    if compression == "none":
        return {}
    if compression == "zstd":
        require("hdf5plugin", "zstd in HDF5")
        import hdf5plugin

        return dict(hdf5plugin.Zstd(clevel=_ZSTD_LEVEL))
    return {"compression": compression}


def _compressor(
    compression: ArrayCompression, dtype: np.dtype[Any]
) -> Callable[[NDArray[Any]], Any] | None:
    """The function that gives the bytes of a chunk; None if HDF5 compresses it, or nothing does."""
    if compression == "gzip":
        from isal import isal_zlib

        return lambda chunk: isal_zlib.compress(_shuffled(chunk, dtype), _ISAL_LEVEL)
    if compression == "zstd":
        import pyarrow as pa

        return lambda chunk: pa.Codec("zstd", _ZSTD_LEVEL).compress(
            _shuffled(chunk, dtype), asbytes=True
        )
    return None


def _shuffled(chunk: NDArray[Any], dtype: np.dtype[Any]) -> bytes:
    """The first bytes of all values, then all second bytes, and so on: the filter of HDF5."""
    # https://github.com/HDFGroup/hdf5/blob/develop/src/H5Zshuffle.c
    return chunk.view(np.uint8).reshape(-1, dtype.itemsize).T.tobytes()
