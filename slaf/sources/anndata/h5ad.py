"""h5ad: AnnData on HDF5, from the compound tables of 0.6 to the string groups of pandas 3."""

from __future__ import annotations

import tempfile
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from slaf.sources.anndata.stored import StoredAnnData
from slaf.sources.base import SourceFormat
from slaf.sources.hdf5.arrays import open_compressed, open_nd
from slaf.sources.hdf5.elements import attribute, close_members
from slaf.sources.hdf5.enumerations import is_enumeration, read_decoded
from slaf.sources.hdf5.file import (
    errors_as_damaged_input,
    numeric,
    open_file,
    recognise,
    safe_keys,
)
from slaf.sources.hdf5.limits import check_arrays, check_dense, check_table
from slaf.sources.hdf5.links import check_subtree, has_all, has_member, resolve_link
from slaf.sources.identity import file_identity
from slaf.storage.paths import remote_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    import anndata
    import h5py
    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.sources.csr import ArrayLike
    from slaf.sources.dense import DenseArray

__all__ = ["FORMAT", "Hdf5Groups"]


class Hdf5Groups:
    """An HDF5 file, or a group of it; a `slaf.sources.anndata.groups.Groups`.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    DamagedInput
        If it is not an HDF5 file, or is cut short.
    """

    def __init__(self, path: Path) -> None:
        self.uri = str(path)
        self._path = path
        self._file = open_file(path)
        self._begin_at(self._file)

    def _begin_at(self, root: h5py.Group) -> None:
        self._root = root
        self._keys: dict[str, list[str]] = {}
        self._checked: set[str] = set()

    def within(self, path: str) -> Self:
        """A group of the file, which is closed with it."""
        inner = copy(self)
        inner._begin_at(self._element(path))  # noqa: SLF001 - its class
        return inner

    def keys(self, path: str) -> list[str]:
        """The names in a group, sorted; none if there is no such group."""
        if path not in self._keys:
            self._keys[path] = safe_keys(self._root, path)
        return self._keys[path]

    def has(self, path: str) -> bool:
        """Whether there is a group or an array of this name."""
        return has_member(self._root, path)

    def get(self, path: str) -> Any:
        """The group or dataset, which is in the file itself; it is checked once."""
        element = self._element(path)
        if self._checked.isdisjoint((path, *_above(path))):
            check_subtree(element)
            self._checked.add(path)
        return element

    def _element(self, path: str) -> Any:
        """The group or dataset, which is in the file itself."""
        return resolve_link(self._root, path)

    def read(self, path: str) -> Any:
        """The element as anndata reads it, with the names of enumerations."""
        return read_decoded(self.get(path))

    def is_enumeration(self, path: str) -> bool:
        """Whether it is a dataset of an enumeration."""
        return is_enumeration(self._element(path))

    def shape(self, path: str) -> tuple[int, ...] | None:
        """The shape of a dataset; None for a group."""
        import h5py

        element = self._element(path)
        # A dataset without a shape holds nothing.
        return (element.shape or ()) if isinstance(element, h5py.Dataset) else None

    def attribute(self, path: str, name: str, default: Any = None) -> Any:
        """An attribute of a group or a dataset; the default if there is none."""
        return attribute(self._element(path), name, default)

    def check_size(self, path: str) -> None:
        """Check the size of a dataset."""
        check_arrays(f"{self._root.name.rstrip('/')}/{path}", self.get(path))

    def check_table(self, path: str, n_rows: int) -> None:
        """Check the datasets of a table with so many checked ids."""
        check_table(self.get(path), n_rows)

    def open_compressed(self, path: str) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
        """The arrays indptr, indices and data of a sparse matrix."""
        return open_compressed(self.get(path), path, remote_bytes(self._path))

    def open_dense(self, path: str) -> tuple[DenseArray, tuple[int, int] | None]:
        """A dataset of two dimensions, and the shape of its chunks."""
        dataset = self.get(path)
        check_dense(numeric(dataset, dataset.name))
        return open_nd(dataset, remote_bytes(self._path)), dataset.chunks

    def read_numbers(self, path: str) -> NDArray[Any] | None:
        """A dataset of one dimension of numbers or booleans; None for anything else."""
        dataset = self._element(path)
        if len(self.shape(path) or ()) != 1 or is_enumeration(dataset):
            return None
        numbers: NDArray[Any] | None = dataset[:] if dataset.dtype.kind in "biuf" else None
        return numbers

    def read_strings(self, path: str) -> pa.Array | None:
        """A dataset of one dimension of UTF-8 of variable length; None for anything else."""
        import h5py
        import pyarrow as pa

        dataset = self._element(path)
        kind = h5py.check_string_dtype(dataset.dtype) if len(self.shape(path) or ()) == 1 else None
        if kind is None or kind.length is not None or kind.encoding != "utf-8":
            return None
        texts = np.empty(dataset.shape, dataset.dtype)
        if len(texts):
            # As `dataset[:]`, which takes three times as long for a short array.
            dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, texts)
        return pa.array(texts, pa.binary()).cast(pa.string())

    def close_members(self, path: str) -> None:
        """Close the members of a group, of whose datasets HDF5 keeps the last chunks in memory."""
        close_members(self._element(path))

    def read_tables_of_arrays(self, members: Mapping[str, str]) -> anndata.AnnData:
        """Some members of a file of anndata before 0.7, by their new names.

        anndata reads its compound tables only in a whole file: make one of these members.
        """
        import anndata
        import h5py

        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "members.h5ad"
            with h5py.File(path, "w") as small:
                for target, source in members.items():
                    if self.has(source):
                        small.copy(self.get(source), target)
            return anndata.read_h5ad(path)

    def identity(self) -> Mapping[str, Any]:
        """A fingerprint of the file."""
        return file_identity(self._path)

    def errors(self, label: str) -> AbstractContextManager[None]:
        """Turn errors of h5py into DamagedInput, and name the location."""
        return errors_as_damaged_input(label)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _above(path: str) -> Iterator[str]:
    """The paths of the groups that an element is in, but for the root."""
    at = path.find("/")
    while at != -1:
        yield path[:at]
        at = path.find("/", at + 1)


def _open(path: Path, options: ReadOptions) -> StoredAnnData:
    return StoredAnnData(Hdf5Groups(path), options, "h5ad")


FORMAT = SourceFormat(
    name="h5ad",
    description="AnnData (.h5ad)",
    recognises=partial(
        recognise, matches=lambda file: has_all(file, ("obs", "var")) and "mod" not in file
    ),
    open=_open,
    looks_for="an HDF5 file with obs and var",
    suffixes=(".h5ad",),
)
