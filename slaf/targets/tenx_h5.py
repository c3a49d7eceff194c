"""10x H5: the feature-barcode matrix of Cell Ranger 3 and later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.targets.base import TargetFormat
from slaf.targets.csr import write_compressed
from slaf.targets.hdf5_columns import is_file, new_hdf5_file
from slaf.targets.tenx_features import dropped_by_10x, features_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import h5py

    from slaf.runtime.progress import Progress
    from slaf.targets.base import WriteOptions
    from slaf.targets.contents import Contents

__all__ = ["FORMAT", "TenxH5Target"]


# https://www.10xgenomics.com/support/software/cell-ranger/latest/analysis/outputs/cr-outputs-h5-matrices
_RESERVED = frozenset({"id", "name", "feature_type", "_all_tag_keys"})
_INT64 = np.dtype(np.int64)


class TenxH5Target:
    """A matrix in order of cells; the format calls it CSC with a column for each barcode.

    Parameters
    ----------
    contents
        The contents of the export; the format holds X, the ids, and text columns of var.
    options
        The resources for writing.
    """

    def __init__(self, contents: Contents, options: WriteOptions) -> None:
        self._contents = contents
        self._options = options
        self._features = features_of(contents.var)
        rest = self._features.rest
        self._columns = {name: texts for name, texts in rest.items() if _fits(name, texts)}
        unfit = tuple(name for name in rest if name not in self._columns)
        self.left_out = dropped_by_10x(contents, (*self._features.left_out, *unfit))

    def write(self, path: Path, progress: Progress) -> None:
        """Write the file."""
        matrix = self._contents.x
        n_cells, n_genes = matrix.shape
        progress.begin(0, 0, n_cells)
        with new_hdf5_file(path, self._options) as groups:
            groups.root.attrs["filetype"] = "matrix"
            groups.root.attrs["version"] = 2
            group = groups.root.create_group("matrix")
            _write_text(group, "barcodes", [str(name) for name in self._contents.obs.index])
            self._write_features(group.create_group("features"))
            group.create_dataset("shape", data=np.array([n_genes, n_cells], np.int32))
            indices = groups.appendable(group, "indices", _INT64, matrix.n_entries)
            data = groups.appendable(group, "data", self._value_type(), matrix.n_entries)
            indptr = write_compressed(matrix, indices, data, self._options, progress)
            groups.write_array(group, "indptr", indptr)

    def _write_features(self, group: h5py.Group) -> None:
        features = self._features
        names = {"id": features.ids, "name": features.names, "feature_type": features.types}
        for name, texts in (names | self._columns).items():
            _write_text(group, name, texts)
        _write_text(group, "_all_tag_keys", list(self._columns))

    def _value_type(self) -> np.dtype[Any]:
        """int32, as Cell Ranger writes, if it holds all values."""
        stored = self._contents.x.value_type
        if stored.kind == "f":
            return self._contents.x.dtype
        return np.dtype(np.int32) if np.can_cast(stored, np.int32) else _INT64


def _write_text(group: h5py.Group, name: str, texts: Sequence[str]) -> None:
    """Write strings as Cell Ranger does: bytes of a fixed length, padded with zeros."""
    values = np.array([text.encode() for text in texts], dtype=np.bytes_)
    group.create_dataset(name, data=values if len(values) else np.empty(0, "S1"))


def _fits(name: str, texts: Sequence[str]) -> bool:
    """Whether a text column can be a column of the features."""
    if name in _RESERVED or not name or "/" in name or "\0" in name or name == ".":
        return False
    return not any(text.endswith("\0") for text in texts)


FORMAT = TargetFormat(
    name="10x_h5",
    description="10x H5 file of Cell Ranger (v3)",
    suffixes=(".h5",),
    matches=is_file,
    open=TenxH5Target,
)
