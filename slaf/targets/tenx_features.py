"""The columns that 10x has for cells and genes, taken from obs and var."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from slaf.targets.contents import Contents

__all__ = ["Features", "dropped_by_10x", "features_of"]

_GENE_EXPRESSION = "Gene Expression"

# scanpy's names, and ours of what 10x inputs hold.
_IDS = ("gene_ids",)
_NAMES = ("gene_name", "gene_symbols", "gene_symbol")
_TYPES = ("feature_type", "feature_types")
Strings = list[str]


@dataclass(frozen=True, slots=True)
class Features:
    """What 10x says of each gene.

    Attributes
    ----------
    ids, names, types
        Identifier, symbol and what was measured.
    rest
        Further columns of text, by name.
    left_out
        The names of the columns that are not text.
    """

    ids: Strings
    names: Strings
    types: Strings
    rest: Mapping[str, Strings]
    left_out: tuple[str, ...]


def features_of(var: pd.DataFrame) -> Features:
    """The features of a var as 10x inputs give it, as scanpy writes it, or any other.

    The identifier is `gene_ids`, where scanpy has put it, and the index is then the symbol; else
    it is the index, and the symbol `gene_name`, `gene_symbols` or `gene_symbol`.
    """
    index = [str(value) for value in var.index]
    texts = dict(_texts(var))
    ids = _taken(texts, _IDS)
    names = index if ids is not None else _taken(texts, _NAMES)
    types = _taken(texts, _TYPES)
    return Features(
        ids or index,
        index if names is None else names,
        [_GENE_EXPRESSION] * len(var) if types is None else types,
        texts,
        tuple(str(name) for name in var.columns if _text(var[name]) is None),
    )


def dropped_by_10x(contents: Contents, left_of_var: tuple[str, ...]) -> tuple[str, ...]:
    """In words, what a 10x matrix has no place for: all but X, the ids and some of var."""
    found = [slot for slot in contents.matrices if slot != "X"]
    for slot, element in contents.elements.items():
        names = left_of_var if slot == "var" else tuple(map(str, element))
        if names:
            found.append(f"{slot} ({', '.join(names)})")
    return tuple(f"{place} is left out" for place in found)


def _taken(texts: dict[str, Strings], names: tuple[str, ...]) -> Strings | None:
    """The first of these columns that is there, which is then no further column."""
    for name in names:
        if name in texts:
            return texts.pop(name)
    return None


def _texts(var: pd.DataFrame) -> Iterator[tuple[str, Strings]]:
    for name in var.columns:
        text = _text(var[name])
        if text is not None:
            yield name, text


def _text(column: pd.Series[Any]) -> Strings | None:
    values = np.asarray(column, dtype=object).tolist()
    return values if all(isinstance(value, str) for value in values) else None
