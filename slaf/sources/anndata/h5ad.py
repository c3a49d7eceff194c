"""h5ad: AnnData on HDF5, from the compound tables of 0.6 to the string groups of pandas 3."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from slaf.annotations.dataframes import from_frame
from slaf.errors import DamagedInput, MissingMatrix
from slaf.options import SLOTS
from slaf.sources.anndata.h5ad_elements import (
    columns_left_out,
    count_rows,
    element_names,
    read_frame,
    read_slots,
    read_varm_of_raw,
)
from slaf.sources.base import LabelledMatrix, Raw, Source, SourceFormat, SourceInfo, add_note
from slaf.sources.csr import CompressedRows, compressed_columns
from slaf.sources.dense import dense_matrix
from slaf.sources.hdf5.arrays import open_compressed, open_nd
from slaf.sources.hdf5.file import (
    decode_text,
    errors_as_damaged_input,
    get_checked,
    numeric,
    open_file,
    parse_shape,
    recognise,
    safe_keys,
)
from slaf.sources.hdf5.limits import check_dense
from slaf.sources.hdf5.links import attribute, has_member
from slaf.sources.identity import file_identity
from slaf.sources.slots import dropped_with_raw, other_layers
from slaf.storage.paths import remote_bytes

if TYPE_CHECKING:
    from pathlib import Path

    import h5py
    import pyarrow as pa

    from slaf.options import ReadOptions
    from slaf.sources.base import Matrix, Slots

__all__ = ["FORMAT", "H5adSource"]

_LAYER = "layer:"

# The HDF5 paths of raw and of its genes; before 0.7.0 their names had a dot.
_RAW = (("raw/X", "raw/var"), ("raw.X", "raw.var"))

# The members of a file that mean something; before 0.7.0 those of raw had a dot.
_MEMBERS = frozenset(
    {"X", "layers", "raw", "raw.X", "raw.var", "raw.varm", "obs", "var", *SLOTS, "__categories"}
)


class H5adSource(Source):
    """An AnnData file, read without loading X.

    Parameters
    ----------
    path
        The file.
    options
        The matrix, and the memory for sorting it where it is not in cell order.

    Raises
    ------
    DamagedInput
        If it is not an HDF5 file, is cut short, or its parts contradict each other.
    MissingMatrix
        If it has no such matrix; the error lists its matrices.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__()
        self._path = path
        self._options = options
        self._file = open_file(path)
        with ExitStack() as closing, errors_as_damaged_input(str(path)):
            closing.callback(self._file.close)
            self.info = self._describe(options.matrix)
            closing.pop_all()

    def _describe(self, chosen: str) -> SourceInfo:
        matrix, names = self.matrix(chosen), self._names()
        n_cells, n_genes = matrix.shape
        self._var = self._find(chosen)[1]
        for table, expected in (("obs", n_cells), (self._var, n_genes)):
            n_rows = count_rows(get_checked(self._file, table))
            if n_rows != expected:
                msg = f"{table} has {n_rows:,} rows, but {chosen} needs {expected:,}"
                raise DamagedInput(msg)
        of_genes = [(slot, element_names(self._file, slot)) for slot in ("varm", "varp")]
        return SourceInfo.of(
            matrix,
            chosen,
            uri=str(self._path),
            format="h5ad",
            identity=file_identity(self._path),
            matrices=names,
            layers=other_layers(chosen, names),
            not_converted=(
                *dropped_with_raw(chosen, names, of_genes),
                *columns_left_out(self._file),
                *(name for name in safe_keys(self._file, "/") if name not in _MEMBERS),
            ),
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read_cells(self) -> pa.Table:
        """`cell_id`, then obs."""
        return self._table("obs", "cell_id", self.info.n_cells)

    def read_genes(self) -> pa.Table:
        """`gene_id`, then var of the chosen matrix (of raw, its own)."""
        return self._table(self._var, "gene_id", self.info.n_genes)

    def open_raw(self) -> Raw | None:
        """The raw of the file, unless it is the chosen matrix."""
        if self.info.matrix == "raw" or "raw" not in self.info.matrices:
            return None
        matrix = self.matrix("raw")
        genes = self._table(self._find("raw")[1], "gene_id", matrix.shape[1])
        with errors_as_damaged_input(self.info.uri):
            return Raw(matrix, genes, read_varm_of_raw(self._file))

    def slots(self) -> Slots:
        """The slots of the file; for raw, its varm and no varp."""
        with errors_as_damaged_input(self.info.uri):
            of_raw = self.info.matrix == "raw"
            return self._once("slots", lambda: read_slots(self._file, of_raw=of_raw))

    def open_matrix(self, name: str) -> Matrix:
        """X, raw or a layer."""
        errors = partial(errors_as_damaged_input, f"{self._path}, {name}")
        with errors():
            return LabelledMatrix(self._open_element(self._find(name)[0]), errors)

    def _names(self) -> tuple[str, ...]:
        names = ["X"] if has_member(self._file, "X") else []
        if any(has_member(self._file, path) for path, _ in _RAW):
            names.append("raw")
        return (*names, *(_LAYER + name for name in element_names(self._file, "layers")))

    def _find(self, matrix: str) -> tuple[str, str]:
        """The HDF5 paths of a matrix and of its genes."""
        if matrix == "X" and has_member(self._file, "X"):
            return "X", "var"
        if matrix == "raw":
            for path, genes in _RAW:
                if has_member(self._file, path):
                    return path, genes
        if matrix.startswith(_LAYER) and matrix in self._names():
            return f"layers/{matrix.removeprefix(_LAYER)}", "var"
        names = ", ".join(self._names()) or "none at all"
        msg = f"there is no matrix {matrix!r}; choose one with --matrix: {names}"
        raise MissingMatrix(msg)

    def _open_element(self, path: str) -> Matrix:
        import h5py

        element = get_checked(self._file, path)
        if isinstance(element, h5py.Dataset):
            return self._open_dense(element)
        encoding = decode_text(
            attribute(element, "encoding-type", attribute(element, "h5sparse_format"))
        )
        shape = attribute(element, "shape", attribute(element, "h5sparse_shape"))
        if encoding is None or shape is None:
            msg = f"{path} is neither a dense array nor a sparse matrix (encoding {encoding!r})"
            raise DamagedInput(msg)
        sizes = parse_shape(shape, path)
        arrays = open_compressed(element, path, remote_bytes(self._path))
        if encoding in {"csr_matrix", "csr"}:
            return CompressedRows(*arrays, sizes)
        if encoding in {"csc_matrix", "csc"}:
            return compressed_columns(*arrays, sizes, self._options)
        msg = f"{path} has the encoding {encoding!r}; dense, CSR and CSC are known"
        raise DamagedInput(msg)

    def _open_dense(self, dataset: h5py.Dataset) -> Matrix:
        if dataset.shape is None or dataset.ndim != 2:  # noqa: PLR2004 - cells and genes
            msg = f"{dataset.name} has the shape {dataset.shape}, not cells × genes"
            raise DamagedInput(msg)
        check_dense(numeric(dataset, dataset.name))
        return dense_matrix(
            open_nd(dataset, remote_bytes(self._path)), dataset.chunks, self._options
        )

    def _table(self, name: str, id_name: str, n_rows: int) -> pa.Table:
        with add_note(f"in {name} of {self._path}"):
            table = from_frame(read_frame(self._file, name), id_name)
        if table.num_rows != n_rows:
            msg = f"{self._path}: {name} has {table.num_rows:,} rows where {n_rows:,} are needed"
            raise DamagedInput(msg)
        return table


FORMAT = SourceFormat(
    name="h5ad",
    description="AnnData (.h5ad)",
    recognises=partial(recognise, matches=lambda file: {"obs", "var"} <= set(file)),
    open=H5adSource,
    looks_for="an HDF5 file with obs and var",
    suffixes=(".h5ad",),
)
