"""Whether bionemo-scdl reads a folder as anndata reads a file, row for row: FOLDER H5AD."""

from __future__ import annotations

import sys
import warnings

import anndata
import numpy as np
from bionemo.scdl.io.single_cell_memmap_dataset import SingleCellMemMapDataset


def main(folder: str, h5ad: str) -> None:
    """Compare all rows, and print how many there are."""
    warnings.simplefilter("ignore")
    dataset, matrix = SingleCellMemMapDataset(folder), anndata.read_h5ad(h5ad).X.tocsr()
    if dataset.shape() != (matrix.shape[0], [matrix.shape[1]]):
        sys.exit(f"{folder} is {dataset.shape()}, and {h5ad} {matrix.shape}")
    for at in range(matrix.shape[0]):
        (values, genes), row = dataset.get_row(at)[0], matrix[at]
        if not (np.array_equal(values, row.data) and np.array_equal(genes, row.indices)):
            sys.exit(f"row {at} of {folder} differs")
    print(f"{matrix.shape[0]:,} rows are equal")


if __name__ == "__main__":
    main(*sys.argv[1:])
