"""BioNeMo-SCDL: convert h5ad files to memory maps, in the narrowest exact type."""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from bionemo.scdl.io.single_cell_collection import SingleCellCollection
from bionemo.scdl.io.single_cell_memmap_dataset import SingleCellMemMapDataset
from content import content, print_result
from reads import timed


def convert(kind: str, source: str, output: str, dtype: str) -> None:
    """Store a file; many files as a flattened collection, as its own command does."""
    if kind == "h5ad":
        SingleCellMemMapDataset(output, source, data_dtype=dtype, use_X_not_raw=True).save()
        return
    with tempfile.TemporaryDirectory(dir=output.rpartition("/")[0]) as folder:
        collection = SingleCellCollection(folder)
        collection.load_h5ad_multi(source, data_dtype=dtype, use_X_not_raw=True)
        collection.flatten(output, destroy_on_copy=True)


def main(verb: str, path: str, *rest: str) -> Any:
    """Run one verb: convert, content or reads."""
    if verb == "convert":
        return convert(path, *rest)
    dataset = SingleCellMemMapDataset(path)
    n_cells = dataset.number_of_rows()
    n_genes = dataset.number_of_variables()[0]

    def of_cells(cells: Any) -> sp.csr_matrix:
        rows = [dataset.get_row(cell)[0] for cell in cells]
        indptr = np.cumsum([0, *(len(values) for values, _ in rows)])
        values, genes = (np.concatenate(pieces) for pieces in zip(*rows, strict=True))
        return sp.csr_matrix((values, genes.astype(np.int32), indptr), shape=(len(rows), n_genes))

    if verb == "content":
        obs, _ = dataset.obs_features()[0:n_cells]
        names = dataset.var_features()
        first, _ = names.lookup(0)
        labels = names._feature_arr[0]  # noqa: SLF001 - the names have no public function
        var = dict(zip(labels, first, strict=True))
        return content(of_cells(range(n_cells)), _frame(obs, n_cells), _frame([var], n_genes))
    reads = {
        "64 random cells": of_cells,
        "10,000 neighbouring cells": lambda span: of_cells(range(*span)),
    }
    return timed(reads, *rest)


def _frame(blocks: list[dict[str, Any]], length: int) -> pd.DataFrame:
    """The columns of features, which include the ids only if these were a column."""
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    return pd.DataFrame(columns, index=pd.RangeIndex(length))


if __name__ == "__main__":
    print_result(main(*sys.argv[1:]))
