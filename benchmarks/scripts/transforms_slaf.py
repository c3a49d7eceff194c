"""A transform of an h5ad file or a dataset by slaf.

usage: transforms_slaf.py normalize|filter|sort|qc|sum|scan INPUT [OUTPUT]
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import slaf

if TYPE_CHECKING:
    from collections.abc import Callable

_STEPS: dict[str, dict[str, Any]] = {
    "normalize": {"normalize_total": 1e4, "log1p": True},
    "filter": {"cells": "cell_integer_id % 2 = 0", "genes": "gene_integer_id % 2 = 0"},
    "sort": {"sort_by": "cell_type", "first": "type 7"},
}
_METHODS: dict[str, Callable[[slaf.View], slaf.View]] = {
    "normalize": lambda view: view.normalize_total(1e4).log1p(),
    # As crispyx does by default; each group of these files has 50 cells and more.
    "qc": lambda view: (
        view.filter_cells(min_genes=100).filter_genes(min_cells=100).normalize_total(1e4).log1p()
    ),
    "filter": lambda view: view[::2, ::2],
    "sort": lambda view: view.sort_by("cell_type", first="type 7"),
}


def main() -> None:
    """Write the output, if there is one."""
    name, source, *outputs = sys.argv[1:]
    if name == "sum":
        slaf.open(source).sum("cells")
    elif name == "scan":
        for _ in slaf.open(source).X.batches():
            pass
    elif outputs[0].endswith(".h5ad"):
        # Not compressed, as that of crispyx.
        opened = slaf.open if source.endswith(".slaf") else slaf.scan
        with opened(source) as view:
            slaf.export(_METHODS[name](view), outputs[0], compression="none")
    else:
        slaf.transform(source, outputs[0], **_STEPS[name])


if __name__ == "__main__":
    main()
