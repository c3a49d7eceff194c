"""Methods of a dataset that are verbs elsewhere: the only module here that imports upward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slaf.errors import SelectionError
from slaf.format.schema import CELLS, GENES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slaf.dataset.dataset import Dataset
    from slaf.dataset.selection import Indexer
    from slaf.training.loader import Loader

__all__ = ["annotate", "make_loader"]


def make_loader(
    dataset: Dataset, cells: Indexer, genes: Indexer, options: Mapping[str, Any]
) -> Loader:
    """Make a loader of some cells and genes of a dataset.

    Raises
    ------
    SelectionError
        If a selected cell, gene, column or layer does not exist.
    TypeError, ValueError
        If an option is unknown, or does not fit.
    """
    from slaf.training.loader import Loader

    try:
        positions = None if genes is None else dataset.positions(GENES, genes)
    except SelectionError as error:
        error.add_note(
            "a loader gives the genes that are selected, in their order: leave out those that "
            "dataset.var.index does not have"
        )
        raise
    chosen = None if cells is None else dataset.positions(CELLS, cells)
    return Loader(dataset, chosen, positions, **options)


def annotate(dataset: Dataset, changes: Mapping[str, Any]) -> Dataset:
    """Annotate a dataset; errors are those of `slaf.annotate`."""
    from slaf.conversion.annotate import annotate as verb

    return verb(dataset, **changes)
