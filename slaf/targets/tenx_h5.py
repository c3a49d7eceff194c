"""10x H5: the feature-barcode matrix of Cell Ranger 3 and later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.targets.base import TargetFormat
from slaf.targets.csr import write_compressed
from slaf.targets.hdf5_columns import Column, created, is_file, packers, packing
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
_OWN = frozenset({"id", "name", "feature_type", "_all_tag_keys"})
_INT64 = np.dtype(np.int64)


class TenxH5Target:
    """A matrix whose columns are barcodes, so that cells come one after the other.

    Parameters
    ----------
    contents
        Of which it holds X, the ids, and the text of var.
    options
        Nothing is left to choose.
    """

    def __init__(self, contents: Contents, options: WriteOptions) -> None:
        self._contents = contents
        self._options = options
        self._features = features_of(contents.var)
        self._columns = {
            name: texts for name, texts in self._features.rest.items() if _fits(name, texts)
        }

    def left_out(self) -> tuple[str, ...]:
        """All but X, the ids, and the text of var."""
        odd = tuple(name for name in self._features.rest if name not in self._columns)
        return dropped_by_10x(self._contents, (*self._features.left_out, *odd))

    def write(self, path: Path, seen: Progress) -> None:
        """Write the file."""
        matrix = self._contents.x
        n_cells, n_genes = matrix.shape
        seen.begin(0, 0, n_cells)
        with created(path) as (file, disk), packers() as pool:
            file.attrs["filetype"] = "matrix"
            file.attrs["version"] = 2
            group = file.create_group("matrix")
            _write_text(group, "barcodes", [str(name) for name in self._contents.obs.index])
            self._write_features(group.create_group("features"))
            group.create_dataset("shape", data=np.array([n_genes, n_cells], np.int32))
            indices, data = (
                Column(
                    group,
                    name,
                    dtype,
                    size=matrix.n_entries,
                    compression=self._options.compression,
                    pool=pool,
                    disk=disk,
                )
                for name, dtype in (("indices", _INT64), ("data", self._value_type()))
            )
            indptr = write_compressed(matrix, indices, data, self._options, seen)
            group.create_dataset("indptr", data=indptr, **packing(self._options.compression))

    def _write_features(self, group: h5py.Group) -> None:
        features = self._features
        _write_text(group, "id", features.ids)
        _write_text(group, "name", features.names)
        _write_text(group, "feature_type", features.types)
        for name, texts in self._columns.items():
            _write_text(group, name, texts)
        _write_text(group, "_all_tag_keys", list(self._columns))

    def _value_type(self) -> np.dtype[Any]:
        """int32, as Cell Ranger has it, where it holds all values."""
        stored = self._contents.x.value_type
        if stored.kind == "f":
            return self._contents.x.dtype
        return np.dtype(np.int32) if np.can_cast(stored, np.int32) else _INT64


def _write_text(group: h5py.Group, name: str, texts: Sequence[str]) -> None:
    """Write strings as Cell Ranger does: bytes of one length, filled up with zeros."""
    values = np.array([text.encode() for text in texts], dtype=np.bytes_)
    group.create_dataset(name, data=values if len(values) else np.empty(0, "S1"))


def _fits(name: str, texts: Sequence[str]) -> bool:
    """Whether a column of text can be one of the features."""
    if name in _OWN or not name or "/" in name or "\0" in name or name == ".":
        return False
    return not any(text.endswith("\0") for text in texts)


FORMAT = TargetFormat(
    name="10x_h5",
    description="10x H5 file of Cell Ranger (v3)",
    suffixes=(".h5",),
    is_one=is_file,
    open=TenxH5Target,
)
