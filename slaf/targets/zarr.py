"""zarr: AnnData in a folder of chunks."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.targets.anndata_groups import AnnDataTarget
from slaf.targets.base import TargetFormat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import zarr
    from numpy.typing import NDArray

    from slaf.options import ArrayCompression
    from slaf.targets.base import WriteOptions

__all__ = ["FORMAT"]


# A file each: of 4 bytes a value, a megabyte before it is packed.
_CHUNK = 1 << 18

# Chunks written at a time, which zarr packs in threads of its own.
_CHUNKS_WRITTEN = 8
_LEVELS = {"gzip": 4, "zstd": 3}


class _Column:
    """An array of one dimension that grows; a `slaf.targets.csr.AppendableArray`."""

    def __init__(
        self, group: zarr.Group, name: str, dtype: np.dtype[Any], *, size: int, compressor: Any
    ) -> None:
        self.dtype = dtype
        rows = min(max(size, 1), _CHUNK)
        # As large as it may become: each change of its size would rewrite its description.
        self._array = group.create_array(
            name, shape=(size,), dtype=dtype, chunks=(rows,), compressors=compressor
        )
        self._whole = rows * _CHUNKS_WRITTEN
        self._rest: list[NDArray[Any]] = []
        self._n_rest = 0
        self._written = 0

    def append(self, values: NDArray[Any]) -> None:
        """Take the next values, of which whole chunks are written."""
        self._rest.append(values)
        self._n_rest += len(values)
        if self._n_rest >= self._whole:
            self._write(self._n_rest - self._n_rest % self._whole)

    def finish(self) -> None:
        """Write what is left."""
        self._write(self._n_rest)
        if self._array.shape != (self._written,):
            self._array.resize((self._written,))

    def _write(self, n: int) -> None:
        if not n:
            return
        values = np.concatenate(self._rest)
        self._array[self._written : self._written + n] = values[:n]
        self._written += n
        # A copy: what is left must not keep all of it in memory.
        self._rest, self._n_rest = [values[n:].copy()], len(values) - n


class _Folder:
    """A zarr folder; a `slaf.targets.anndata_groups.Groups`."""

    def __init__(self, root: zarr.Group, compression: ArrayCompression) -> None:
        self.root = root
        self._compressor = _compressor(root, compression)
        self.packing = {"compressors": self._compressor}

    def growing(self, group: zarr.Group, name: str, dtype: np.dtype[Any], size: int) -> _Column:
        """A column of chunks."""
        return _Column(group, name, dtype, size=size, compressor=self._compressor)

    def whole(self, group: zarr.Group, name: str, values: NDArray[Any]) -> None:
        """Write an array."""
        group.create_array(name, data=values, compressors=self._compressor)


def _compressor(root: zarr.Group, compression: ArrayCompression) -> dict[str, Any] | None:
    """What packs chunks, as the version of zarr describes it that the folder is of."""
    if compression == "none":
        return None
    level = _LEVELS[compression]
    if root.metadata.zarr_format == 2:  # noqa: PLR2004 - of the format
        return {"id": compression, "level": level}
    return {"name": compression, "configuration": {"level": level}}


@contextmanager
def _created(path: Path, options: WriteOptions) -> Iterator[_Folder]:
    import zarr
    from anndata import settings

    root = zarr.open_group(path, mode="w-", zarr_format=settings.zarr_write_format)
    yield _Folder(root, options.compression)
    zarr.consolidate_metadata(root.store)


def _in_memory() -> zarr.Group:
    import zarr
    from anndata import settings

    return zarr.open_group(
        zarr.storage.MemoryStore(), mode="w", zarr_format=settings.zarr_write_format
    )


def _is_one(path: Path) -> bool:
    return (path / ".zgroup").is_file() or (path / "zarr.json").is_file()


FORMAT = TargetFormat(
    name="zarr",
    description="AnnData on zarr",
    suffixes=(".zarr",),
    is_one=_is_one,
    open=partial(AnnDataTarget, probe=_in_memory, create=_created),
    layouts=("csr", "csc"),
    compressions=("zstd", "gzip", "none"),
    marks=(".zattrs", ".zmetadata", ".zgroup", "zarr.json"),
)
