"""Small ways to spoil a file, put together by the corpus."""

from __future__ import annotations

import functools
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Edit = Callable[[h5py.File], object]
    Write = Callable[[Path], Path]

__all__ = [
    "appended",
    "attribute",
    "chunk",
    "copied",
    "cut",
    "edited",
    "entry",
    "flipped",
    "huge_chunk",
    "link",
    "packed_zeros",
    "replaced",
    "without",
]


def edited(good: Write, *edits: Edit) -> Write:
    """A good HDF5 file, spoilt."""

    def write(folder: Path) -> Path:
        path = good(folder)
        with h5py.File(path, "r+") as file:
            for edit in edits:
                edit(file)
        return path

    return write


def cut(good: Write, share: float, inside: str = "") -> Write:
    """A file of which only the first part is there."""

    def write(folder: Path) -> Path:
        path = good(folder)
        file = path / inside
        data = file.read_bytes()
        file.write_bytes(data[: int(len(data) * share)])
        return path

    return write


def flipped(good: Write, seed: int, *, most: int = 8) -> Write:
    """A file, or one file of a folder, with some bytes changed at random."""

    def write(folder: Path) -> Path:
        path = good(folder)
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        rng = np.random.default_rng(seed)
        file = files[int(rng.integers(len(files)))]
        data = bytearray(file.read_bytes())
        for at in rng.integers(0, max(len(data), 1), int(rng.integers(1, most))) if data else ():
            data[at] ^= int(rng.integers(1, 256))
        file.write_bytes(data)
        return path

    return write


def appended(good: Write, inside: str, content: bytes) -> Write:
    """A folder in which a file goes on."""

    def write(folder: Path) -> Path:
        path = good(folder)
        with (path / inside).open("ab") as file:
            file.write(content)
        return path

    return write


def copied(make: Callable[[Path], Path]) -> Write:
    """What is slow to make is made once a process, and copied."""

    @functools.cache
    def original() -> tuple[Path, tempfile.TemporaryDirectory[str]]:
        kept = tempfile.TemporaryDirectory()
        return make(Path(kept.name)), kept

    def write(folder: Path) -> Path:
        source = original()[0]
        copy = shutil.copytree if source.is_dir() else shutil.copy
        return Path(copy(source, folder / source.name))

    return write


def replaced(name: str, values: Any, **filters: Any) -> Edit:
    """Exchange a member, keeping its attributes."""

    def edit(file: h5py.File) -> None:
        kept = dict(file[name].attrs) if name in file else {}
        if name in file:
            del file[name]
        # Compressed is what it is only where there is something to compress.
        file.create_dataset(name, data=values, **filters)
        file[name].attrs.update(kept)

    return edit


def entry(name: str, at: int, value: float) -> Edit:
    """Change one number."""

    def edit(file: h5py.File) -> None:
        file[name][at] = value

    return edit


def attribute(name: str, key: str, value: Any) -> Edit:
    """Change an attribute; None removes it."""

    def edit(file: h5py.File) -> None:
        if value is None:
            del file[name].attrs[key]
        else:
            file[name].attrs[key] = value

    return edit


def without(*names: str) -> Edit:
    """Remove members."""

    def edit(file: h5py.File) -> None:
        for name in names:
            del file[name]

    return edit


def link(name: str, target: Any) -> Edit:
    """Put a link in the place of a member."""

    def edit(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = target

    return edit


def chunk(name: str, content: bytes, mask: int = 0) -> Edit:
    """Pack a member by gzip in chunks of 3, of which the first has this content."""

    def edit(file: h5py.File) -> None:
        values = file[name][()]
        del file[name]
        packed = file.create_dataset(name, data=values, compression="gzip", chunks=(3,))
        packed.id.write_direct_chunk((0,), content, mask)

    return edit


def huge_chunk(name: str, length: int, dtype: str, rows: int) -> Edit:
    """A member of one chunk of so many rows, of zeros that a few bytes unpack to."""

    def edit(file: h5py.File) -> None:
        kept = dict(file[name].attrs)
        del file[name]
        made = file.create_dataset(
            name, (length,), dtype, maxshape=(None,), chunks=(rows,), compression="gzip"
        )
        size = rows * np.dtype(dtype).itemsize
        for first in range(0, length, rows):
            made.id.write_direct_chunk((first,), packed_zeros(size))
        file[name].attrs.update(kept)

    return edit


@functools.cache
def packed_zeros(size: int) -> bytes:
    """A zlib stream of this many zeros, made without packing them all."""
    block = 1 << 20
    packer = zlib.compressobj(9)
    begin = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    more = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, wbits=-15)
    end = rest.compress(bytes(size % block)) + rest.flush()
    # Of zeros the checksum can be told: https://www.rfc-editor.org/rfc/rfc1950#section-9
    checksum = ((size % 65521) << 16) | 1
    assert size >= block
    return begin + more * (size // block - 1) + end + checksum.to_bytes(4, "big")
