"""Read every batch of the expression table of a dataset, and no more."""

from __future__ import annotations

import sys

import lance


def main(dataset: str) -> None:
    """Scan the table with the defaults of Lance."""
    for _ in lance.dataset(f"{dataset}/expression.lance").to_batches():
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
