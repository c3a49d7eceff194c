"""h5ad: AnnData on HDF5, from the compound tables of 0.6 to the string groups of pandas 3."""

from __future__ import annotations

import tempfile
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from slaf.annotations.dataframes import from_frame
from slaf.errors import DamagedInput, InputError, MissingMatrix, StorageError
from slaf.runtime.lazy import LazyMapping
from slaf.sources.anndata.h5ad_elements import READING_ERRORS, read_slots, read_varm_of_raw
from slaf.sources.base import Raw, SourceFormat
from slaf.sources.csr import ArrayLike, CompressedRows, compressed_columns
from slaf.sources.dense import dense_matrix
from slaf.sources.hdf5.arrays import open_1d, open_nd
from slaf.sources.hdf5.file import (
    decode_text,
    errors_as_damaged_input,
    get_checked,
    is_hdf5,
    numeric,
    open_file,
    parse_shape,
    safe_keys,
)
from slaf.sources.hdf5.limits import check_arrays, check_dense, check_table
from slaf.sources.hdf5.links import attribute, has_member
from slaf.sources.identity import file_identity
from slaf.sources.slots import dropped_with_raw, other_layers
from slaf.storage.paths import remote_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import h5py
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.sources.base import Matrix, MatrixSize, Slots
    from slaf.sparse.batch import Batch
    from slaf.sparse.ranges import RowRange

__all__ = ["FORMAT", "H5adSource"]

_LAYER = "layer:"

# Older than 0.7.0, raw lay beside X under names with a dot.
_RAW_MATRICES = ("raw/X", "raw.X")
_RAW_GENES = ("raw/var", "raw.var")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the file a matrix and its genes lie."""

    matrix: str
    genes: str


class H5adSource:
    """An AnnData file, read without holding X.

    Parameters
    ----------
    path
        The file.
    options
        Which matrix, and the budget for sorting it where it is not in cell order.

    Raises
    ------
    DamagedInput
        If it is not an HDF5 file, is cut short, or its parts contradict each other.
    MissingMatrix
        If it has no such matrix; the error lists those it has.
    """

    format = "h5ad"

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self._path = path
        self.uri = str(path)
        self.matrix = options.matrix
        self._options = options
        self._columns: dict[str, ArrayLike] = {}
        self._file = open_file(path)
        with ExitStack() as closing, errors_as_damaged_input(str(path)):
            closing.callback(self._file.close)
            self._place = self._find(options.matrix)
            self._matrix = self._open_matrix(self._place.matrix)
            self.dtype = self._matrix.dtype
            self.n_cells, self.n_genes = self._matrix.shape
            self._check_lengths()
            closing.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # With them goes the scratch of what was brought into the order of cells.
        for kept in ("_layers", "_raw"):
            self.__dict__.pop(kept, None)
        self._file.close()

    def identity(self) -> Mapping[str, Any]:
        """Size, time of change and a sampled digest of the file."""
        return file_identity(self._path)

    def matrices(self) -> tuple[str, ...]:
        """X, raw and the layers, as `--matrix` takes them."""
        with errors_as_damaged_input(self.uri):
            found = ["X"] if has_member(self._file, "X") else []
            if any(has_member(self._file, name) for name in _RAW_MATRICES):
                found.append("raw")
            layers = safe_keys(self._file, "layers")
        return (*found, *(_LAYER + name for name in layers))

    def left_behind(self) -> tuple[str, ...]:
        """What belongs to other genes than the matrix that was chosen."""
        with errors_as_damaged_input(self.uri):
            varied = [(slot, safe_keys(self._file, slot)) for slot in ("varm", "varp")]
        return dropped_with_raw(self.matrix, self.matrices(), varied)

    def extent(self) -> MatrixSize:
        """How much the chosen matrix holds."""
        return self._matrix.extent()

    def sample_values(self, matrix: str | None = None) -> NDArray[Any]:
        """Some of the first stored values."""
        with errors_as_damaged_input(f"{self._path}, {matrix or self.matrix}"):
            if matrix is None or matrix == self.matrix:
                return self._matrix.sample_values()
            return self._open_matrix(self._find(matrix).matrix).sample_values()

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells."""
        with errors_as_damaged_input(f"{self._path}, {self.matrix}"):
            return self._matrix.indptr_estimate(step)

    def cells(self) -> pa.Table:
        """The cells: `cell_id`, then obs."""
        return self._table("obs", "cell_id", self.n_cells)

    def genes(self) -> pa.Table:
        """The genes of the chosen matrix: `gene_id`, then var (of raw, raw's own)."""
        return self._table(self._place.genes, "gene_id", self.n_genes)

    def layers(self) -> Mapping[str, Matrix]:
        """X and the layers, but for the chosen one; of raw none, which has genes of its own."""
        return self._layers

    @cached_property
    def _layers(self) -> Mapping[str, Matrix]:
        # Once: what is not in the order of cells is brought into it once.
        names = other_layers(self.matrix, self.matrices())
        return LazyMapping(names, lambda name: self._beside(names[name]), keep=True)

    def raw(self) -> Raw | None:
        """The raw of the file, unless it is the chosen matrix."""
        return self._raw

    @cached_property
    def _raw(self) -> Raw | None:
        if self.matrix == "raw" or "raw" not in self.matrices():
            return None
        matrix = self._beside("raw")
        genes = self._table(self._find("raw").genes, "gene_id", matrix.shape[1])
        with errors_as_damaged_input(self.uri):
            return Raw(matrix, genes, read_varm_of_raw(self._file))

    def slots(self) -> Slots:
        """Those of the file; beside raw, its own varm and no varp."""
        with errors_as_damaged_input(self.uri):
            return read_slots(self._file, of_raw=self.matrix == "raw")

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        with errors_as_damaged_input(f"{self._path}, {self.matrix}"):
            yield from self._matrix.batches(rows)

    def _beside(self, matrix: str) -> Matrix:
        """A matrix that was not chosen, and whose errors say which it is."""
        place = f"{self._path}, {matrix}"
        with errors_as_damaged_input(place):
            return _Named(self._open_matrix(self._find(matrix).matrix), place)

    def _find(self, matrix: str) -> _Place:
        if matrix == "X" and has_member(self._file, "X"):
            return _Place("X", "var")
        if matrix == "raw":
            for place, genes in zip(_RAW_MATRICES, _RAW_GENES, strict=True):
                if has_member(self._file, place):
                    return _Place(place, genes)
        if matrix.startswith(_LAYER) and matrix in self.matrices():
            return _Place(f"layers/{matrix.removeprefix(_LAYER)}", "var")
        have = ", ".join(self.matrices()) or "none at all"
        msg = f"there is no matrix {matrix!r}; choose one with --matrix: {have}"
        raise MissingMatrix(msg)

    def _open_matrix(self, place: str) -> Matrix:
        import h5py

        element = get_checked(self._file, place)
        if isinstance(element, h5py.Dataset):
            return self._open_dense(element)
        encoding = decode_text(
            attribute(element, "encoding-type", attribute(element, "h5sparse_format"))
        )
        shape = attribute(element, "shape", attribute(element, "h5sparse_shape"))
        if encoding is None or shape is None:
            msg = f"{place} is neither a dense array nor a sparse matrix (encoding {encoding!r})"
            raise DamagedInput(msg)
        n_cells, n_genes = parse_shape(shape, place)
        parts = [
            numeric(get_checked(element, name), place) for name in ("indptr", "indices", "data")
        ]
        check_arrays(place, *parts)
        indptr, indices, data = map(self._column, parts)
        if encoding in {"csr_matrix", "csr"}:
            return CompressedRows(indptr, indices, data, (n_cells, n_genes))
        if encoding in {"csc_matrix", "csc"}:
            return compressed_columns(indptr, indices, data, (n_cells, n_genes), self._options)
        msg = f"{place} has the encoding {encoding!r}; dense, CSR and CSC are known"
        raise DamagedInput(msg)

    def _column(self, dataset: h5py.Dataset) -> ArrayLike:
        """One of the arrays of a matrix; of a file elsewhere what was fetched of it is kept."""
        elsewhere = remote_bytes(self._path)
        if elsewhere is None:
            return open_1d(dataset)
        if dataset.name not in self._columns:
            self._columns[dataset.name] = open_1d(dataset, elsewhere)
        return self._columns[dataset.name]

    def _open_dense(self, dataset: h5py.Dataset) -> Matrix:
        if dataset.shape is None or dataset.ndim != 2:  # noqa: PLR2004 - cells and genes
            msg = f"{dataset.name} has the shape {dataset.shape}, not cells × genes"
            raise DamagedInput(msg)
        check_dense(numeric(dataset, dataset.name))
        return dense_matrix(
            open_nd(dataset, remote_bytes(self._path)), dataset.chunks, self._options
        )

    def _check_lengths(self) -> None:
        for name, expected in (("obs", self.n_cells), (self._place.genes, self.n_genes)):
            found = _n_rows(get_checked(self._file, name))
            if found != expected:
                msg = f"{name} has {found:,} rows, but {self.matrix} needs {expected:,}"
                raise DamagedInput(msg)

    def _table(self, name: str, id_name: str, n_rows: int) -> pa.Table:
        try:
            table = from_frame(_read_frame(self._file, name), id_name)
        except InputError as error:
            error.add_note(f"of {name} in {self._path}")
            raise
        if table.num_rows != n_rows:
            msg = f"{self._path}: {name} has {table.num_rows:,} rows where {n_rows:,} are needed"
            raise DamagedInput(msg)
        return table


class _Named:
    """A matrix whose errors name the place that it is read from."""

    def __init__(self, matrix: Matrix, place: str) -> None:
        self._matrix = matrix
        self._place = place
        self.shape = matrix.shape
        self.dtype = matrix.dtype

    def extent(self) -> MatrixSize:
        return self._matrix.extent()

    def sample_values(self) -> NDArray[Any]:
        with errors_as_damaged_input(self._place):
            return self._matrix.sample_values()

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        with errors_as_damaged_input(self._place):
            return self._matrix.indptr_estimate(step)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        with errors_as_damaged_input(self._place):
            yield from self._matrix.batches(rows)


def _n_rows(table: h5py.Group | h5py.Dataset) -> int:
    import h5py

    ids = table
    if isinstance(table, h5py.Group):
        index = decode_text(attribute(table, "_index", "_index"))
        if index is None or not has_member(table, index):
            msg = f"{table.name} has no index {index!r}"
            raise DamagedInput(msg)
        ids = get_checked(table, index)
        # Nullable strings, the index of pandas 3, are a group of values and a mask.
        ids = ids if isinstance(ids, h5py.Dataset) else get_checked(ids, "values")
    if not isinstance(ids, h5py.Dataset) or ids.shape is None or ids.ndim != 1:
        msg = f"{ids.name} is not a list, with one entry a row"
        raise DamagedInput(msg)
    # Whatever else a table has is as long as its ids are.
    check_arrays(ids.name, ids)
    return len(ids)


def _read_frame(file: h5py.File, name: str) -> pd.DataFrame:
    import anndata
    import h5py
    import pandas as pd
    from anndata._io.specs.registry import IORegistryError

    table = get_checked(file, name)
    check_table(table, _n_rows(table))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if isinstance(table, h5py.Dataset):
                return _read_compound(file, name)
            frame = anndata.io.read_elem(table)
        except StorageError:
            raise
        except (*READING_ERRORS, IORegistryError) as error:
            msg = f"{name} cannot be read: {error}"
            raise DamagedInput(msg) from error
    if not isinstance(frame, pd.DataFrame):
        msg = f"{name} holds a {type(frame).__name__}, not a table"
        raise DamagedInput(msg)
    return frame


def _read_compound(file: h5py.File, name: str) -> pd.DataFrame:
    """A table of the time before groups, whose categories lie in uns.

    anndata reads those only as part of a file, so it is given one that has nothing else.
    """
    import anndata
    import h5py

    axis = "var" if name.endswith("var") else "obs"
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "table.h5ad"
        with h5py.File(path, "w") as small:
            for source, target in ((name, axis), *_other_axis(axis)):
                small.copy(get_checked(file, source), target)
            for key in safe_keys(file, "uns"):
                if key.endswith("_categories"):
                    small.copy(get_checked(file, f"uns/{key}"), f"uns/{key}")
        frame: pd.DataFrame = getattr(anndata.read_h5ad(path), axis)
    return frame


def _other_axis(axis: str) -> Iterator[tuple[str, str]]:
    other = "obs" if axis == "var" else "var"
    yield other, other


def _recognises(path: Path) -> bool:
    if not is_hdf5(path):
        return False
    with errors_as_damaged_input(str(path)), open_file(path) as file:
        return {"obs", "var"} <= set(file)


FORMAT = SourceFormat(
    name="h5ad",
    description="AnnData (.h5ad)",
    recognises=_recognises,
    open=H5adSource,
    looks_for="an HDF5 file with obs and var",
    suffixes=(".h5ad",),
)
