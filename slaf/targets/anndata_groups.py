"""What AnnData on HDF5 and AnnData on zarr have in common: groups, their names and encodings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from slaf.targets.anndata_elements import drop_unwritable, write_elements
from slaf.targets.contents import LAYERS, RAW
from slaf.targets.csr import index_type, progress_total, write_compressed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from slaf.runtime.progress import Progress
    from slaf.targets.base import WriteOptions
    from slaf.targets.contents import Contents, Matrix
    from slaf.targets.csr import AppendableArray

__all__ = ["AnnDataTarget", "Groups"]


class Groups(Protocol):
    """A file, or folder, of groups and arrays with attributes, as h5py and zarr have them."""

    @property
    def root(self) -> Any:
        """The outermost group."""

    @property
    def packing(self) -> Mapping[str, Any]:
        """How whole arrays are packed: what making an array takes."""

    def growing(self, group: Any, name: str, dtype: np.dtype[Any], size: int) -> AppendableArray:
        """An array in a group that is written from its start to its end."""

    def whole(self, group: Any, name: str, values: NDArray[Any]) -> None:
        """Write an array."""


class AnnDataTarget:
    """An AnnData; matrices are sparse, the rest is as anndata writes it.

    Parameters
    ----------
    contents
        What it will hold.
    options
        Layout and compression are chosen freely.
    probe
        Gives an empty group in memory, by which it is found what anndata cannot write.
    create
        Makes the file, or folder.
    """

    def __init__(
        self,
        contents: Contents,
        options: WriteOptions,
        *,
        probe: Callable[[], Any],
        create: Callable[[Path, WriteOptions], AbstractContextManager[Groups]],
    ) -> None:
        self._contents = contents
        self._options = options
        self._create = create
        self._elements, self._left_out = drop_unwritable(contents.elements, probe)

    def left_out(self) -> tuple[str, ...]:
        """Columns and values that anndata has no word for."""
        return self._left_out

    def write(self, path: Path, seen: Progress) -> None:
        """Write the file, or folder."""
        seen.begin(0, 0, progress_total(self._contents, self._options.layout))
        with self._create(path, self._options) as groups:
            root = groups.root
            _mark(root, "anndata", "0.1.0")
            write_elements(root, {LAYERS.rstrip("/"): {}})
            if RAW in self._contents.matrices:
                _mark(root.create_group("raw"), "raw", "0.1.0")
            write_elements(root, self._elements, groups.packing)
            for slot, matrix in self._contents.matrices.items():
                self._write_matrix(groups, slot, matrix, seen)

    def _write_matrix(self, groups: Groups, slot: str, matrix: Matrix, seen: Progress) -> None:
        group = groups.root.create_group(slot)
        _mark(group, f"{self._options.layout}_matrix", "0.1.0")
        group.attrs["shape"] = list(matrix.shape)
        by_cell = self._options.layout == "csr"
        positions = index_type(matrix.shape[1 if by_cell else 0])
        indices = groups.growing(group, "indices", positions, matrix.n_entries)
        data = groups.growing(group, "data", matrix.dtype, matrix.n_entries)
        indptr = write_compressed(matrix, indices, data, self._options, seen)
        groups.whole(group, "indptr", indptr.astype(index_type(int(indptr[-1]))))


def _mark(group: Any, encoding: str, version: str) -> None:
    """Say what a group is, as anndata does."""
    group.attrs["encoding-type"] = encoding
    group.attrs["encoding-version"] = version
