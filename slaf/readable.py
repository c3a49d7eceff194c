"""Whatever uns may hold as JSON that people and other programs read; not the way back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slaf.equality import is_sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["as_json"]

# Of a larger array only the shape and the type are told.
_MOST_ELEMENTS: Final = 100_000


def as_json(value: Any) -> bytes:
    """The value as JSON: arrays as lists, tables as lists by column, NaN as null.

    Examples
    --------
    >>> as_json({"pca": {"variance": np.array([0.5, np.nan])}}).decode().split()
    ['{', '"pca":', '{', '"variance":', '[', '0.5,', 'null', ']', '}', '}']
    """
    return json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False).encode(
        errors="surrogatepass"
    )


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one for each kind of element
    if isinstance(value, Mapping):
        return {str(key): _plain(held) for key, held in value.items()}
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, np.ndarray):
        return _plain_array(value)
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    if hasattr(value, "columns") and hasattr(value, "index"):
        columns = {str(name): _plain(value[name].tolist()) for name in value.columns}
        return {"index": _plain(value.index.tolist()), "columns": columns}
    if is_sparse(value):
        kind = type(value).__name__
        return {"shape": list(value.shape), "dtype": str(value.dtype), "stored": value.nnz} | {
            "kind": kind
        }
    return _plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def _plain_array(array: NDArray[Any]) -> Any:
    if array.size > _MOST_ELEMENTS:
        return {"shape": list(array.shape), "dtype": str(array.dtype)}
    if array.dtype.names is not None:
        return {name: _plain_array(array[name]) for name in array.dtype.names}
    return _plain(array.tolist())
