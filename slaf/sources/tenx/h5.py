"""10x HDF5: the matrices of Cell Ranger 1 to 9, Space Ranger and multiome, v2 and v3."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from slaf.annotations.columns import arrow_table
from slaf.errors import DamagedInput, MissingMatrix
from slaf.sources.base import Slots, SourceFormat
from slaf.sources.csr import CompressedRows
from slaf.sources.hdf5.arrays import open_1d
from slaf.sources.hdf5.file import (
    errors_as_damaged_input,
    get_checked,
    is_hdf5,
    numeric,
    open_file,
    parse_shape,
    safe_keys,
)
from slaf.sources.hdf5.limits import check_arrays, check_table
from slaf.sources.hdf5.links import try_resolve
from slaf.sources.identity import file_identity
from slaf.sources.tenx.spatial import spatial_folder
from slaf.storage.paths import remote_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    import h5py
    import numpy as np
    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.sources.base import Matrix, MatrixSize
    from slaf.sparse.batch import Batch
    from slaf.sparse.ranges import RowRange

__all__ = ["FORMAT", "TenxH5Source"]


# Cell Ranger 3 and later keep one matrix with a table of features; before that each genome had
# a matrix of its own.
# https://www.10xgenomics.com/support/software/cell-ranger/latest/analysis/outputs/cr-outputs-h5-matrices
_MATRIX = "matrix"
_REQUIRED = frozenset({"barcodes", "data", "indices", "indptr", "shape"})
_FEATURES = "features"
_V2_COLUMNS = frozenset({"genes", "gene_names"})
_GENE_NAME = "gene_name"


class TenxH5Source:
    """A feature-barcode matrix; its columns are barcodes, so it is in cell order already.

    Parameters
    ----------
    path
        The file.
    options
        `genome` chooses among several matrices of a v2 file.

    Raises
    ------
    DamagedInput
        If it is cut short, or its parts contradict each other.
    MissingMatrix
        If another matrix than X is asked for, or the genome is to be chosen.
    """

    format = "10x_h5"
    matrix = "X"

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self._path = path
        self.uri = str(path)
        self._file = open_file(path)
        with ExitStack() as closing, errors_as_damaged_input(str(path)):
            closing.callback(self._file.close)
            self._group = _choose(self._file, options)
            self._open()
            closing.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def identity(self) -> Mapping[str, Any]:
        """Size, time of change and a sampled digest of the file."""
        return file_identity(self._path)

    def matrices(self) -> tuple[str, ...]:
        """X only."""
        return (self.matrix,)

    def left_behind(self) -> tuple[str, ...]:
        """The genomes that were not chosen, and what says nothing of each cell or gene."""
        genomes = _genomes(self._file)
        others = [f"genome {name}" for name in genomes if name != self._name]
        others += _described(self._file, {*genomes, self._name})
        beside = {_FEATURES, *self._beside_barcodes()}
        others += _described(self._group, _REQUIRED | _V2_COLUMNS | beside)
        if self._name == _MATRIX:
            others += _described(self._group[_FEATURES], {"id", "name", *self._beside_features()})
        return (*others, *spatial_folder(self._path))

    def extent(self) -> MatrixSize:
        """How much the matrix holds."""
        return self._matrix.extent()

    def sample_values(self, matrix: str | None = None) -> NDArray[Any]:  # noqa: ARG002 - there is one
        """The first stored values."""
        with errors_as_damaged_input(self.uri):
            return self._matrix.sample_values()

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells."""
        with errors_as_damaged_input(self.uri):
            return self._matrix.indptr_estimate(step)

    def cells(self) -> pa.Table:
        """The barcodes, and what the file says of each beside."""
        with errors_as_damaged_input(self.uri):
            found = {name: self._column(name) for name in self._beside_barcodes()}
            return arrow_table("cell_id", self._strings("barcodes"), found)

    def genes(self) -> pa.Table:
        """The features: id, name, type, genome and whatever else the file says of each."""
        with errors_as_damaged_input(self.uri):
            if self._name != _MATRIX:
                genomes = pa.array([self._name] * self.n_genes, pa.string())
                found = {_GENE_NAME: self._names("gene_names"), "genome": genomes}
                return arrow_table("gene_id", self._strings("genes"), found)
            names = self._beside_features()
            # Of probes the name is another than that of their gene, which is beside it.
            named = "name" if _GENE_NAME in names else _GENE_NAME
            found = {named: self._names(f"{_FEATURES}/name")}
            found |= {name: self._column(f"{_FEATURES}/{name}") for name in names}
            return arrow_table("gene_id", self._strings(f"{_FEATURES}/id"), found)

    def layers(self) -> Mapping[str, Matrix]:
        """None."""
        return {}

    def raw(self) -> None:
        """None: what Cell Ranger calls raw is a matrix of more cells."""

    def slots(self) -> Slots:
        """None."""
        return Slots()

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        with errors_as_damaged_input(self.uri):
            yield from self._matrix.batches(rows)

    def _open(self) -> None:
        shape = self._dataset("shape")
        check_arrays(f"{self._name}/shape", shape)
        self.n_genes, self.n_cells = parse_shape(shape[()], f"{self._name}/shape")
        parts = [
            numeric(self._dataset(name), f"{self._name}/{name}")
            for name in ("indptr", "indices", "data")
        ]
        check_arrays(self._name, *parts)
        indptr, indices, data = (open_1d(part, remote_bytes(self._path)) for part in parts)
        self._matrix = CompressedRows(indptr, indices, data, (self.n_cells, self.n_genes))
        self.dtype = self._matrix.dtype
        ids = f"{_FEATURES}/id" if self._name == _MATRIX else "genes"
        for name, expected in (("barcodes", self.n_cells), (ids, self.n_genes)):
            found = self._dataset(name).shape
            if found != (expected,):
                msg = (
                    f"{self._name}/{name} has {' × '.join(map(str, found))} entries where shape "
                    f"says {expected}"
                )
                raise DamagedInput(msg)
            check_arrays(f"{self._name}/{name}", self._dataset(name))

    @property
    def _name(self) -> str:
        return str(self._group.name).strip("/")

    def _beside_barcodes(self) -> list[str]:
        return _columns(self._group, self.n_cells, _REQUIRED | _V2_COLUMNS)

    def _beside_features(self) -> list[str]:
        return _columns(self._group[_FEATURES], self.n_genes, {"id", "name"})

    def _dataset(self, name: str) -> h5py.Dataset:
        import h5py

        found = get_checked(self._group, name)
        if not isinstance(found, h5py.Dataset):
            msg = f"{self._name}/{name} is a group, not an array"
            raise DamagedInput(msg)
        if found.shape is None:
            msg = f"{self._name}/{name} holds nothing"
            raise DamagedInput(msg)
        return found

    def _names(self, name: str) -> pa.Array:
        shape = self._dataset(name).shape
        if shape != (self.n_genes,):
            msg = (
                f"{self._name}/{name} has {' × '.join(map(str, shape))} entries for "
                f"{self.n_genes} genes"
            )
            raise DamagedInput(msg)
        return self._column(name)

    def _column(self, name: str) -> pa.Array:
        dataset = self._dataset(name)
        if dataset.dtype.kind in "SO":
            return self._strings(name)
        check_table(numeric(dataset, f"{self._name}/{name}"), len(dataset))
        values = dataset[()]
        return pa.array(values.astype(values.dtype.newbyteorder("=")))

    def _strings(self, name: str) -> pa.Array:
        dataset = self._dataset(name)
        check_table(dataset, len(dataset))
        try:
            # The file may say ASCII, of which UTF-8 is more.
            return pa.array(dataset.asstr("utf-8")[()].tolist(), pa.string())
        except (UnicodeDecodeError, TypeError) as error:
            msg = f"{self._name}/{name} is not text in UTF-8 ({error})"
            raise DamagedInput(msg) from error


def _columns(group: h5py.Group, length: int, known: AbstractSet[str]) -> list[str]:
    """The members of a group that say something of each cell or gene."""
    import h5py

    return [
        name
        for name in group
        if name not in known
        and not name.startswith("_")
        and isinstance(found := try_resolve(group, name), h5py.Dataset)
        and found.shape == (length,)
    ]


def _described(group: h5py.Group, known: AbstractSet[str]) -> list[str]:
    """The members of a group that are not known, in words."""
    others = [name for name in group if name not in known and not name.startswith("_")]
    inside = {name: ", ".join(safe_keys(group, name)) for name in others}
    return [f"{name} ({names})" if names else name for name, names in inside.items()]


def _genomes(file: h5py.File) -> list[str]:
    """The groups that are a matrix."""
    import h5py

    return [
        name
        for name in file
        if isinstance(group := try_resolve(file, name), h5py.Group) and set(group) >= _REQUIRED
    ]


def _choose(file: h5py.File, options: ReadOptions) -> h5py.Group:
    if options.matrix != "X":
        msg = f"a 10x file has no matrix {options.matrix!r}, only X"
        raise MissingMatrix(msg)
    found, genome = _genomes(file), options.genome
    if not found:
        needed = ", ".join(sorted(_REQUIRED))
        msg = f"no group of the file is a matrix (with {needed})"
        raise DamagedInput(msg)
    if _MATRIX in found:
        found = [_MATRIX]
        if genome is not None:
            msg = "its features have their genomes beside them, there is none to choose"
            raise MissingMatrix(msg)
    if genome is None and len(found) == 1:
        return get_checked(file, found[0])
    if genome not in found:
        have = ", ".join(found)
        what = "several genomes" if genome is None else f"no genome {genome!r}"
        msg = f"the file holds {what}; choose one with --genome: {have}"
        raise MissingMatrix(msg)
    return get_checked(file, genome)


def _recognises(path: Path) -> bool:
    if not is_hdf5(path):
        return False
    with errors_as_damaged_input(str(path)), open_file(path) as file:
        return bool(_genomes(file))


FORMAT = SourceFormat(
    name="10x_h5",
    description="10x HDF5 (.h5) of Cell Ranger and Space Ranger",
    recognises=_recognises,
    open=TenxH5Source,
    looks_for="an HDF5 file with barcodes, data, indices, indptr and shape in a group",
    choices=frozenset({"genome", "feature_type"}),
    suffixes=(".h5",),
)
