"""The tables and small slots as tiledbsoma writes them, and what of them it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slaf.annotations.equality import is_sparse

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["fit_element"]


# What tiledbsoma keeps for itself: of all names, and among the columns of each table.
_RESERVED_START: Final = "soma_"
_RESERVED: Final = {"obs": "obs_id", "var": "var_id", "raw/var": "var_id"}

# A column of this name it reads as the index.
_INDEX: Final = "index"

# It makes strings of categories beyond so many.
_MOST_CATEGORIES: Final = 4096

# Of raw it writes only X and var.
_RAW_VARM: Final = "raw/varm"
_MATRIX: Final = 2
_LARGEST_INT: Final = 2**63

# Stands for what has no place.
_NO_PLACE: Final = object()


def fit_element(slot: str, element: Any, notes: list[str]) -> Any:
    """A slot without what has no place in an experiment, and with the rest as it can be there.

    tiledbsoma writes some things of uns as nothing, and others it does not survive.

    Parameters
    ----------
    slot
        "obs", "var" or "raw/var", which are frames, or another, which is a dictionary.
    element
        What it holds.
    notes
        Takes, in words, what is left out or held otherwise.
    """
    if slot in _RESERVED:
        return _fit_frame(slot, _RESERVED[slot], element, notes)
    if slot == "uns":
        return _fit_mapping(slot, element, notes)
    held = {}
    for name, value in element.items():
        where = f"{slot}[{name!r}] ({type(value).__name__})"
        if slot == _RAW_VARM or not _is_matrix(value) or name.startswith(_RESERVED_START):
            notes.append(f"{where} is left out")
        else:
            held[name] = _fit_numbers(where, value, notes)
    return held


def _is_matrix(value: Any) -> bool:
    """Whether it is numbers in rows and columns, each place stored once."""
    if is_sparse(value):
        entries = value.tocsr().sorted_indices()
        return value.dtype.kind in "biuf" and bool(entries.has_canonical_format)
    return (
        isinstance(value, np.ndarray)
        and value.dtype.kind in "biuf"
        and value.ndim == _MATRIX
        and value.shape[1] > 0
    )


def _fit_numbers(where: str, value: Any, notes: list[str]) -> Any:
    """An array of numbers in a type that TileDB has, which holds each of them."""
    for had, becomes in ((np.bool_, np.uint8), (np.float16, np.float32)):
        if value.dtype == had:
            notes.append(f"{where} becomes {np.dtype(becomes)}")
            return value.astype(becomes)
    return value


def _fit_mapping(place: str, element: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    held = {}
    for name, value in element.items():
        where = f"{place}[{name!r}]"
        fit = _NO_PLACE if name.startswith(_RESERVED_START) else _fit_value(where, value, notes)
        if fit is _NO_PLACE:
            notes.append(f"{where} ({type(value).__name__}) is left out")
        else:
            held[name] = fit
    return held


def _fit_value(where: str, value: Any, notes: list[str]) -> Any:
    """Something in uns, or `_NO_PLACE`."""
    import pandas as pd

    if isinstance(value, Mapping):
        return _fit_mapping(where, value, notes)
    if isinstance(value, pd.DataFrame):
        return _fit_frame(where, _INDEX, value, notes) if len(value) else _NO_PLACE
    if isinstance(value, list):
        return _fit_list(where, value, notes)
    if isinstance(value, np.ndarray) and value.ndim:
        return _fit_array(where, value, notes)
    plain = value.item() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(plain, str):
        known = "\0" not in plain
    elif isinstance(plain, int):
        known = -_LARGEST_INT <= plain < _LARGEST_INT
    else:
        known = isinstance(plain, float)
    return plain if known else _NO_PLACE


def _fit_list(where: str, value: list[Any], notes: list[str]) -> Any:
    """A list of values of one type is an array."""
    kinds = {type(one) for one in value}
    if len(kinds) != 1 or not kinds <= {str, bool, int, float}:
        return _NO_PLACE
    array = np.array(value)
    return _fit_array(where, array, notes)


def _fit_array(where: str, value: Any, notes: list[str]) -> Any:
    if value.ndim > _MATRIX or not value.size or type(value) is not np.ndarray:
        return _NO_PLACE
    if value.dtype.kind in "UO":
        texts = value.ravel().tolist()
        known = all(isinstance(text, str) and "\0" not in text for text in texts)
        return value if known else _NO_PLACE
    if value.dtype.kind not in "biuf":
        return _NO_PLACE
    return _fit_numbers(f"{where} ({value.dtype})", value, notes)


def _fit_frame(place: str, reserved: str, frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    import pandas as pd

    found = frame.copy(deep=False)
    for name in frame.columns:
        dtype: Any = frame[name].dtype
        where = f"{place}[{name!r}] ({dtype})"
        taken = name.startswith(_RESERVED_START) or name in {reserved, _INDEX} or "\0" in name
        if taken or dtype.kind == "m" or isinstance(dtype, pd.DatetimeTZDtype):
            notes.append(f"{where} is left out")
            del found[name]
        elif dtype == np.float16:
            notes.append(f"{where} becomes float32")
            found[name] = found[name].astype(np.float32)
        elif isinstance(dtype, pd.CategoricalDtype) and len(dtype.categories) > _MOST_CATEGORIES:
            notes.append(f"{where} has more than {_MOST_CATEGORIES:,} categories, and becomes text")
    title: Any = found.index.name
    if title is not None and (
        title in {reserved, _INDEX, *found} or title.startswith(_RESERVED_START)
    ):
        notes.append(f"the name of the index of {place}, {title!r}, is left out")
        found.index = found.index.rename(None)
    return found
