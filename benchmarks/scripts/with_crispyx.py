"""crispyx: convert an h5ad file to the other layout, or concatenate many."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anndata
import crispyx
from content import content, print_result
from reads import timed


def convert(kind: str, source: str, output: str) -> None:
    """Convert CSR to CSC, and other layouts to CSR."""
    if kind == "files":
        crispyx.pp.concat_h5ad(sorted(Path(source).iterdir()), output_path=output, verbose=False)
    elif kind == "csr":
        crispyx.pp.convert_to_csc(source, output_path=output, verbose=False)
    else:
        crispyx.pp.convert_to_csr(source, output_path=output, verbose=False)


def main(verb: str, path: str, *rest: str) -> Any:
    """Run one verb: convert, content or reads."""
    if verb == "convert":
        return convert(path, *rest)
    if verb == "content":
        adata = anndata.read_h5ad(path)
        return content(adata.X, adata.obs, adata.var)
    matrix = crispyx.read_h5ad_ondisk(path).backed.X
    return timed({"one gene": lambda gene: matrix[:, [gene]]}, *rest)


if __name__ == "__main__":
    print_result(main(*sys.argv[1:]))
