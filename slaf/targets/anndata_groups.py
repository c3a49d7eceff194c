"""AnnData's groups, arrays and encodings, on HDF5 and on zarr."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from slaf.targets.anndata_elements import drop_unwritable, is_name, write_elements
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
    """A file or folder of groups and arrays with attributes, as in h5py and zarr."""

    @property
    def root(self) -> Any:
        """The root group."""

    @property
    def array_options(self) -> Mapping[str, Any]:
        """Keywords of h5py or zarr for the compression of an array."""

    def appendable(self, group: Any, name: str, dtype: np.dtype[Any], size: int) -> AppendableArray:
        """A new array of at most `size` values."""

    def write_array(self, group: Any, name: str, values: NDArray[Any]) -> None:
        """Write a whole array."""


class AnnDataTarget:
    """AnnData with sparse matrices; all else as anndata writes it.

    Parameters
    ----------
    contents
        The contents of the export.
    options
        Layout and compression.
    probe
        Makes an empty group in memory, to try if anndata can write an element.
    create
        Creates the file or folder.
    takes_plain
        Whether plain tables are written without pandas.
    """

    def __init__(
        self,
        contents: Contents,
        options: WriteOptions,
        *,
        probe: Callable[[], Any],
        create: Callable[[Path, WriteOptions], AbstractContextManager[Groups]],
        takes_plain: bool = False,
    ) -> None:
        self._options = options
        self._create = create
        plain = contents.plain if takes_plain else {}
        elements = {name: plain.get(name) or contents.elements[name] for name in contents.elements}
        self._elements, left_out = drop_unwritable(elements, probe)
        # anndata reads a name with a slash as a group that holds another.
        layers = [name for name in contents.matrices if name.startswith(LAYERS)]
        unfit = [name for name in layers if not is_name(name.removeprefix(LAYERS))]
        written = {name: m for name, m in contents.matrices.items() if name not in unfit}
        self._contents = replace(contents, matrices=written)
        self.left_out = (*left_out, *(f"{name} is left out" for name in unfit))

    def write(self, path: Path, progress: Progress) -> None:
        """Write the file or folder."""
        progress.begin(0, 0, progress_total(self._contents, self._options.layout))
        with self._create(path, self._options) as groups:
            root = groups.root
            _set_encoding(root, "anndata", "0.1.0")
            write_elements(root, {LAYERS.rstrip("/"): {}})
            if RAW in self._contents.matrices:
                _set_encoding(root.create_group("raw"), "raw", "0.1.0")
            write_elements(root, self._elements, groups.array_options)
            for slot, matrix in self._contents.matrices.items():
                self._write_matrix(groups, slot, matrix, progress)

    def _write_matrix(self, groups: Groups, slot: str, matrix: Matrix, progress: Progress) -> None:
        group = groups.root.create_group(slot)
        _set_encoding(group, f"{self._options.layout}_matrix", "0.1.0")
        group.attrs["shape"] = list(matrix.shape)
        by_cell = self._options.layout == "csr"
        positions = index_type(matrix.shape[1 if by_cell else 0])
        indices = groups.appendable(group, "indices", positions, matrix.n_entries)
        data = groups.appendable(group, "data", matrix.dtype, matrix.n_entries)
        indptr = write_compressed(matrix, indices, data, self._options, progress)
        groups.write_array(group, "indptr", indptr.astype(index_type(int(indptr[-1]))))


def _set_encoding(group: Any, encoding: str, version: str) -> None:
    group.attrs["encoding-type"] = encoding
    group.attrs["encoding-version"] = version
