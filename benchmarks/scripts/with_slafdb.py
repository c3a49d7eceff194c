"""slafdb: content and reads. Its own command line converts."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from content import FIRST, content, print_result
from reads import timed

if TYPE_CHECKING:
    import pandas as pd


def main(verb: str, path: str, *rest: str) -> Any:
    """Run one verb: content or reads."""
    # In this environment `slaf` is the package of slafdb.
    array: Any = import_module("slaf").SLAFArray(path, load_metadata=True)
    if verb == "content":
        entries = array.query("SELECT cell_integer_id, gene_integer_id, value FROM expression")
        cells, genes, values = (entries[name].to_numpy() for name in entries.columns)
        matrix = sp.csr_matrix((values.astype(np.float64), (cells, genes)), shape=array.shape)
        # By the offsets of cells, as its other readers do.
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
    print_result(main(*sys.argv[1:]))
