"""loom, of specification 2 and 3: dense matrices of genes × cells with attributes and graphs.

https://linnarssonlab.org/loompy/format/
"""

from __future__ import annotations

import html
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slaf.annotations.dataframes import from_arrays
from slaf.errors import DamagedInput, InputError, MissingMatrix
from slaf.runtime.lazy import LazyMapping
from slaf.sources.base import Source, SourceFormat, SourceInfo, add_note
from slaf.sources.contents import Slots
from slaf.sources.dense import Transposed, dense_matrix
from slaf.sources.hdf5.arrays import open_nd
from slaf.sources.hdf5.elements import attribute
from slaf.sources.hdf5.file import (
    errors_as_damaged_input,
    get_checked,
    numeric,
    open_file,
    recognise,
    safe_keys,
)
from slaf.sources.hdf5.limits import check_arrays, check_dense
from slaf.sources.hdf5.links import has_all, has_member
from slaf.sources.identity import file_identity
from slaf.sources.matrix import LabelledMatrix
from slaf.sources.slots import other_layers
from slaf.storage.paths import remote_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import h5py
    import pyarrow as pa
    import scipy.sparse as sp
    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.sources.matrix import Matrix

__all__ = ["FORMAT", "LoomSource"]

_LAYER: Final = "layer:"

# The attributes that hold ids, the first that there is: as anndata, loompy and kb write them.
_CELL_IDS: Final = ("CellID", "obs_names", "Barcode", "barcode")
_GENE_IDS: Final = ("Gene", "var_names", "Accession")

# Bytes of a band of cells of a matrix that is not in chunks.
_BAND_BYTES: Final = 64 << 20

_MEMBERS: Final = frozenset(
    {"matrix", "layers", "row_attrs", "col_attrs", "row_graphs", "col_graphs", "attrs"}
)


class LoomSource(Source):
    """A loom file, read by bands of cells.

    Attributes of two dimensions are obsm and varm, graphs are obsp and varp, and the attributes of
    the file are uns.

    Parameters
    ----------
    path
        The file.
    options
        The matrix: X is the main one, "layer:NAME" a layer; and the memory for reading by column.

    Raises
    ------
    DamagedInput
        If it is cut short, or its parts contradict each other.
    MissingMatrix
        If it has no such layer; the error lists the names.
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
        names = ("X", *(_LAYER + name for name in safe_keys(self._file, "layers")))
        return SourceInfo.of(
            self.matrix(chosen),
            chosen,
            uri=str(self._path),
            format="loom",
            identity=file_identity(self._path),
            matrices=names,
            layers=other_layers(chosen, names),
            not_converted=tuple(
                f"{name} of the file" for name in self._file if name not in _MEMBERS
            ),
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read_cells(self) -> pa.Table:
        """`cell_id`, then the attributes of columns."""
        return self._table("col_attrs", _CELL_IDS, "cell_id", self.info.n_cells)

    def read_genes(self) -> pa.Table:
        """`gene_id`, then the attributes of rows."""
        return self._table("row_attrs", _GENE_IDS, "gene_id", self.info.n_genes)

    def open_matrix(self, name: str) -> Matrix:
        """The main matrix, or a layer, as cells × genes."""
        path = "matrix" if name == "X" else f"layers/{name.removeprefix(_LAYER)}"
        if name != "X" and (not name.startswith(_LAYER) or not has_member(self._file, path)):
            names = ", ".join(("X", *(_LAYER + layer for layer in safe_keys(self._file, "layers"))))
            msg = f"there is no matrix {name!r}; choose one with --matrix: {names}"
            raise MissingMatrix(msg)
        errors = partial(errors_as_damaged_input, f"{self._path}, {path}")
        with errors():
            return LabelledMatrix(self._open_dense(path), errors)

    def slots(self) -> Slots:
        """obsm, varm, obsp, varp and uns; elements are read when they are used."""
        with errors_as_damaged_input(self.info.uri):
            return self._once("slots", self._slots)

    def _slots(self) -> Slots:
        cells, genes = self.info.n_cells, self.info.n_genes
        return Slots(
            obsm=self._wide("col_attrs", cells),
            varm=self._wide("row_attrs", genes),
            obsp=self._graphs("col_graphs", cells),
            varp=self._graphs("row_graphs", genes),
            uns=self._uns(),
        )

    def _open_dense(self, path: str) -> Matrix:
        dataset = get_checked(self._file, path)
        check_dense(numeric(dataset, path))
        if dataset.ndim != 2:  # noqa: PLR2004 - genes and cells
            msg = f"{path} has the shape {dataset.shape}, not genes × cells"
            raise DamagedInput(msg)
        if path != "matrix" and dataset.shape != (shape := get_checked(self._file, "matrix").shape):
            msg = f"{path} has the shape {dataset.shape}, but matrix has {shape}"
            raise DamagedInput(msg)
        n_genes = max(dataset.shape[0], 1)
        if dataset.chunks is None:
            band = min(_BAND_BYTES, self._options.memory_budget // self._options.readers)
            chunks = (max(band // (n_genes * dataset.dtype.itemsize), 1), 1)
        else:
            chunks = dataset.chunks[::-1]
        array = open_nd(dataset, remote_bytes(self._path))
        return dense_matrix(Transposed(array), chunks, self._options)

    def _table(self, group: str, ids: tuple[str, ...], id_name: str, n_rows: int) -> pa.Table:
        with errors_as_damaged_input(self.info.uri), add_note(f"in {group} of {self._path}"):
            columns = {name: self._column(group, name, n_rows) for name in self._columns(group)}
            index_name = next((name for name in ids if name in columns), None)
            labels = range(n_rows) if index_name is None else columns.pop(index_name).tolist()
            return from_arrays(list(map(str, labels)), columns, id_name, index_name)

    def _columns(self, group: str) -> list[str]:
        return [name for name in safe_keys(self._file, group) if not self._is_wide(group, name)]

    def _column(self, group: str, name: str, n_rows: int) -> NDArray[Any]:
        values = self._read(f"{group}/{name}", n_rows)
        if values.ndim != 1:
            msg = f"{group}/{name} has the shape {values.shape}, not one value for each row"
            raise DamagedInput(msg)
        return values

    def _is_wide(self, group: str, name: str) -> bool:
        """Whether an attribute has several values for each row."""
        shape = getattr(get_checked(self._file, f"{group}/{name}"), "shape", None)
        return shape is not None and len(shape) > 1 and shape[1] != 1

    def _wide(self, group: str, n_rows: int) -> Mapping[str, Any]:
        names = [name for name in safe_keys(self._file, group) if self._is_wide(group, name)]
        return LazyMapping(names, lambda name: self._read(f"{group}/{name}", n_rows))

    def _read(self, path: str, n_rows: int) -> NDArray[Any]:
        """An attribute of rows or columns; one of a single value each as a list."""
        dataset = get_checked(self._file, path)
        shape = getattr(dataset, "shape", None)
        if not shape or shape[0] != n_rows:
            msg = f"{path} has the shape {shape}, but {n_rows:,} rows are needed"
            raise DamagedInput(msg)
        check_arrays(path, dataset)
        values: NDArray[Any] = _decoded(dataset, path)
        return values.reshape(n_rows) if values.size == n_rows else values

    def _graphs(self, group: str, n: int) -> Mapping[str, Any]:
        return LazyMapping(
            safe_keys(self._file, group), lambda name: self._graph(f"{group}/{name}", n)
        )

    def _graph(self, path: str, n: int) -> sp.csr_matrix:
        """A graph, given by the ends and weights of its edges, in rows."""
        import scipy.sparse as sp

        with errors_as_damaged_input(self.info.uri):
            parts = [numeric(get_checked(self._file, f"{path}/{name}"), path) for name in "abw"]
            check_arrays(path, *parts)
            a, b, w = (part[()].ravel() for part in parts)
        ends_are_nodes = all(((end >= 0) & (end < n)).all() for end in (a, b))
        if not len(a) == len(b) == len(w) or not ends_are_nodes:
            msg = f"{path} of {self._path} has edges without weights, or beyond {n:,} nodes"
            raise DamagedInput(msg)
        # Not by scipy, which would sum edges that are given twice.
        order = np.argsort(a, kind="stable")
        indptr = np.searchsorted(a[order], np.arange(n + 1))
        return sp.csr_matrix((w[order], b[order].astype(np.int64), indptr), shape=(n, n))

    def _uns(self) -> dict[str, Any]:
        uns = {str(name): _text(attribute(self._file, name)) for name in self._file.attrs}
        for name in safe_keys(self._file, "attrs"):
            dataset = get_checked(self._file, f"attrs/{name}")
            check_arrays(name, dataset)
            uns[name] = _decoded(dataset, f"attrs/{name}")
        return {name: value for name, value in uns.items() if value is not None}


def _decoded(dataset: h5py.Dataset, path: str) -> Any:
    """The content of a dataset, with text as strings.

    Raises
    ------
    InputError
        If it holds neither numbers nor text, or text that is not UTF-8.
    """
    values = dataset[()]
    if np.asarray(values).dtype.kind in "biufcSO":
        try:
            return _text(values)
        except UnicodeDecodeError as error:
            msg = f"{path} holds text that is not UTF-8 ({error})"
            raise DamagedInput(msg) from error
    msg = f"{path} holds values of type {dataset.dtype}, neither numbers nor text"
    raise InputError(msg)


def _text(values: Any) -> Any:
    """Bytes as strings; specification 2 writes what is not ASCII as entities of XML."""
    if isinstance(values, bytes):
        is_fixed = isinstance(values, np.bytes_)
        decoded = values.decode()
        return html.unescape(decoded) if is_fixed else decoded
    if isinstance(values, np.ndarray) and values.dtype.kind == "S":
        flat = [html.unescape(value.decode()) for value in values.ravel()]
    elif isinstance(values, np.ndarray) and values.dtype.kind == "O":
        flat = [v.decode() if isinstance(v, bytes) else v for v in values.ravel()]
    else:
        return values
    return np.array(flat, dtype=object).reshape(values.shape)


FORMAT = SourceFormat(
    name="loom",
    description="loom (.loom)",
    recognises=partial(
        recognise, matches=lambda file: has_all(file, ("matrix", "row_attrs", "col_attrs"))
    ),
    open=LoomSource,
    looks_for="an HDF5 file with matrix, row_attrs and col_attrs",
    suffixes=(".loom",),
)
