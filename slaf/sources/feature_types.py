"""Keep the genes of one feature type."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from slaf.errors import MissingMatrix
from slaf.sources.selection import SelectedSource

if TYPE_CHECKING:
    from slaf.sources.base import Source

__all__ = ["of_feature_type"]

_FEATURE_TYPE = "feature_type"


def of_feature_type(source: Source, feature_type: str) -> SelectedSource:
    """The genes of one type, as "Gene Expression" or "Antibody Capture".

    Raises
    ------
    MissingMatrix
        If there is none; the error lists the types.
    """
    table = source.genes()
    types = table.column(_FEATURE_TYPE).to_pylist() if _FEATURE_TYPE in table.column_names else []
    kept = np.array([at for at, name in enumerate(types) if name == feature_type], np.int64)
    if not len(kept):
        names = ", ".join(map(repr, sorted(set(types)))) or "no types at all"
        msg = f"{source.info.uri}: there are no features of type {feature_type!r}; it has {names}"
        raise MissingMatrix(msg)
    selected, n_dropped = SelectedSource(source, genes=kept), len(types) - len(kept)
    if n_dropped:
        dropped = (*source.info.not_converted, f"{n_dropped:,} other features")
        selected.info = replace(selected.info, not_converted=dropped)
    return selected
