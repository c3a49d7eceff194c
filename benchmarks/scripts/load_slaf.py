"""Epochs of a loader of this program, or all from an h5ad file to the first batch.

epochs DATASET OPTIONS N_GENES, or first H5AD OUTPUT OPTIONS.
"""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING

from usage import print_epochs, print_whole, watch_memory

import slaf

if TYPE_CHECKING:
    from collections.abc import Generator


def epochs(dataset: str, options: str, n_genes: str) -> None:
    """Run epochs and print what they took."""
    genes = slice(0, int(n_genes)) if int(n_genes) else None
    loader = slaf.open(dataset)[:, genes].loader(**json.loads(options))

    def epoch() -> Generator[int, None, None]:
        for batch in loader:
            yield len(batch)

    print_epochs(epoch)


def first(h5ad: str, output: str, options: str) -> None:
    """Convert a file, make a loader, take a batch, and print what it took."""
    shutil.rmtree(output, ignore_errors=True)
    dataset = slaf.convert(h5ad, output, **json.loads(options))
    next(iter(dataset.loader()))
    print_whole()


if __name__ == "__main__":
    watch_memory()
    {"epochs": epochs, "first": first}[sys.argv[1]](*sys.argv[2:])
