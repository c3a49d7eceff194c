"""TileDB-SOMA: convert h5ad files to an experiment with its defaults."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
import tiledbsoma
import tiledbsoma.io
from content import content, print_result
from reads import rows_of, timed

_MEASUREMENT = "RNA"


def convert(kind: str, source: str, output: str) -> None:
    """Ingest a file; many files are registered first, as its guide to appending recommends."""
    if kind == "h5ad":
        tiledbsoma.io.from_h5ad(output, source, measurement_name=_MEASUREMENT)
        return
    files = [str(path) for path in sorted(Path(source).iterdir())]
    options: dict[str, Any] = {"measurement_name": _MEASUREMENT}
    tiledbsoma.io.from_h5ad(output, files[0], ingest_mode="schema_only", **options)
    mapping = tiledbsoma.io.register_h5ads(
        output,
        files,
        obs_field_name="obs_id",
        var_field_name="var_id",
        append_obsm_varm=False,
        **options,
    )
    mapping.prepare_experiment(output)
    for file in files:
        tiledbsoma.io.from_h5ad(output, file, registration_mapping=mapping, **options)


def main(verb: str, path: str, *rest: str) -> Any:
    """Run one verb: convert, content or reads."""
    if verb == "convert":
        return convert(path, *rest)
    with tiledbsoma.Experiment.open(path) as experiment:
        if verb == "content":
            adata = tiledbsoma.io.to_anndata(
                experiment,
                _MEASUREMENT,
                X_layer_name="data",
                obs_id_name="obs_id",
                var_id_name="var_id",
            )
            return content(adata.X, adata.obs, adata.var)
        return timed(_reads(experiment), *rest)


def _reads(experiment: Any) -> dict[str, Any]:
    measurement = experiment.ms[_MEASUREMENT]
    layer = measurement.X["data"]
    n_cells, n_genes = experiment.obs.count, measurement.var.count

    def entries(*coordinates: Any) -> Any:
        table = layer.read(coordinates).tables().concat()
        return (table[name].to_numpy() for name in ("soma_dim_0", "soma_dim_1", "soma_data"))

    def random_cells(cells: list[int]) -> sp.csr_matrix:
        return rows_of(entries(pa.array(cells)), cells, n_genes)

    def span(edges: list[int]) -> sp.csr_matrix:
        start, stop = edges
        return rows_of(entries(slice(start, stop - 1)), range(start, stop), n_genes)

    def gene(number: int) -> sp.csr_matrix:
        cells, _, values = entries(slice(None), pa.array([number]))
        return sp.csr_matrix((values, (cells, np.zeros_like(cells))), shape=(n_cells, 1))

    def filtered(label: str) -> Any:
        query = tiledbsoma.AxisQuery(value_filter=f"cell_type == '{label}'")
        with experiment.axis_query(_MEASUREMENT, obs_query=query) as result:
            return result.to_anndata(X_name="data")

    return {
        "64 random cells": random_cells,
        "10,000 neighbouring cells": span,
        "one gene": gene,
        "filter to AnnData": filtered,
    }


if __name__ == "__main__":
    print_result(main(*sys.argv[1:]))
