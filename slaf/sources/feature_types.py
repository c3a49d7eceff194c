"""Keep the genes of one feature type, or of one genome."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from slaf.errors import MissingMatrix
from slaf.sources.selection import SelectedSource

if TYPE_CHECKING:
    from slaf.sources.base import Source


__all__ = ["FEATURE_TYPE", "GENOME", "subset_or_close"]

# The columns of features by which they are chosen.
FEATURE_TYPE = "feature_type"
GENOME = "genome"
_WORDS = {FEATURE_TYPE: ("features of type", "types"), GENOME: ("features of genome", "genomes")}


def subset_or_close(source: Source, column: str, value: str) -> SelectedSource:
    """The genes with a value in one of these columns, as "Gene Expression" or "mm10".

    Raises
    ------
    MissingMatrix
        If there is none, and the source is closed; the error lists the values.
    """
    with ExitStack() as closing:
        closing.enter_context(source)
        subset = _subset(source, column, value)
        closing.pop_all()
    return subset


def _subset(source: Source, column: str, value: str) -> SelectedSource:
    table = source.genes()
    values = table.column(column).to_pylist() if column in table.column_names else []
    kept = np.array([at for at, own in enumerate(values) if own == value], np.int64)
    if not len(kept):
        what, plural = _WORDS[column]
        names = ", ".join(repr(name) for name in sorted(filter(None, set(values))))
        msg = (
            f"{source.info.uri}: there are no {what} {value!r}; it has "
            f"{names or f'no {plural} at all'}"
        )
        raise MissingMatrix(msg)
    selected, n_dropped = SelectedSource(source, genes=kept), len(values) - len(kept)
    if n_dropped:
        dropped = (*source.info.not_converted, f"{n_dropped:,} other features")
        selected.info = replace(selected.info, not_converted=dropped)
    return selected
