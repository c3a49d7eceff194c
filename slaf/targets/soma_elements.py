"""obs, var, obsm, varm, obsp, varp and uns in the types that tiledbsoma writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slaf.annotations.equality import is_sparse

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["fit_element"]


# Names that tiledbsoma reserves: everywhere, and among the columns of each table.
_RESERVED_START: Final = "soma_"
_RESERVED: Final = {"obs": "obs_id", "var": "var_id", "raw/var": "var_id"}

# tiledbsoma reads a column of this name as the index.
_INDEX: Final = "index"

# With more categories tiledbsoma writes strings.
_MAX_CATEGORIES: Final = 4096

# tiledbsoma writes only X and var of raw.
_RAW_VARM: Final = "raw/varm"
_MATRIX: Final = 2
_INT64_LIMIT: Final = 2**63

# In place of a value that cannot be stored.
_UNSUPPORTED: Final = object()


def fit_element(slot: str, element: Any, messages: list[str]) -> Any:
    """The contents of a slot without those that cannot be stored, the others in TileDB's types.

    For some values of uns tiledbsoma stores nothing, or crashes.

    Parameters
    ----------
    slot
        "obs", "var" or "raw/var", which are frames; the others are dictionaries.
    element
        The contents of the slot.
    messages
        A list, to which messages about contents that are left out or changed are added.
    """
    if slot in _RESERVED:
        return _fit_frame(slot, _RESERVED[slot], element, messages)
    if slot == "uns":
        return _fit_mapping(slot, element, messages)
    fitted = {}
    for name, value in element.items():
        label = f"{slot}[{name!r}] ({type(value).__name__})"
        if slot == _RAW_VARM or not _is_matrix(value) or name.startswith(_RESERVED_START):
            messages.append(f"{label} is left out")
        else:
            fitted[name] = _fit_numbers(label, value, messages)
    return fitted


def _is_matrix(value: Any) -> bool:
    """Whether a value is a numeric matrix without repeated entries."""
    if is_sparse(value):
        csr = value.tocsr().sorted_indices()
        return value.dtype.kind in "biuf" and bool(csr.has_canonical_format)
    return (
        isinstance(value, np.ndarray)
        and value.dtype.kind in "biuf"
        and value.ndim == _MATRIX
        and value.shape[1] > 0
    )


def _fit_numbers(label: str, value: Any, messages: list[str]) -> Any:
    """Numbers in a type that TileDB has and that holds all of them."""
    for dtype, supported in ((np.bool_, np.uint8), (np.float16, np.float32)):
        if value.dtype == dtype:
            messages.append(f"{label} becomes {np.dtype(supported)}")
            return value.astype(supported)
    return value


def _fit_mapping(label: str, element: Mapping[str, Any], messages: list[str]) -> dict[str, Any]:
    fitted = {}
    for name, value in element.items():
        value_label = f"{label}[{name!r}]"
        stored = _UNSUPPORTED
        if not name.startswith(_RESERVED_START):
            stored = _fit_value(value_label, value, messages)
        if stored is _UNSUPPORTED:
            messages.append(f"{value_label} ({type(value).__name__}) is left out")
        else:
            fitted[name] = stored
    return fitted


def _fit_value(label: str, value: Any, messages: list[str]) -> Any:
    """A value of uns in TileDB's types, or `_UNSUPPORTED`."""
    import pandas as pd

    if isinstance(value, Mapping):
        return _fit_mapping(label, value, messages)
    if isinstance(value, pd.DataFrame):
        return _fit_frame(label, _INDEX, value, messages) if len(value) else _UNSUPPORTED
    if isinstance(value, list):
        kinds = {type(item) for item in value}
        one_type = len(kinds) == 1 and kinds <= {str, bool, int, float}
        return _fit_array(label, np.array(value), messages) if one_type else _UNSUPPORTED
    if isinstance(value, np.ndarray) and value.ndim:
        return _fit_array(label, value, messages)
    scalar = value.item() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(scalar, str):
        supported = "\0" not in scalar
    elif isinstance(scalar, int):
        supported = -_INT64_LIMIT <= scalar < _INT64_LIMIT
    else:
        supported = isinstance(scalar, float)
    return scalar if supported else _UNSUPPORTED


def _fit_array(label: str, value: Any, messages: list[str]) -> Any:
    if value.ndim > _MATRIX or not value.size or type(value) is not np.ndarray:
        return _UNSUPPORTED
    if value.dtype.kind in "UO":
        texts = value.ravel().tolist()
        supported = all(isinstance(text, str) and "\0" not in text for text in texts)
        return value if supported else _UNSUPPORTED
    if value.dtype.kind not in "biuf":
        return _UNSUPPORTED
    return _fit_numbers(f"{label} ({value.dtype})", value, messages)


def _fit_frame(label: str, reserved: str, frame: pd.DataFrame, messages: list[str]) -> pd.DataFrame:
    import pandas as pd

    fitted = frame.copy(deep=False)
    for name in frame.columns:
        dtype: Any = frame[name].dtype
        column = f"{label}[{name!r}] ({dtype})"
        unsafe = name.startswith(_RESERVED_START) or name in {reserved, _INDEX} or "\0" in name
        if unsafe or dtype.kind == "m" or isinstance(dtype, pd.DatetimeTZDtype):
            messages.append(f"{column} is left out")
            del fitted[name]
        elif dtype == np.float16:
            messages.append(f"{column} becomes float32")
            fitted[name] = fitted[name].astype(np.float32)
        elif isinstance(dtype, pd.CategoricalDtype) and len(dtype.categories) > _MAX_CATEGORIES:
            messages.append(f"{column} has more than {_MAX_CATEGORIES:,} categories, becomes text")
    index_name: Any = fitted.index.name
    if index_name is not None and (
        index_name in {reserved, _INDEX, *fitted} or index_name.startswith(_RESERVED_START)
    ):
        messages.append(f"the name of the index of {label}, {index_name!r}, is left out")
        fitted.index = fitted.index.rename(None)
    return fitted
