"""SCDL: the memory map of BioNeMo, a folder of raw CSR arrays and feature tables."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from slaf.annotations.columns import arrow_table
from slaf.errors import DamagedInput, InputError
from slaf.sources.base import Source, SourceFormat, SourceInfo, add_note, check_only_x
from slaf.sources.csr import CompressedRows
from slaf.sources.identity import file_identity
from slaf.sources.matrix import LabelledMatrix
from slaf.storage.paths import as_remote

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.sources.matrix import Matrix

__all__ = [
    "ARRAYS",
    "COLUMNS",
    "DATA",
    "DTYPES",
    "FORMAT",
    "HEADER",
    "MAGIC",
    "METADATA",
    "ROWS",
    "ScdlSource",
    "array_dtypes",
    "map_array",
]

MAGIC: Final = b"SCDL"
DATA: Final = "data.npy"
ROWS: Final = "row_ptr.npy"
COLUMNS: Final = "col_ptr.npy"
HEADER: Final = "header.sch"
METADATA: Final = "metadata.json"

# The arrays of a header by their names there, and the numbers of types.
ARRAYS: Final = {"DATA": DATA, "ROWPTR": ROWS, "COLPTR": COLUMNS}
DTYPES: Final = {
    name: number
    for number, name in enumerate(
        ("uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"), 1
    )
}
# The types of a folder that records none.
_DEFAULTS: Final = {DATA: "float32", ROWS: "uint64", COLUMNS: "uint32"}

# Columns that hold ids, by how likely they do.
_CELL_IDS: Final = ("cell_id", "obs_feature_id", "barcode", "index")
_GENE_IDS: Final = ("feature_id", "var_feature_id", "gene_id", "gene_ids", "ensembl_id", "index")


@dataclass(frozen=True, slots=True)
class _Features:
    """A feature table in blocks of rows of the matrix."""

    tables: list[pa.Table]
    ends: list[int]


class ScdlSource(Source):
    """An SCDL folder of bionemo-scdl, of its releases 0.0.5 to 0.1.3.

    Parameters
    ----------
    path
        The folder.
    options
        How it is read.

    Raises
    ------
    DamagedInput
        If a file is missing or cut short, or they contradict each other.
    InputError
        If the folder lies in a bucket, or its cells have different genes.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__()
        check_only_x(options.matrix, f"{path}: an SCDL folder")
        if as_remote(path) is not None:
            msg = f"{path}: an SCDL folder is mapped into memory; copy it to a disk first"
            raise InputError(msg)
        self._path = path
        dtypes = array_dtypes(path)
        indptr, data = map_array(path / ROWS, dtypes[ROWS]), map_array(path / DATA, dtypes[DATA])
        columns = _whole(map_array(path / COLUMNS, dtypes[COLUMNS]), path)
        n_cells = len(indptr) - 1
        if n_cells < 0:
            msg = f"{path}: {ROWS} is empty"
            raise DamagedInput(msg)
        self._genes = _gene_table(path, n_cells, columns)
        shape = n_cells, self._genes.num_rows
        with add_note(f"in {path}"):
            self._rows = CompressedRows(indptr, columns, data, shape)
        self.info = SourceInfo.of(
            self._rows,
            uri=str(path),
            format="scdl",
            identity={name: file_identity(path / name) for name in (DATA, ROWS, COLUMNS)},
            not_converted=("neighbors",) if (path / "neighbor_indices.npy").exists() else (),
        )

    def close(self) -> None:
        """Unmap the arrays."""
        del self._rows

    def read_cells(self) -> pa.Table:
        """The observed features, by an id if there is one."""
        return _cell_table(self._path, self.info.n_cells)

    def read_genes(self) -> pa.Table:
        """The variable features, by an id if there is one."""
        return self._genes

    def open_matrix(self, name: str) -> Matrix:
        """X, the only matrix."""
        check_only_x(name, f"{self.info.uri}: an SCDL folder")
        return LabelledMatrix(self._rows, partial(add_note, f"in {self.info.uri}"))


def array_dtypes(path: Path) -> dict[str, str]:
    """The types of the arrays of a folder, by their files.

    Raises
    ------
    DamagedInput
        If its header is cut short, or names another type.
    """
    if (path / HEADER).is_file():
        return _DEFAULTS | _header_dtypes(path / HEADER)
    if not (path / "dtypes.json").is_file():
        return dict(_DEFAULTS)
    recorded = json.loads((path / "dtypes.json").read_text())
    return {name: str(np.dtype(recorded.get(name, dtype))) for name, dtype in _DEFAULTS.items()}


def _header_dtypes(path: Path) -> dict[str, str]:
    data, names = path.read_bytes(), list(DTYPES)
    dtypes: dict[str, str] = {}
    try:
        if data[:4] != MAGIC:
            msg = f"{path}: it does not begin with {MAGIC!r}"
            raise DamagedInput(msg)
        (n_arrays,), at = struct.unpack_from(">I", data, 12), 16
        for _ in range(n_arrays):
            (length,) = struct.unpack_from(">I", data, at)
            name = data[at + 4 : at + 4 + length].decode()
            at += 4 + length
            _, number, has_shape = struct.unpack_from(">QIB", data, at)
            at += 13
            if has_shape:
                at += 4 + 4 * int(struct.unpack_from(">I", data, at)[0])
            if name in ARRAYS:
                dtypes[ARRAYS[name]] = names[number - 1]
        struct.unpack_from(">I", data, at)  # the number of feature tables, which say it themselves
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        msg = f"{path}: the header is cut short, or of another format ({error})"
        raise DamagedInput(msg) from error
    return dtypes


def map_array(path: Path, dtype: str) -> NDArray[Any]:
    """An array of a folder, mapped into memory.

    Raises
    ------
    DamagedInput
        If it is missing, or no whole number of elements.
    """
    if not path.is_file():
        msg = f"{path.parent}: {path.name} is missing"
        raise DamagedInput(msg)
    size, width = path.stat().st_size, np.dtype(dtype).itemsize
    if size % width:
        msg = f"{path}: its {size:,} bytes are no whole number of {dtype} values"
        raise DamagedInput(msg)
    return np.memmap(path, dtype, "r") if size else np.empty(0, dtype)


def _whole(columns: NDArray[Any], path: Path) -> NDArray[Any]:
    """Columns as integers: some releases wrote floating-point ones."""
    if columns.dtype.kind != "f":
        return columns
    whole = columns.astype(np.int64)
    if not np.array_equal(whole, columns):
        msg = f"{path}: {COLUMNS} holds columns that are no whole numbers"
        raise DamagedInput(msg)
    return whole


def _features(path: Path, names: tuple[str, ...]) -> _Features | None:
    for folder in (path / name for name in names):
        files = sorted(folder.glob("*.parquet"))
        ends = folder / "cumulative_sum_index.npy"
        if files and ends.is_file():
            import pyarrow.parquet as pq

            return _Features([pq.read_table(file) for file in files], np.load(ends)[1:].tolist())
    return None


def _gene_table(path: Path, n_cells: int, columns: NDArray[Any]) -> pa.Table:
    features = _features(path, ("var_features", "features"))
    if features is None:
        n_genes = int(columns.max()) + 1 if len(columns) else 0
        return arrow_table("gene_id", _numbers(n_genes), {})
    tables = [_with_ids("gene_id", table, _GENE_IDS) for table in features.tables]
    if any(table.column(0) != tables[0].column(0) for table in tables):
        msg = (
            f"{path}: its cells have {len(tables)} different lists of genes, which the folder "
            "does not align; convert the files that it was made of, with --join union"
        )
        raise InputError(msg)
    if features.ends[-1] != n_cells:
        msg = f"{path}: the features are of {features.ends[-1]:,} cells, but there are {n_cells:,}"
        raise DamagedInput(msg)
    return tables[0]


def _cell_table(path: Path, n_cells: int) -> pa.Table:
    features = _features(path, ("obs_features",))
    if features is None:
        return arrow_table("cell_id", _numbers(n_cells), {})
    table = pa.concat_tables(features.tables, promote_options="permissive")
    if table.num_rows != n_cells:
        msg = f"{path}: obs_features has {table.num_rows:,} rows, but there are {n_cells:,} cells"
        raise DamagedInput(msg)
    return _with_ids("cell_id", table, _CELL_IDS)


def _with_ids(id_name: str, table: pa.Table, names: tuple[str, ...]) -> pa.Table:
    """A feature table by its ids; by numbers if no column has the name of an id."""
    ids = next((name for name in names if name in table.column_names), None)
    if ids is None or not pa.types.is_string(table.column(ids).type):
        columns = dict(zip(table.column_names, table.columns, strict=True))
        return arrow_table(id_name, _numbers(table.num_rows), columns)
    rest = {name: table.column(name) for name in table.column_names if name != ids}
    return arrow_table(id_name, table.column(ids), rest)


def _numbers(n: int) -> pa.Array:
    return pa.array(map(str, range(n)), pa.string())


def _recognises(path: Path) -> bool:
    return path.is_dir() and all((path / name).is_file() for name in (METADATA, ROWS, COLUMNS))


FORMAT = SourceFormat(
    name="scdl",
    description="SCDL folder of BioNeMo",
    recognises=_recognises,
    open=ScdlSource,
    looks_for="a folder with metadata.json, row_ptr.npy and col_ptr.npy",
)
