"""The content of an input, read by the library of its format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anndata
from content import content, print_result


def main(kind: str, source: str) -> Any:
    """Digests of the content of an input."""
    adata = _read(kind, source)
    return content(adata.X, adata.obs, adata.var)


def _read(kind: str, source: str) -> anndata.AnnData:
    if kind == "h5ad":
        return anndata.read_h5ad(source)
    if kind == "files":
        files = [anndata.read_h5ad(path) for path in sorted(Path(source).iterdir())]
        return anndata.concat(files, merge="same")
    if kind == "SOMA":
        import tiledbsoma
        import tiledbsoma.io

        with tiledbsoma.Experiment.open(source) as experiment:
            return tiledbsoma.io.to_anndata(
                experiment, "RNA", X_layer_name="data", obs_id_name="obs_id", var_id_name="var_id"
            )
    import scanpy

    if kind == "10x H5":
        adata = scanpy.read_10x_h5(source)
        adata.var_names = adata.var["gene_ids"].to_numpy()
    else:
        adata = scanpy.read_10x_mtx(source, var_names="gene_ids")
    # Without columns, which differ between readers.
    return anndata.AnnData(adata.X, obs=adata.obs[[]], var=adata.var[[]])


if __name__ == "__main__":
    print_result(main(*sys.argv[1:]))
