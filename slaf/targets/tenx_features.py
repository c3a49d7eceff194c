"""Features of 10x files, from the columns of var."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from slaf.targets.contents import Contents

__all__ = ["Features", "dropped_by_10x", "features_of"]

_GENE_EXPRESSION = "Gene Expression"

# Column names of scanpy, and of datasets made of 10x files.
_IDS = ("gene_ids",)
_NAMES = ("gene_name", "gene_symbols", "gene_symbol")
_TYPES = ("feature_type", "feature_types")
Strings = list[str]


@dataclass(frozen=True, slots=True)
class Features:
    """The features of a 10x file.

    Attributes
    ----------
    ids, names, types
        Identifier, symbol and feature type.
    rest
        Further text columns by name.
    left_out
        The names of the columns that are not text.
    """

    ids: Strings
    names: Strings
    types: Strings
    rest: Mapping[str, Strings]
    left_out: tuple[str, ...]


def features_of(var: pd.DataFrame) -> Features:
    """Features of a var, as read from 10x files, as scanpy writes it, or any other.

    If there is a column `gene_ids`, as in scanpy, the identifiers are there and the index has the
    symbols. Else the index has the identifiers, and the symbols are `gene_name`, `gene_symbols` or
    `gene_symbol`.
    """
    index = [str(value) for value in var.index]
    values = {name: _text(var[name]) for name in var.columns}
    texts = {name: text for name, text in values.items() if text is not None}
    ids = _pop_first(texts, _IDS)
    names = index if ids is not None else _pop_first(texts, _NAMES)
    types = _pop_first(texts, _TYPES)
    return Features(
        ids or index,
        index if names is None else names,
        [_GENE_EXPRESSION] * len(var) if types is None else types,
        texts,
        tuple(str(name) for name, text in values.items() if text is None),
    )


def dropped_by_10x(contents: Contents, columns_of_var: tuple[str, ...]) -> tuple[str, ...]:
    """Messages about contents without a place in 10x files: all but X, ids and some of var.

    Parameters
    ----------
    contents
        The contents of the export.
    columns_of_var
        The columns of var that are left out.
    """
    labels = [slot for slot in contents.matrices if slot != "X"]
    for slot, element in contents.elements.items():
        names = columns_of_var if slot == "var" else tuple(map(str, element))
        if names:
            labels.append(f"{slot} ({', '.join(names)})")
    return tuple(f"{label} is left out" for label in labels)


def _pop_first(texts: dict[str, Strings], names: tuple[str, ...]) -> Strings | None:
    """The first of some columns that exists, which is removed from the further columns."""
    return next((texts.pop(name) for name in names if name in texts), None)


def _text(column: pd.Series[Any]) -> Strings | None:
    values = np.asarray(column, dtype=object).tolist()
    return values if all(isinstance(value, str) for value in values) else None
