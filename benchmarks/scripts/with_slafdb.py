"""slafdb: content and reads. It converts by its own command line."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from content import FIRST, content, tell
from reads import timed

if TYPE_CHECKING:
    import pandas as pd


def main(verb: str, path: str, *rest: str) -> Any:
    """Do what is asked for."""
    # Here `slaf` is the package of slafdb.
    array: Any = import_module("slaf").SLAFArray(path, load_metadata=True)
    if verb == "content":
        found = array.query("SELECT cell_integer_id, gene_integer_id, value FROM expression")
        cells, genes, values = (found[name].to_numpy() for name in found.columns)
        matrix = sp.csr_matrix((values.astype(np.float64), (cells, genes)), shape=array.shape)
        # By the offsets of cells, and so by the way that its other readers go.
        first = array.get_submatrix(slice(0, FIRST))["value"].to_numpy().sum(dtype=np.float64)
        return content(matrix, _frame(array.obs, "cell"), _frame(array.var, "gene"), first)
    cell_ids, gene_ids = (_frame(array.obs, "cell").index, _frame(array.var, "gene").index)
    lazy = import_module("slaf.integrations.anndata").LazyAnnData(array)
    reads = {
        "64 random cells": lambda cells: array.get_cell_expression(list(cell_ids[cells])),
        "10,000 neighbouring cells": lambda span: array.get_submatrix(slice(*span)),
        "one gene": lambda gene: array.get_gene_expression(gene_ids[gene]),
        "filter to AnnData": lambda label: lazy[
            (lazy.obs["cell_type"] == label).to_numpy()
        ].compute(),
    }
    return timed(reads, *rest)


def _frame(table: Any, kind: str) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas().set_index(f"{kind}_id")
    own = [f"{kind}_integer_id", "cell_start_index"]
    return frame.drop(columns=[name for name in own if name in frame])


if __name__ == "__main__":
    tell(main(*sys.argv[1:]))
