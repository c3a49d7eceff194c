"""crispyx: an h5ad file into one of the other layout, or many into one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anndata
import crispyx
from content import content, tell
from reads import timed


def convert(kind: str, source: str, output: str) -> None:
    """Write by genes what is stored by cells, and by cells what is not."""
    if kind == "files":
        crispyx.pp.concat_h5ad(sorted(Path(source).iterdir()), output_path=output, verbose=False)
    elif kind == "csr":
        crispyx.pp.convert_to_csc(source, output_path=output, verbose=False)
    else:
        crispyx.pp.convert_to_csr(source, output_path=output, verbose=False)


def main(verb: str, path: str, *rest: str) -> Any:
    """Do what is asked for."""
    if verb == "convert":
        return convert(path, *rest)
    if verb == "content":
        adata = anndata.read_h5ad(path)
        return content(adata.X, adata.obs, adata.var)
    matrix = crispyx.read_h5ad_ondisk(path).backed.X
    return timed({"one gene": lambda gene: matrix[:, [gene]]}, *rest)


if __name__ == "__main__":
    tell(main(*sys.argv[1:]))
