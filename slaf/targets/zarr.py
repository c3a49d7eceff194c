"""zarr: AnnData as a folder of chunks."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from slaf.targets.anndata_groups import AnnDataTarget
from slaf.targets.base import TargetFormat
from slaf.targets.csr import AppendableArray

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    import zarr
    from numpy.typing import NDArray

    from slaf.options import ArrayCompression
    from slaf.targets.base import WriteOptions

__all__ = ["FORMAT"]


# Values in a chunk, which is a file: a megabyte of float32 before compression.
_CHUNK = 1 << 18

# Chunks in a block, which zarr compresses in threads.
_CHUNKS_IN_BLOCK = 8
_LEVELS = {"gzip": 4, "zstd": 3}


class _ZarrArray(AppendableArray):
    """A one-dimensional zarr array."""

    def __init__(
        self, group: zarr.Group, name: str, dtype: np.dtype[Any], size: int, compressor: Any
    ) -> None:
        chunk = min(max(size, 1), _CHUNK)
        super().__init__(dtype, chunk * _CHUNKS_IN_BLOCK)
        # Of the largest size: each resize would write the metadata again.
        self._array = group.create_array(
            name, shape=(size,), dtype=dtype, chunks=(chunk,), compressors=compressor
        )
        self._size = 0

    def finish(self) -> None:
        """Write the values that remain, and drop the unused size."""
        super().finish()
        if self._array.shape != (self._size,):
            self._array.resize((self._size,))

    def _write(self, values: NDArray[Any]) -> None:
        start, self._size = self._size, self._size + len(values)
        self._array[start : self._size] = values


class _ZarrFolder:
    """A zarr folder; a `slaf.targets.anndata_groups.Groups`."""

    def __init__(self, root: zarr.Group, compression: ArrayCompression) -> None:
        self.root = root
        self.array_options: dict[str, Any] = {"compressors": _compressor(root, compression)}

    def appendable(
        self, group: zarr.Group, name: str, dtype: np.dtype[Any], size: int
    ) -> _ZarrArray:
        """A new array of at most `size` values."""
        return _ZarrArray(group, name, dtype, size, self.array_options["compressors"])

    def write_array(self, group: zarr.Group, name: str, values: NDArray[Any]) -> None:
        """Write a whole array."""
        group.create_array(name, data=values, **self.array_options)


def _compressor(root: zarr.Group, compression: ArrayCompression) -> dict[str, Any] | None:
    """The compressor of chunks, described as in the folder's version of zarr."""
    if compression == "none":
        return None
    level = _LEVELS[compression]
    if root.metadata.zarr_format == 2:  # noqa: PLR2004 - version of the format
        return {"id": compression, "level": level}
    return {"name": compression, "configuration": {"level": level}}


@contextmanager
def _create(path: Path, options: WriteOptions) -> Iterator[_ZarrFolder]:
    import zarr

    root = zarr.open_group(path, mode="w-", zarr_format=_zarr_format())
    yield _ZarrFolder(root, options.compression)
    with warnings.catch_warnings():
        # anndata consolidates zarr 3 too, which its specification has yet to describe.
        warnings.filterwarnings("ignore", "Consolidated metadata")
        zarr.consolidate_metadata(root.store)


def _in_memory() -> zarr.Group:
    import zarr

    return zarr.open_group(zarr.storage.MemoryStore(), mode="w", zarr_format=_zarr_format())


def _zarr_format() -> Literal[2, 3]:
    """The version of zarr that anndata is set to write."""
    from anndata import settings

    with warnings.catch_warnings():
        # anndata 0.13 means to have no such setting later.
        warnings.simplefilter("ignore", DeprecationWarning)
        chosen: Literal[2, 3] = getattr(settings, "zarr_write_format", 3)
    return chosen


def _matches(path: Path) -> bool:
    return (path / ".zgroup").is_file() or (path / "zarr.json").is_file()


FORMAT = TargetFormat(
    name="zarr",
    description="AnnData on zarr",
    suffixes=(".zarr",),
    matches=_matches,
    open=partial(AnnDataTarget, probe=_in_memory, create=_create),
    layouts=("csr", "csc"),
    compressions=("zstd", "gzip", "none"),
    marker_files=(".zattrs", ".zmetadata", ".zgroup", "zarr.json"),
)
