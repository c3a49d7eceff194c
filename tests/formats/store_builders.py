"""The same entries on zarr, as MuData and as loom, written as other programs write them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import anndata
import h5py
import numpy as np
import scipy.sparse as sp
import zarr

from tests.builders import names
from tests.formats.builders import ids

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slaf.testing.strategies import Stored

__all__ = ["write_h5mu", "write_loom", "write_zarr"]


def write_zarr(
    path: Path,
    stored: Stored,
    layout: str = "csr",
    *,
    version: Literal[2, 3] = 3,
    at: str = "",
    **arrays: Any,
) -> Path:
    """AnnData on zarr; a path that ends in .zip is a zip file.

    Parameters
    ----------
    layout
        "csr", "csc" or "dense".
    version
        The version of zarr.
    at
        The group in the store.
    arrays
        What zarr takes to create the arrays of X: `chunks`, `shards`, `compressors`, `filters`.
    """
    zipped = path.suffix == ".zip"
    store = zarr.storage.ZipStore(path, mode="w") if zipped else zarr.storage.LocalStore(path)
    with warnings.catch_warnings():
        # anndata tells what its next release will do, and a zip file has two of a name.
        warnings.simplefilter("ignore")
        root = zarr.open_group(store, mode="a", zarr_format=version)
        group = root.require_group(at) if at else root
        _write_anndata(group, stored, layout, arrays)
        store.close()
    return path


def _write_anndata(
    group: zarr.Group, stored: Stored, layout: str, arrays: Mapping[str, Any]
) -> None:
    n_cells, n_genes = stored.shape
    group.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    for name, table in (("obs", names("cell", n_cells)), ("var", names("gene", n_genes))):
        anndata.io.write_elem(group, name, table)
    if layout == "dense":
        array = group.create_array("X", data=stored.dense(), **arrays)
        array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        return
    matrix = group.create_group("X")
    matrix.attrs.update({"encoding-type": f"{layout}_matrix", "encoding-version": "0.1.0"})
    matrix.attrs["shape"] = list(stored.shape)
    for name, part in _compressed(stored, layout).items():
        matrix.create_array(name, data=part, **arrays)


def _compressed(stored: Stored, layout: str) -> dict[str, Any]:
    indptr, indices, data = stored.rows() if layout == "csr" else stored.columns()
    return {"indptr": indptr, "indices": indices.astype("i4"), "data": data}


def write_h5mu(path: Path, **modalities: Stored) -> Path:
    """A MuData with these modalities, as HDF5."""
    with h5py.File(path, "w") as file:
        for name, stored in modalities.items():
            n_cells, n_genes = stored.shape
            adata = anndata.AnnData(
                sp.csr_matrix(stored.dense()),
                obs=names("cell", n_cells),
                var=names("gene", n_genes),
            )
            anndata.io.write_elem(file.require_group("mod"), name, adata)
        file.attrs.update({"encoding-type": "MuData", "encoding-version": "0.1.0"})
        anndata.io.write_elem(file, "obs", names("cell", n_cells))
        anndata.io.write_elem(file, "var", names("gene", n_genes))
    return path


def write_loom(
    path: Path,
    stored: Stored,
    *,
    version: Literal[2, 3] = 3,
    layers: Mapping[str, Stored] | None = None,
    **arrays: Any,
) -> Path:
    """A loom file of specification 2 or 3.

    Parameters
    ----------
    layers
        The layers, by name.
    arrays
        What h5py takes to create the matrix: `chunks`, `compression`.
    """
    with h5py.File(path, "w") as file:
        for name in ("layers", "row_attrs", "col_attrs", "row_graphs", "col_graphs", "attrs"):
            if name != "attrs" or version > 2:
                file.create_group(name)
        file.create_dataset("matrix", data=stored.dense().T, **arrays)
        for name, layer in (layers or {}).items():
            file.create_dataset(f"layers/{name}", data=layer.dense().T, **arrays)
        for path_, kind, count in (
            ("col_attrs/CellID", "cell", stored.shape[0]),
            ("row_attrs/Gene", "gene", stored.shape[1]),
        ):
            listed = np.array(ids(kind, count), dtype="S9" if version == 2 else object)
            text: Any = listed.dtype if version == 2 else h5py.string_dtype()
            file.create_dataset(path_, data=listed, dtype=text)
        if version > 2:
            file["attrs/LOOM_SPEC_VERSION"] = "3.0.0"
        else:
            file.attrs["LOOM_SPEC_VERSION"] = np.bytes_(b"2.0.1")
    return path
