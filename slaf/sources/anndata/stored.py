"""A stored AnnData as a source: one reader for HDF5 and zarr."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from slaf.errors import DamagedInput, MissingMatrix
from slaf.options import SLOTS
from slaf.sources.anndata.elements import (
    columns_left_out,
    count_rows,
    element_names,
    read_slots,
    read_table,
    read_varm_of_raw,
)
from slaf.sources.base import Source, SourceInfo, add_note, choices
from slaf.sources.contents import Raw
from slaf.sources.csr import CompressedRows, compressed_columns
from slaf.sources.dense import dense_matrix
from slaf.sources.hdf5.file import decode_text, parse_shape
from slaf.sources.matrix import LabelledMatrix
from slaf.sources.slots import dropped_with_raw, other_layers

if TYPE_CHECKING:
    import pyarrow as pa

    from slaf.options import ReadOptions
    from slaf.sources.anndata.groups import Groups
    from slaf.sources.contents import Slots
    from slaf.sources.matrix import Matrix

__all__ = ["StoredAnnData"]

_LAYER = "layer:"

# The paths of raw and of its genes; before 0.7.0 their names had a dot.
_RAW = (("raw/X", "raw/var"), ("raw.X", "raw.var"))

# The members of an AnnData that mean something.
_MEMBERS = frozenset(
    {"X", "layers", "raw", "raw.X", "raw.var", "raw.varm", "obs", "var", *SLOTS, "__categories"}
)


class StoredAnnData(Source):
    """An AnnData in groups and arrays, read without loading X.

    Parameters
    ----------
    groups
        The file or folder; closed with the source, and if it cannot be read.
    options
        The matrix, and the memory for sorting it where it is not in cell order.
    format
        The name of the format.
    others
        Names of other contents of the file, which are not converted.

    Raises
    ------
    DamagedInput
        If it is cut short, or its parts contradict each other.
    MissingMatrix
        If it has no such matrix; the error lists its matrices.
    """

    def __init__(
        self, groups: Groups, options: ReadOptions, format: str, others: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self._groups = groups
        self._options = options
        with ExitStack() as closing, groups.errors(groups.uri):
            closing.callback(groups.close)
            self.info = self._describe(options.matrix, format, others)
            closing.pop_all()

    def _describe(self, chosen: str, format: str, others: tuple[str, ...]) -> SourceInfo:
        matrix, names = self.matrix(chosen), self._names()
        n_cells, n_genes = matrix.shape
        self._var = self._find(chosen)[1]
        for table, expected in (("obs", n_cells), (self._var, n_genes)):
            n_rows = count_rows(self._groups, table)
            if n_rows != expected:
                msg = f"{table} has {n_rows:,} rows, but {chosen} needs {expected:,}"
                raise DamagedInput(msg)
        of_genes = [(slot, element_names(self._groups, slot)) for slot in ("varm", "varp")]
        return SourceInfo.of(
            matrix,
            chosen,
            uri=self._groups.uri,
            format=format,
            identity=self._groups.identity(),
            matrices=names,
            layers=other_layers(chosen, names),
            not_converted=(
                *dropped_with_raw(chosen, names, of_genes),
                *columns_left_out(self._groups),
                *(name for name in self._groups.keys("") if name not in _MEMBERS),
                *others,
            ),
        )

    def close(self) -> None:
        """Close the file."""
        self._groups.close()

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
        with self._groups.errors(self.info.uri):
            return Raw(matrix, genes, read_varm_of_raw(self._groups))

    def slots(self) -> Slots:
        """The slots of the file; for raw, its varm and no varp."""
        with self._groups.errors(self.info.uri):
            of_raw = self.info.matrix == "raw"
            return self._once("slots", lambda: read_slots(self._groups, of_raw=of_raw))

    def open_matrix(self, name: str) -> Matrix:
        """X, raw or a layer."""
        errors = partial(self._groups.errors, f"{self._groups.uri}, {name}")
        with errors():
            return LabelledMatrix(self._open_element(self._find(name)[0]), errors)

    def _names(self) -> tuple[str, ...]:
        return self._once("names", self._find_names)

    def _find_names(self) -> tuple[str, ...]:
        names = ["X"] if self._groups.has("X") else []
        if any(self._groups.has(path) for path, _ in _RAW):
            names.append("raw")
        return (*names, *(_LAYER + name for name in element_names(self._groups, "layers")))

    def _find(self, matrix: str) -> tuple[str, str]:
        """The paths of a matrix and of its genes."""
        if matrix == "X" and self._groups.has("X"):
            return "X", "var"
        if matrix == "raw":
            for path, genes in _RAW:
                if self._groups.has(path):
                    return path, genes
        if matrix.startswith(_LAYER) and matrix in self._names():
            return f"layers/{matrix.removeprefix(_LAYER)}", "var"
        msg = f"there is no matrix {matrix!r}; {choices('--matrix', self._names())}"
        raise MissingMatrix(msg)

    def _open_element(self, path: str) -> Matrix:
        groups = self._groups
        array_shape = groups.shape(path)
        if array_shape is not None:
            if len(array_shape) != 2:  # noqa: PLR2004 - cells and genes
                msg = f"{path} has the shape {array_shape}, not cells × genes"
                raise DamagedInput(msg)
            return dense_matrix(*groups.open_dense(path), self._options)
        encoding = decode_text(
            groups.attribute(path, "encoding-type", groups.attribute(path, "h5sparse_format"))
        )
        shape = groups.attribute(path, "shape", groups.attribute(path, "h5sparse_shape"))
        if encoding is None or shape is None:
            msg = f"{path} is neither a dense array nor a sparse matrix (encoding {encoding!r})"
            raise DamagedInput(msg)
        sizes = parse_shape(shape, path)
        arrays = groups.open_compressed(path)
        if encoding in {"csr_matrix", "csr"}:
            return CompressedRows(*arrays, sizes)
        if encoding in {"csc_matrix", "csc"}:
            return compressed_columns(*arrays, sizes, self._options)
        msg = f"{path} has the encoding {encoding!r}; dense, CSR and CSC are known"
        raise DamagedInput(msg)

    def _table(self, name: str, id_name: str, n_rows: int) -> pa.Table:
        with self._groups.errors(self.info.uri), add_note(f"in {name} of {self._groups.uri}"):
            table = read_table(self._groups, name, id_name)
        if table.num_rows != n_rows:
            found = f"{name} has {table.num_rows:,} rows where {n_rows:,} are needed"
            msg = f"{self._groups.uri}: {found}"
            raise DamagedInput(msg)
        return table
