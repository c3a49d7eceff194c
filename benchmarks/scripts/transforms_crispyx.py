"""A transform of an h5ad file by crispyx; run in an environment of its own.

usage: transforms_crispyx.py normalize|filter|sort|qc INPUT OUTPUT
"""

from __future__ import annotations

import sys

import anndata
import crispyx.data
import numpy as np


def main() -> None:
    """Write the output."""
    name, source, output = sys.argv[1:]
    if name == "normalize":
        crispyx.data.normalize_total_log1p(source, output, verbose=False)
    elif name == "qc":
        # Its defaults: cells of 100 genes, genes of 100 cells, groups of 50 cells.
        kept = f"{output}-kept.h5ad"
        crispyx.quality_control_summary(
            source,
            perturbation_column="cell_type",
            control_label="type 7",
            gene_name_column="gene_symbol",
            output_path=kept,
            verbose=False,
        )
        crispyx.data.normalize_total_log1p(kept, output, verbose=False)
    elif name == "sort":
        crispyx.data.sort_by_perturbation(source, "cell_type", "type 7", output_path=output)
    else:
        backed = anndata.read_h5ad(source, backed="r")
        masks = [np.arange(n) % 2 == 0 for n in backed.shape]
        backed.file.close()
        crispyx.data.write_filtered_subset(
            source, cell_mask=masks[0], gene_mask=masks[1], output_path=output
        )


if __name__ == "__main__":
    main()
