"""10x HDF5: the matrices of Cell Ranger 1 to 9, Space Ranger and multiome, v2 and v3."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from slaf.annotations.columns import arrow_table
from slaf.errors import DamagedInput, MissingMatrix
from slaf.sources.base import Source, SourceFormat, SourceInfo, check_only_x
from slaf.sources.csr import CompressedRows
from slaf.sources.feature_types import GENOME, subset_or_close
from slaf.sources.hdf5.arrays import open_compressed
from slaf.sources.hdf5.file import (
    errors_as_damaged_input,
    get_checked,
    numeric,
    open_file,
    parse_shape,
    recognise,
    safe_keys,
)
from slaf.sources.hdf5.limits import check_arrays, check_table
from slaf.sources.hdf5.links import has_all, try_resolve
from slaf.sources.identity import file_identity
from slaf.sources.matrix import LabelledMatrix
from slaf.sources.tenx.spatial import spatial_folder
from slaf.storage.paths import remote_bytes

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    import h5py

    from slaf.options import ReadOptions
    from slaf.sources.matrix import Matrix

__all__ = ["FORMAT", "TenxH5Source"]


# Cell Ranger 3 and later write one matrix and a table of features; earlier versions a matrix for
# each genome.
# https://www.10xgenomics.com/support/software/cell-ranger/latest/analysis/outputs/cr-outputs-h5-matrices
_MATRIX = "matrix"
_REQUIRED = frozenset({"barcodes", "data", "indices", "indptr", "shape"})
_FEATURES = "features"
_V2_COLUMNS = frozenset({"genes", "gene_names"})
_GENE_NAME = "gene_name"


class TenxH5Source(Source):
    """A feature-barcode matrix; its columns are barcodes, so it is in cell order.

    Parameters
    ----------
    path
        The file.
    options
        `genome` chooses among several matrices of a v2 file, or the features of a v3 file.

    Raises
    ------
    DamagedInput
        If it is cut short, or its parts contradict each other.
    MissingMatrix
        If there is no such matrix or genome, or there are several genomes.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__()
        self._path = path
        self._file = open_file(path)
        with ExitStack() as closing, errors_as_damaged_input(str(path)):
            closing.callback(self._file.close)
            self._group = _choose(self._file, options)
            self.info = self._describe()
            closing.pop_all()

    def _describe(self) -> SourceInfo:
        matrix = self.matrix("X")
        self._n_cells, self._n_genes = matrix.shape
        for name, length in (("barcodes", self._n_cells), (self._gene_ids(), self._n_genes)):
            self._check_length(name, length)
            check_arrays(f"{self._name}/{name}", self._dataset(name))
        return SourceInfo.of(
            matrix,
            uri=str(self._path),
            format="10x_h5",
            identity=file_identity(self._path),
            not_converted=self._not_converted(),
        )

    @property
    def has_all_genomes(self) -> bool:
        """Whether it has one matrix of all genomes."""
        return self._name == _MATRIX

    def _gene_ids(self) -> str:
        """The dataset of the ids of genes; where there is none, that of their names."""
        ids, names = (
            (f"{_FEATURES}/id", f"{_FEATURES}/name")
            if self.has_all_genomes
            else ("genes", "gene_names")
        )
        return ids if ids in self._group or names not in self._group else names

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read_cells(self) -> pa.Table:
        """The barcodes, and other columns of the file with a value for each."""
        with errors_as_damaged_input(self.info.uri):
            columns = {name: self._column(name) for name in self._barcode_columns()}
            return arrow_table("cell_id", self._strings("barcodes"), columns)

    def read_genes(self) -> pa.Table:
        """The features: id, name, type, genome, and other columns of the file."""
        with errors_as_damaged_input(self.info.uri):
            if not self.has_all_genomes:
                genomes = pa.array([self._name] * self._n_genes, pa.string())
                columns = {**self._gene_names(_GENE_NAME, "gene_names"), "genome": genomes}
                return arrow_table("gene_id", self._strings(self._gene_ids()), columns)
            names = self._feature_columns()
            # The name of a probe is not that of its gene, which is another column.
            name_column = "name" if _GENE_NAME in names else _GENE_NAME
            columns = self._gene_names(name_column, f"{_FEATURES}/name")
            columns |= {name: self._column(f"{_FEATURES}/{name}") for name in names}
            return arrow_table("gene_id", self._strings(self._gene_ids()), columns)

    def _gene_names(self, column: str, dataset: str) -> dict[str, pa.Array]:
        """The names of genes as a column, unless they are the ids."""
        if dataset == self._gene_ids():
            return {}
        self._check_length(dataset, self._n_genes)
        return {column: self._column(dataset)}

    def open_matrix(self, name: str) -> Matrix:
        """X, the only matrix."""
        check_only_x(name, "a 10x file")
        shape = self._dataset("shape")
        check_arrays(f"{self._name}/shape", shape)
        n_genes, n_cells = parse_shape(shape[()], f"{self._name}/shape")
        arrays = open_compressed(self._group, self._name, remote_bytes(self._path))
        matrix = CompressedRows(*arrays, (n_cells, n_genes))
        return LabelledMatrix(matrix, partial(errors_as_damaged_input, str(self._path)))

    def _not_converted(self) -> tuple[str, ...]:
        """The other genomes, and groups and datasets without a value for each cell or gene."""
        genomes = _genomes(self._file)
        others = [f"genome {name}" for name in genomes if name != self._name]
        others += _describe_members(self._file, {*genomes, self._name})
        columns = {_FEATURES, *self._barcode_columns()}
        others += _describe_members(self._group, _REQUIRED | _V2_COLUMNS | columns)
        if self.has_all_genomes:
            features = self._group[_FEATURES]
            others += _describe_members(features, {"id", "name", *self._feature_columns()})
        return (*others, *spatial_folder(self._path))

    @property
    def _name(self) -> str:
        return str(self._group.name).strip("/")

    def _barcode_columns(self) -> list[str]:
        return _columns(self._group, self._n_cells, _REQUIRED | _V2_COLUMNS)

    def _feature_columns(self) -> list[str]:
        return _columns(self._group[_FEATURES], self._n_genes, {"id", "name"})

    def _dataset(self, name: str) -> h5py.Dataset:
        import h5py

        dataset = get_checked(self._group, name)
        if not isinstance(dataset, h5py.Dataset):
            msg = f"{self._name}/{name} is a group, not an array"
            raise DamagedInput(msg)
        if dataset.shape is None:
            msg = f"{self._name}/{name} holds nothing"
            raise DamagedInput(msg)
        return dataset

    def _check_length(self, name: str, length: int) -> None:
        shape = self._dataset(name).shape
        if shape != (length,):
            sizes = " × ".join(map(str, shape))
            msg = f"{self._name}/{name} has {sizes} entries where shape says {length}"
            raise DamagedInput(msg)

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
            # UTF-8 includes the ASCII that the file may declare.
            return pa.array(dataset.asstr("utf-8")[()].tolist(), pa.string())
        except (UnicodeDecodeError, TypeError) as error:
            msg = f"{self._name}/{name} is not text in UTF-8 ({error})"
            raise DamagedInput(msg) from error


def _columns(group: h5py.Group, length: int, known: AbstractSet[str]) -> list[str]:
    """The datasets of a group with a value for each cell or gene."""
    import h5py

    return [
        name
        for name in group
        if name not in known
        and not name.startswith("_")
        and isinstance(dataset := try_resolve(group, name), h5py.Dataset)
        and dataset.shape == (length,)
    ]


def _describe_members(group: h5py.Group, known: AbstractSet[str]) -> list[str]:
    """The members of a group that are not known, with the names in them."""
    others = [name for name in group if name not in known and not name.startswith("_")]
    members = {name: ", ".join(safe_keys(group, name)) for name in others}
    return [f"{name} ({names})" if names else name for name, names in members.items()]


def _genomes(file: h5py.File) -> list[str]:
    """The groups that hold a matrix."""
    import h5py

    return [
        name
        for name in file
        if isinstance(group := try_resolve(file, name), h5py.Group) and has_all(group, _REQUIRED)
    ]


def _choose(file: h5py.File, options: ReadOptions) -> h5py.Group:
    check_only_x(options.matrix, "a 10x file")
    genomes, genome = _genomes(file), options.genome
    if not genomes:
        needed = ", ".join(sorted(_REQUIRED))
        msg = f"no group of the file is a matrix (with {needed})"
        raise DamagedInput(msg)
    if _MATRIX in genomes:
        # Its features name their genomes.
        return get_checked(file, _MATRIX)
    if genome is None and len(genomes) == 1:
        return get_checked(file, genomes[0])
    if genome not in genomes:
        what = "several genomes" if genome is None else f"no genome {genome!r}"
        msg = f"the file holds {what}; choose one with --genome: {', '.join(genomes)}"
        raise MissingMatrix(msg)
    return get_checked(file, genome)


def _open(path: Path, options: ReadOptions) -> Source:
    source = TenxH5Source(path, options)
    if options.genome is None or not source.has_all_genomes:
        return source
    return subset_or_close(source, GENOME, options.genome)


FORMAT = SourceFormat(
    name="10x_h5",
    description="10x HDF5 (.h5) of Cell Ranger and Space Ranger",
    recognises=partial(recognise, matches=lambda file: bool(_genomes(file))),
    open=_open,
    looks_for="an HDF5 file with barcodes, data, indices, indptr and shape in a group",
    choices=frozenset({"genome", "feature_type"}),
    suffixes=(".h5",),
)
