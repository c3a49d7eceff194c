"""The order of cells by a column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from slaf.errors import SelectionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["order_by"]


def order_by(column: pd.Series[Any], first: object = None) -> NDArray[np.int64]:
    """The positions of cells in the order of their values; of equal ones in their own.

    Categories follow each other in their order, other values ascend, and cells without a value
    come last.

    Parameters
    ----------
    column
        The value of each cell.
    first
        The value whose cells come before all others.

    Raises
    ------
    SelectionError
        If no cell has that value.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        ranks = column.cat.codes.to_numpy().astype(np.int64)
    else:
        ranks = pd.factorize(column, sort=True)[0].astype(np.int64)
    ranks[ranks < 0] = len(column) + 1
    if first is not None:
        chosen = (column.astype(str) == str(first)).to_numpy() & column.notna().to_numpy()
        if not chosen.any():
            values = ", ".join(map(repr, column.dropna().unique()[:10]))
            msg = f"no cell has {first!r} in {column.name!r}; there are {values}"
            raise SelectionError(msg)
        ranks[chosen] = -1
    return np.argsort(ranks, kind="stable")
