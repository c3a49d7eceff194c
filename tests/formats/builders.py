"""The same entries as 10x H5, 10x MTX and TileDB-SOMA, written as other programs write them."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pyarrow as pa
import tiledbsoma

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from slaf.testing.strategies import Stored

__all__ = [
    "Mtx",
    "ids",
    "ordered",
    "write_genomes",
    "write_soma",
    "write_to",
    "write_v2",
    "write_v3",
]


def ids(kind: str, count: int) -> list[str]:
    """The ids that all formats have: "cell-0", "gene-1"."""
    return [f"{kind}-{number}" for number in range(count)]


def ordered(stored: Stored, order: str) -> Stored:
    """The same entries, sorted "by cell" or "by gene", or "shuffled"."""
    by = {
        "by cell": np.lexsort((stored.genes, stored.cells)),
        "by gene": np.lexsort((stored.cells, stored.genes)),
        "shuffled": np.random.default_rng(0).permutation(len(stored.values)),
    }[order]
    return replace(stored, cells=stored.cells[by], genes=stored.genes[by], values=stored.values[by])


def write_v3(
    path: Path,
    stored: Stored,
    *,
    features: Mapping[str, Any] | None = None,
    barcodes: Mapping[str, Any] | None = None,
    **filters: Any,
) -> Path:
    """A 10x H5 file of Cell Ranger 3 and later.

    Parameters
    ----------
    features, barcodes
        Further members of `/matrix/features` and of `/matrix`, or others instead of the usual.
    filters
        What h5py takes to create the arrays.
    """
    n_cells, n_genes = stored.shape
    usual = {
        "id": _bytes(ids("gene", n_genes)),
        "name": _bytes(f"NAME{number}" for number in range(n_genes)),
        "feature_type": _bytes(["Gene Expression"] * n_genes),
        "genome": _bytes(["GRCh38"] * n_genes),
        "_all_tag_keys": _bytes(["genome"]),
    }
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        _write_compressed(group, stored, filters)
        _write_members(group, {"barcodes": _bytes(ids("cell", n_cells))} | dict(barcodes or {}))
        _write_members(group.create_group("features"), usual | dict(features or {}))
    return path


def write_v2(path: Path, stored: Stored, **filters: Any) -> Path:
    """A 10x H5 file of Cell Ranger 1 or 2, with one genome."""
    return write_genomes(path, {"hg19": stored}, **filters)


def write_genomes(path: Path, matrices: Mapping[str, Stored], **filters: Any) -> Path:
    """A 10x H5 file of Cell Ranger 1 or 2, with a matrix for each genome."""
    with h5py.File(path, "w") as file:
        for genome, stored in matrices.items():
            n_cells, n_genes = stored.shape
            group = file.create_group(genome)
            _write_compressed(group, stored, filters)
            names = _bytes(f"NAME{number}" for number in range(n_genes))
            group["barcodes"] = _bytes(ids("cell", n_cells))
            group["genes"], group["gene_names"] = _bytes(ids("gene", n_genes)), names
    return path


@dataclass(frozen=True, kw_only=True)
class Mtx:
    """A way to write a 10x MTX folder.

    Attributes
    ----------
    version
        2 for genes.tsv, 3 for features.tsv.
    packed
        Whether the three files are packed by gzip.
    order
        "by cell", "by gene" or "shuffled".
    field
        "integer", "real" or "pattern".
    prefix
        What stands before the names of the files.
    newline, separator
        Between lines and numbers.
    comments
        Lines after the banner.
    declared
        The count in the header, if it is another than the true one.
    base
        The number of the first row and column.
    columns
        Further columns of the features.
    lines
        Further lines of the matrix.
    """

    version: int = 3
    packed: bool = True
    order: str = "by cell"
    field: str = "integer"
    prefix: str = ""
    newline: str = "\n"
    separator: str = " "
    comments: Sequence[str] = ("%metadata_json: {}",)
    declared: int | None = None
    base: int = 1
    columns: Sequence[Sequence[str]] = ()
    lines: Sequence[str] = ()

    def write(self, folder: Path, stored: Stored) -> Path:
        """Write the three files into a folder, which may hold others."""
        folder.mkdir(exist_ok=True, parents=True)
        n_cells, n_genes = stored.shape
        columns = [ids("gene", n_genes), [f"NAME{number}" for number in range(n_genes)]]
        if self.version > 2:
            columns.append(["Gene Expression"] * n_genes)
        features = ["\t".join(row) for row in zip(*columns, *self.columns, strict=True)]
        self._write(folder / "matrix.mtx", self._matrix(stored))
        self._write(folder / ("features.tsv" if self.version > 2 else "genes.tsv"), features)
        self._write(folder / "barcodes.tsv", ids("cell", n_cells))
        return folder

    def matrix(self, folder: Path) -> Path:
        """The matrix file in the folder."""
        return folder / f"{self.prefix}matrix.mtx{'.gz' if self.packed else ''}"

    def _matrix(self, stored: Stored) -> list[str]:
        stored = ordered(stored, self.order)
        n_cells, n_genes = stored.shape
        nnz = len(stored.values) if self.declared is None else self.declared
        entries = [
            self.separator.join([str(gene + self.base), str(cell + self.base), *self._value(value)])
            for cell, gene, value in zip(
                stored.cells.tolist(), stored.genes.tolist(), stored.values.tolist(), strict=True
            )
        ]
        banner = f"%%MatrixMarket matrix coordinate {self.field} general"
        return [banner, *self.comments, f"{n_genes} {n_cells} {nnz}", *entries, *self.lines]

    def _value(self, value: float) -> list[str]:
        if self.field == "pattern":
            return []
        return [str(int(value) if self.field == "integer" else value)]

    def _write(self, path: Path, lines: Sequence[str]) -> None:
        text = "".join(f"{line}{self.newline}" for line in lines).encode()
        name = f"{self.prefix}{path.name}"
        if self.packed:
            path.with_name(f"{name}.gz").write_bytes(gzip.compress(text, mtime=0))
        else:
            path.with_name(name).write_bytes(text)


def write_soma(
    path: Path,
    stored: Stored,
    *,
    layers: Mapping[str, Stored] | None = None,
    measurement: str = "RNA",
    dense: bool = False,
    cell_joins: Sequence[int] | None = None,
    gene_joins: Sequence[int] | None = None,
    obs: Mapping[str, Any] | None = None,
    var: Mapping[str, Any] | None = None,
) -> Path:
    """A TileDB-SOMA experiment, written with its own library.

    Parameters
    ----------
    layers
        The X layers, instead of the one called data.
    dense
        Whether they are dense arrays.
    cell_joins, gene_joins
        The join ids, ascending; 0, 1, 2, … if None.
    obs, var
        The columns, instead of `obs_id` and `var_id`.
    """
    n_cells, n_genes = stored.shape
    cells = np.arange(n_cells) if cell_joins is None else np.array(cell_joins, np.int64)
    genes = np.arange(n_genes) if gene_joins is None else np.array(gene_joins, np.int64)
    layers = {"data": stored} if layers is None else layers
    tiledbsoma.Experiment.create(str(path)).close()
    with write_to(path) as experiment:
        experiment.add_new_collection("ms").add_new_collection(
            measurement, kind=tiledbsoma.Measurement
        ).add_new_collection("X")
    root = path / "ms" / measurement
    _write_frame(path, "obs", cells, {"obs_id": ids("cell", n_cells)} if obs is None else obs)
    _write_frame(root, "var", genes, {"var_id": ids("gene", n_genes)} if var is None else var)
    for name, layer in layers.items():
        _write_layer(root / "X", name, layer, cells, genes, dense=dense)
    return path


def write_to(path: Path) -> Any:
    """A part of an experiment, open for writing."""
    return tiledbsoma.open(str(path), "w")


def _write_frame(parent: Path, name: str, joins: Any, columns: Mapping[str, Any]) -> None:
    arrays = {"soma_joinid": pa.array(joins, pa.int64())} | {
        column: values if isinstance(values, pa.Array) else pa.array(values, pa.large_string())
        for column, values in columns.items()
    }
    table = pa.table(arrays)
    with write_to(parent) as group:
        group.add_new_dataframe(name, schema=table.schema, domain=[(0, _last(joins))]).close()
    if len(joins):
        with write_to(parent / name) as frame:
            frame.write(table)


def _write_layer(
    parent: Path, name: str, stored: Stored, cells: Any, genes: Any, *, dense: bool
) -> None:
    shape = (_last(cells) + 1, _last(genes) + 1)
    dtype = pa.from_numpy_dtype(stored.values.dtype)
    with write_to(parent) as group:
        add = group.add_new_dense_ndarray if dense else group.add_new_sparse_ndarray
        add(name, type=dtype, shape=shape).close()
    with write_to(parent / name) as array:
        if dense:
            whole = np.zeros(shape, stored.values.dtype)
            whole[np.ix_(cells, genes)] = stored.dense()
            array.write((slice(None), slice(None)), pa.Tensor.from_numpy(whole))
        elif len(stored.values):
            dims = (cells[stored.cells], genes[stored.genes])
            columns = {f"soma_dim_{at}": pa.array(dim) for at, dim in enumerate(dims)}
            array.write(pa.table(columns | {"soma_data": pa.array(stored.values)}))


def _last(joins: Any) -> int:
    return int(joins[-1]) if len(joins) else 0


def _write_compressed(group: h5py.Group, stored: Stored, filters: Mapping[str, Any]) -> None:
    n_cells, n_genes = stored.shape
    # Their matrix is genes × cells, in compressed columns: our rows.
    indptr, indices, data = stored.rows()
    group.create_dataset("data", data=data, **filters)
    group.create_dataset("indices", data=indices, **filters)
    group.create_dataset("indptr", data=indptr, **filters)
    group["shape"] = np.array([n_genes, n_cells], "i4")


def _write_members(group: h5py.Group, members: Mapping[str, Any]) -> None:
    for name, values in members.items():
        if isinstance(values, dict):
            _write_members(group.create_group(name), values)
        else:
            group[name] = values


def _bytes(strings: Any) -> Any:
    listed = [text.encode() for text in strings]
    return np.array(listed) if listed else np.array([], "S1")
