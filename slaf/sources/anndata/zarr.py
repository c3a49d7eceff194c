"""AnnData on zarr: version 2 or 3, in a folder, a zip file or a bucket, or in a SpatialData."""

from __future__ import annotations

from contextlib import ExitStack
from copy import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from slaf.errors import DamagedInput, InputError, MissingMatrix
from slaf.sources.anndata.stored import StoredAnnData
from slaf.sources.base import SourceFormat
from slaf.sources.hdf5.file import errors_as_damaged_input
from slaf.sources.hdf5.limits import MAX_RATIO, MAX_RATIO_OF_ZEROS, NARROW, check_expansion_ratio
from slaf.sources.matrix import check_numeric
from slaf.sources.slots import in_words
from slaf.sources.zarr.arrays import ZarrArray, chunk_elements, codec_errors
from slaf.sources.zarr.store import is_zip, open_objects

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    import anndata
    import pyarrow as pa
    import zarr
    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.sources.csr import ArrayLike
    from slaf.sources.dense import DenseArray

__all__ = ["FORMAT", "ZarrGroups", "top_names"]

_MARKERS = frozenset({"zarr.json", ".zgroup"})

# The groups of SpatialData that hold tables; the second in its first releases:
# https://spatialdata.scverse.org/en/stable/design_doc.html
_TABLES = ("tables", "table")


class ZarrGroups:
    """A zarr store, or a group of it; a `slaf.sources.anndata.groups.Groups`.

    Parameters
    ----------
    path
        A folder, a zip file, or a prefix of a bucket.

    Raises
    ------
    DamagedInput
        If it is not a group of zarr.
    """

    def __init__(self, path: Path) -> None:
        import zarr

        from slaf.sources.zarr.zarr_store import ReadOnlyStore

        self.uri = str(path)
        self._objects = open_objects(path)
        with ExitStack() as closing, errors_as_damaged_input(self.uri):
            closing.callback(self._objects.close)
            self._root = zarr.open_group(ReadOnlyStore(self._objects), mode="r")
            closing.pop_all()

    def within(self, path: str) -> Self:
        """A group of the store, which is closed with it."""
        inner = copy(self)
        inner._root = self.get(path)  # noqa: SLF001 - of this class
        return inner

    def keys(self, path: str) -> list[str]:
        """The names in a group, sorted; none if there is no such group."""
        element = self._find(path)
        return sorted(element.keys()) if hasattr(element, "keys") else []

    def has(self, path: str) -> bool:
        """Whether there is a group or an array of this name."""
        return self._find(path) is not None

    def get(self, path: str) -> Any:
        """The group or array."""
        element = self._find(path)
        if element is None:
            msg = f"{path} is missing"
            raise DamagedInput(msg)
        return element

    def read(self, path: str) -> Any:
        """The element as anndata reads it."""
        import anndata

        with codec_errors():
            return anndata.io.read_elem(self.get(path))

    def is_enumeration(self, path: str) -> bool:  # noqa: ARG002 - zarr has none
        """False."""
        return False

    def shape(self, path: str) -> tuple[int, ...] | None:
        """The shape of an array; None for a group."""
        shape: tuple[int, ...] | None = getattr(self.get(path), "shape", None)
        return shape

    def attribute(self, path: str, name: str, default: Any = None) -> Any:
        """An attribute of a group or an array; the default if there is none."""
        return self.get(path).attrs.get(name, default)

    def check_size(self, path: str) -> None:
        """Check the size of an array."""
        self._check_sizes(path, self._array(path))

    def check_table(self, path: str, n_rows: int) -> None:
        """Check the arrays of a table with so many checked ids."""
        for array in self._arrays(path):
            if array.shape != (n_rows,) or array.dtype.itemsize > NARROW:
                self._check_sizes(array.path, array)

    def open_compressed(self, path: str) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
        """The arrays indptr, indices and data of a sparse matrix."""
        arrays = [self._array(f"{path}/{name}") for name in ("indptr", "indices", "data")]
        for array in arrays:
            check_numeric(array.dtype, array.path)
            if array.ndim != 1:
                msg = f"{array.path} has the shape {array.shape}, not one of a list"
                raise DamagedInput(msg)
        self._check_sizes(path, *arrays)
        indptr, indices, data = (ZarrArray(array, self._objects) for array in arrays)
        return indptr, indices, data

    def open_dense(self, path: str) -> tuple[DenseArray, tuple[int, int] | None]:
        """An array of two dimensions, and the shape of its chunks."""
        array = self._array(path)
        check_numeric(array.dtype, path)
        self._check_sizes(path, array, ratio=MAX_RATIO_OF_ZEROS)
        rows, columns = array.chunks
        return ZarrArray(array, self._objects), (rows, columns)

    def read_numbers(self, path: str) -> NDArray[Any] | None:
        """An array of one dimension of numbers or booleans; None for anything else."""
        return self._read_list(path, "biuf")

    def read_strings(self, path: str) -> pa.Array | None:
        """An array of one dimension of texts of any length; None for anything else."""
        import pyarrow as pa

        texts = self._read_list(path, "T")
        return None if texts is None else pa.array(texts.tolist(), pa.string())

    def close_members(self, path: str) -> None:
        """Do nothing: no array is kept open."""

    def read_tables_of_arrays(self, members: Mapping[str, str]) -> anndata.AnnData:
        """Refuse tables of anndata before 0.7, which wrote them as arrays."""
        msg = (
            f"{' and '.join(members)} are arrays, as anndata before 0.7 wrote tables; read them "
            "with that release, and write them anew"
        )
        raise InputError(msg)

    def identity(self) -> Mapping[str, Any]:
        """A fingerprint of the objects of the group, or of the zip file."""
        return self._objects.identity(self._root.path)

    def errors(self, label: str) -> AbstractContextManager[None]:
        """Turn errors of zarr into DamagedInput, and name the location."""
        return errors_as_damaged_input(label)

    def close(self) -> None:
        """Close the zip file."""
        self._objects.close()

    def _find(self, path: str) -> Any:
        if not path:
            return self._root
        try:
            return self._root[path]
        except KeyError:
            return None

    def _array(self, path: str) -> zarr.Array[Any]:
        array: zarr.Array[Any] = self.get(path)
        if self.shape(path) is None:
            msg = f"{path} is a group, not an array"
            raise DamagedInput(msg)
        return array

    def _read_list(self, path: str, kinds: str) -> NDArray[Any] | None:
        """An array of one dimension whose type is of these kinds; None for anything else."""
        if len(self.shape(path) or ()) != 1 or self.get(path).dtype.kind not in kinds:
            return None
        with codec_errors():
            return np.asarray(self.get(path)[:])

    def _arrays(self, path: str) -> Iterator[zarr.Array[Any]]:
        if self.shape(path) is not None:
            yield self._array(path)
        for name in self.keys(path):
            yield from self._arrays(f"{path}/{name}")

    def _check_sizes(self, label: str, *arrays: zarr.Array[Any], ratio: int = MAX_RATIO) -> None:
        stored = sum(sum(self._objects.sizes(array.path).values()) for array in arrays)
        declared = sum(chunk_elements(array) * array.dtype.itemsize for array in arrays)
        check_expansion_ratio(label, stored, declared, ratio)


def top_names(path: Path) -> frozenset[str]:
    """The names at the top of a zarr store; none if it is not a store."""
    if path.is_dir():
        names = frozenset(child.name for child in path.iterdir())
    elif is_zip(path):
        objects = open_objects(path)
        names = frozenset(objects.children(""))
        objects.close()
    else:
        return frozenset()
    return names if names & _MARKERS else frozenset()


def _recognises(path: Path) -> bool:
    names = top_names(path)
    is_anndata = {"obs", "var"} <= names and "mod" not in names
    return is_anndata or not names.isdisjoint(_TABLES)


def _open(path: Path, options: ReadOptions) -> StoredAnnData:
    groups = ZarrGroups(path)
    with ExitStack() as closing, errors_as_damaged_input(groups.uri):
        closing.callback(groups.close)
        tables = next((name for name in _TABLES if groups.has(name)), None)
        others: tuple[str, ...] = ()
        if tables is not None and not groups.has("obs"):
            table = _only_table(groups, tables)
            others = _beside_tables(groups, tables)
            groups = groups.within(f"{tables}/{table}")
        closing.pop_all()
    return StoredAnnData(groups, options, "zarr", others)


def _only_table(groups: ZarrGroups, tables: str) -> str:
    names = groups.keys(tables)
    if len(names) != 1:
        paths = ", ".join(f"{groups.uri}/{tables}/{name}" for name in names) or "there is none"
        msg = f"a SpatialData has {len(names):,} tables; name one of them: {paths}"
        raise MissingMatrix(msg)
    return names[0]


def _beside_tables(groups: ZarrGroups, tables: str) -> tuple[str, ...]:
    """The elements of a SpatialData that are no tables, in words."""
    others = [name for name in groups.keys("") if name != tables]
    return tuple(text for name in others for text in in_words(name, groups.keys(name)))


FORMAT = SourceFormat(
    name="zarr",
    description="AnnData on zarr",
    recognises=_recognises,
    open=_open,
    looks_for="a zarr group with obs and var, or with tables (a folder, or a zip file)",
    suffixes=(".zarr.zip",),
)
