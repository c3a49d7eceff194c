"""HDF5 columns that grow by whole chunks, packed by threads outside of HDF5's lock."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.runtime.resources import cpu_count
from slaf.targets.hdf5_file import SafeFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    import h5py
    from numpy.typing import NDArray

    from slaf.options import ArrayCompression

__all__ = ["Column", "created", "is_file", "packers", "packing"]


# Of 4 bytes a value a quarter of a megabyte, as much as a reader of a few cells has to unpack.
_CHUNK = 1 << 16
_MOST_THREADS = 4

# Chunks that are being packed, or wait to be written, for each thread and column.
_WAITING = 3

# With shuffle before it, ISA-L's level 2 takes a tenth of the time of zlib's 4, and packs counts
# tighter than zlib does without.
_ISAL_LEVEL = 2
_ZSTD_LEVEL = 3


def is_file(path: Path) -> bool:
    """Whether there is a file, which another may replace."""
    return path.is_file()


@contextmanager
def created(path: Path) -> Iterator[tuple[h5py.File, SafeFile]]:
    """A new file, and what it is written to."""
    import h5py

    with SafeFile(path) as disk, h5py.File(disk, "w", driver="fileobj") as file:
        yield file, disk


@contextmanager
def packers() -> Iterator[ThreadPoolExecutor]:
    """The threads that pack chunks, of which those that wait are dropped when it fails."""
    pool = ThreadPoolExecutor(_n_threads(), thread_name_prefix="slaf-pack")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _n_threads() -> int:
    return min(cpu_count(), _MOST_THREADS)


def packing(compression: ArrayCompression, *, shuffle: bool = True) -> dict[str, Any]:
    """What `create_dataset` of h5py takes for it."""
    if compression == "none":
        return {}
    if compression == "zstd":
        import hdf5plugin

        found = dict(hdf5plugin.Zstd(clevel=_ZSTD_LEVEL))
    else:
        found = {"compression": compression}
    return found | {"shuffle": True} if shuffle else found


class Column:
    """A dataset of one dimension that grows; a `slaf.targets.csr.AppendableArray`.

    Parameters
    ----------
    group, name
        Where in the file it is.
    dtype
        The type of its values.
    size
        How many values there will be, or at most.
    compression
        How its chunks are packed.
    pool
        The threads that do.
    disk
        What the file is written to.
    """

    def __init__(
        self,
        group: h5py.Group,
        name: str,
        dtype: np.dtype[Any],
        *,
        size: int,
        compression: ArrayCompression,
        pool: ThreadPoolExecutor,
        disk: SafeFile,
    ) -> None:
        self.dtype = dtype
        self._disk = disk
        self._rows = min(max(size, 1), _CHUNK)
        self._dataset = group.create_dataset(
            name, (0,), dtype, maxshape=(None,), chunks=(self._rows,), **packing(compression)
        )
        self._pack = _packer(compression, dtype)
        self._pool = pool
        self._waiting: deque[Future[Any]] = deque()
        self._most = _n_threads() * _WAITING
        self._rest: list[NDArray[Any]] = []
        self._n_rest = 0
        self._appended = 0
        self._written = 0

    def append(self, values: NDArray[Any]) -> None:
        """Take the next values, of which whole chunks are packed and written."""
        self._rest.append(values)
        self._n_rest += len(values)
        self._appended += len(values)
        if self._n_rest < self._rows:
            return
        whole = np.concatenate(self._rest)
        stop = len(whole) - len(whole) % self._rows
        for start in range(0, stop, self._rows):
            self._submit(whole[start : start + self._rows])
        # A copy: what is left must not keep all of it in memory.
        self._rest, self._n_rest = [whole[stop:].copy()], len(whole) - stop

    def finish(self) -> None:
        """Write what is left; the last chunk is filled up with zeros behind the end."""
        if self._n_rest:
            last = np.zeros(self._rows, self.dtype)
            last[: self._n_rest] = np.concatenate(self._rest)
            self._submit(last)
        while self._waiting:
            self._write_one()
        self._dataset.resize((self._appended,))

    def _submit(self, chunk: NDArray[Any]) -> None:
        self._waiting.append(self._pool.submit(self._pack, chunk))
        while len(self._waiting) > self._most:
            self._write_one()

    def _write_one(self) -> None:
        self._disk.check()
        packed = self._waiting.popleft().result()
        start = self._written
        self._written += self._rows
        self._dataset.resize((self._written,))
        if isinstance(packed, np.ndarray):
            self._dataset[start : self._written] = packed
        else:
            self._dataset.id.write_direct_chunk((start,), packed)


def _packer(compression: ArrayCompression, dtype: np.dtype[Any]) -> Callable[[NDArray[Any]], Any]:
    """What makes the bytes of a chunk; or leaves it as it is, for HDF5 to pack."""
    if compression == "gzip":
        from isal import isal_zlib

        return lambda chunk: isal_zlib.compress(_shuffled(chunk, dtype), _ISAL_LEVEL)
    if compression == "zstd":
        import pyarrow as pa

        return lambda chunk: pa.Codec("zstd", _ZSTD_LEVEL).compress(
            _shuffled(chunk, dtype), asbytes=True
        )
    return lambda chunk: chunk


def _shuffled(chunk: NDArray[Any], dtype: np.dtype[Any]) -> bytes:
    """The first bytes of all values, then the second ones, and so on."""
    # https://github.com/HDFGroup/hdf5/blob/develop/src/H5Zshuffle.c
    return chunk.view(np.uint8).reshape(-1, dtype.itemsize).T.tobytes()
