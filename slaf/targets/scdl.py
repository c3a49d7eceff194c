"""SCDL: the memory map of BioNeMo, a folder of raw CSR arrays and feature tables."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slaf.errors import InexactValue, TargetError
from slaf.sources.scdl import (
    ARRAYS,
    COLUMNS,
    DATA,
    DTYPES,
    HEADER,
    MAGIC,
    METADATA,
    ROWS,
)
from slaf.sparse.casting import exact_cast
from slaf.targets.base import TargetFormat
from slaf.targets.csr import with_progress

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pandas as pd

    from slaf.runtime.progress import Progress
    from slaf.sparse.batch import Batch
    from slaf.targets.base import WriteOptions
    from slaf.targets.contents import Contents

__all__ = ["FORMAT", "ScdlTarget", "write_arrays", "write_features"]

# The release of bionemo-scdl whose folders these are.
_RELEASE: Final = "0.1.3"


class ScdlTarget:
    """A folder that bionemo-scdl maps into memory.

    Parameters
    ----------
    contents
        The contents of the export; the format holds X, obs and var.
    options
        Not used: the format has no choices.
    """

    def __init__(self, contents: Contents, options: WriteOptions) -> None:  # noqa: ARG002
        self._contents = contents
        named = [name for name in contents.matrices if name != "X"]
        slots = {s: e for s, e in contents.elements.items() if s not in {"obs", "var"}}
        named += [f"{slot} ({', '.join(map(str, e))})" for slot, e in slots.items() if list(e)]
        self.left_out = tuple(f"{name} is left out" for name in named)

    def write(self, path: Path, progress: Progress) -> None:
        """Write the folder.

        Raises
        ------
        TargetError
            If a value is negative, or of a column that Parquet does not hold.
        """
        matrix = self._contents.x
        n_cells, n_genes = matrix.shape
        path.mkdir()
        write_features(path / "var_features", "feature_id", self._contents.var, n_cells)
        write_features(path / "obs_features", "cell_id", self._contents.obs, n_cells)
        progress.begin(0, 0, n_cells)
        write_arrays(path, with_progress(matrix, progress), n_genes, matrix.value_type)


def write_arrays(path: Path, batches: Iterable[Batch], n_genes: int, dtype: np.dtype[Any]) -> None:
    """Write the arrays and the header of a folder.

    Parameters
    ----------
    path
        The folder, which exists.
    batches
        All cells, in order.
    n_genes
        The number of genes.
    dtype
        The smallest type that holds all values.

    Raises
    ------
    TargetError
        If a value is negative: the format has no signed integers.
    """
    if dtype.kind == "i":
        dtype = np.dtype(f"uint{8 * dtype.itemsize}")
    gene_dtype = np.dtype(_smallest(max(n_genes - 1, 0)))
    counts, n_entries = [np.zeros(1, np.int64)], 0
    with (path / DATA).open("wb") as data, (path / COLUMNS).open("wb") as columns:
        for batch in batches:
            try:
                exact_cast(batch.values, dtype).tofile(data)
            except InexactValue as error:
                msg = f"SCDL holds no negative numbers: {error}; export another format"
                raise TargetError(msg) from error
            batch.gene_ids(gene_dtype).tofile(columns)
            counts.append(batch.counts)
            n_entries += batch.nnz
    indptr = np.cumsum(np.concatenate(counts)).astype(_smallest(n_entries))
    indptr.tofile(path / ROWS)
    lengths = {
        "DATA": (n_entries, dtype),
        "ROWPTR": (len(indptr), indptr.dtype),
        "COLPTR": (n_entries, gene_dtype),
    }
    assert lengths.keys() == ARRAYS.keys()  # noqa: S101 - the names of the header
    (path / "version.json").write_text(json.dumps(_RELEASE))
    (path / METADATA).write_text(json.dumps({"num_rows": len(indptr) - 1}))
    (path / HEADER).write_bytes(_header(lengths))


def write_features(path: Path, id_name: str, frame: pd.DataFrame, n_cells: int) -> None:
    """Write a feature table, with the ids as its first column.

    Parameters
    ----------
    path
        The folder of the table.
    id_name
        The name of the ids.
    frame
        An obs or a var.
    n_cells
        The number of cells.

    Raises
    ------
    TargetError
        If a column cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {id_name: frame.index.astype(str)} | {
        name: _plain(frame[name]) for name in frame.columns if name != id_name
    }
    path.mkdir()
    try:
        arrays = {str(name): pa.array(each, from_pandas=True) for name, each in columns.items()}
        pq.write_table(pa.table(arrays), path / "dataframe_0.parquet")
    except pa.ArrowException as error:
        msg = f"a column of {path.name} cannot be written as Parquet: {error}; leave it out"
        raise TargetError(msg) from error
    np.save(path / "cumulative_sum_index.npy", np.array([-1, n_cells]))
    np.save(path / "labels.npy", np.array(["slaf"]))
    np.save(path / "version.npy", np.array(_RELEASE))


def _plain(column: pd.Series[Any]) -> Any:
    """Categories as their values, which the readers of the format take."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.astype(column.cat.categories.dtype if column.notna().all() else object)
    return column


def _smallest(largest: int) -> str:
    """The smallest unsigned type for a number."""
    return next(
        name for name in ("uint8", "uint16", "uint32", "uint64") if largest <= np.iinfo(name).max
    )


def _header(arrays: dict[str, tuple[int, np.dtype[Any]]]) -> bytes:
    """The binary header: magic, version 0.1.0, big-endian; backend; arrays; no feature tables."""
    header = MAGIC + bytes([0, 1, 0, 1]) + struct.pack(">II", 1, len(arrays))
    for name, (length, dtype) in arrays.items():
        header += struct.pack(">I", len(name)) + name.encode()
        header += struct.pack(">QIB", length, DTYPES[dtype.name], 0)
    return header + struct.pack(">I", 0)


def _matches(path: Path) -> bool:
    return (path / HEADER).is_file() and (path / ROWS).is_file()


FORMAT = TargetFormat(
    name="scdl",
    description="SCDL folder of BioNeMo",
    suffixes=(".scdl",),
    matches=_matches,
    open=ScdlTarget,
    is_packed=False,
    marker_files=(METADATA, ROWS, HEADER),
)
