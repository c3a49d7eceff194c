"""slaf, this program: content and reads. Its own command line converts.

The verb `convert` runs two commands: h5ad to a dataset, and the dataset to h5ad.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from content import content, print_result
from reads import timed


def convert(layout: str, source: str, output: str) -> None:
    """Convert an h5ad file to another layout through a dataset."""
    program, dataset = Path(sys.executable).with_name("slaf"), f"{output}.slaf"
    subprocess.run([program, "convert", "--quiet", source, dataset], check=True)
    export: list[str | Path] = [program, "export", "--quiet", dataset, output, "--layout", layout]
    subprocess.run([*export, "--compression", "none"], check=True)
    shutil.rmtree(dataset)


def main(verb: str, path: str, *rest: str) -> Any:
    """Run one verb: convert, content or reads."""
    if verb == "convert":
        return convert(path, *rest)
    if verb == "content" and path.endswith(".h5ad"):
        import anndata

        adata = anndata.read_h5ad(path)
        return content(adata.X, adata.obs, adata.var)
    import slaf

    dataset = slaf.open(path)
    if verb == "content":
        return content(dataset.X.to_memory(), dataset.obs, dataset.var)
    reads = {
        "64 random cells": lambda cells: dataset[cells].X.to_memory(),
        "10,000 neighbouring cells": lambda span: dataset[slice(*span)].X.to_memory(),
        "one gene": lambda gene: dataset[:, [gene]].X.to_memory(),
        "filter to AnnData": lambda label: dataset[f"cell_type = '{label}'"].to_anndata(),
    }
    return timed(reads, *rest)


if __name__ == "__main__":
    print_result(main(*sys.argv[1:]))
