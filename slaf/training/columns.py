"""Columns of obs and arrays of obsm that go along with batches."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.annotations.columns import ColumnSet
from slaf.annotations.dataframes import to_frame
from slaf.errors import SelectionError
from slaf.format.schema import CELLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from slaf.dataset.dataset import Dataset

__all__ = ["CellColumns", "combined_codes", "obs_columns"]


class CellColumns:
    """What goes along with the cells of a dataset.

    Parameters
    ----------
    dataset
        The dataset.
    labels, obs
        Names of columns of obs, whose codes and whose values go along.
    obsm
        Names of arrays of obsm.

    Attributes
    ----------
    categories
        For each column of labels, the values of its codes.

    Raises
    ------
    SelectionError
        If there is no such column or array.
    """

    def __init__(
        self,
        dataset: Dataset,
        labels: Iterable[str] = (),
        obs: Sequence[str] = (),
        obsm: Iterable[str] = (),
    ) -> None:
        labels = tuple(dict.fromkeys(labels))
        frame = obs_columns(dataset, (*labels, *obs)) if (*labels, *obs) else None
        self._labels: dict[str, NDArray[np.int32]] = {}
        self.categories: dict[str, list[Any]] = {}
        for name in labels:
            if frame is not None:
                self._labels[name], self.categories[name] = codes_of(frame[name])
        self._obs = {} if frame is None else {name: frame[name].to_numpy() for name in obs}
        self._obsm = obsm_arrays(dataset, obsm)
        self._first_cells = np.array([source.offset for source in dataset.sources])

    def of(self, cells: NDArray[np.int64]) -> dict[str, Any]:
        """`labels`, `obs`, `obsm` and `source` of some cells, as a batch has them."""
        return {
            "labels": {name: codes[cells] for name, codes in self._labels.items()},
            "obs": {name: values[cells] for name, values in self._obs.items()},
            "obsm": {name: array[cells] for name, array in self._obsm.items()},
            "source": np.searchsorted(self._first_cells, cells, side="right") - 1,
        }


def obs_columns(dataset: Dataset, names: Iterable[str]) -> pd.DataFrame:
    """Some columns of obs, with the cell ids as the index; the others are not read.

    Raises
    ------
    SelectionError
        If there is no such column; the error lists those that there are.
    """
    columns = dataset.published.columns[CELLS]
    index, *rest = columns.columns
    by_name = {str(column.original): column for column in rest}
    wanted = dict.fromkeys(names)
    for name in wanted:
        _check_name(name, by_name, f"{dataset.location}: obs has no column")
    subset = ColumnSet((index, *(by_name[name] for name in wanted)), columns.index_name)
    stored = [column.name for column in subset.columns]
    return to_frame(dataset.annotations.read_columns(CELLS, stored), subset)


def obsm_arrays(dataset: Dataset, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Arrays of obsm.

    Raises
    ------
    SelectionError
        If there is no such array, or it is a table or a sparse matrix.
    """
    arrays = {}
    for name in names:
        _check_name(name, dataset.obsm, f"{dataset.location}: obsm has no array")
        arrays[name] = dataset.obsm[name]
        if not isinstance(arrays[name], np.ndarray):
            msg = f"{dataset.location}: obsm[{name!r}] is no array, and cannot go along in batches"
            raise SelectionError(msg)
    return arrays


def codes_of(column: pd.Series[Any]) -> tuple[NDArray[np.int32], list[Any]]:
    """The code of each value, −1 where it is missing, and the values.

    A categorical has the codes of its categories; other values are sorted.
    """
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.cat.codes).astype(np.int32), column.cat.categories.tolist()
    codes, values = pd.factorize(column, sort=True)
    return np.asarray(codes).astype(np.int32), list(values)


def combined_codes(codes: Sequence[NDArray[np.int32]], n: int) -> NDArray[np.int64]:
    """A code for each combination of codes; −1 where one of them is missing."""
    combined = np.zeros(n, np.int64)
    missing = np.zeros(n, np.bool_)
    for each in codes:
        combined = combined * (int(each.max(initial=-1)) + 1) + each
        missing |= each < 0
    combined[missing] = -1
    return combined


def _check_name(name: str, names: Iterable[str], what: str) -> None:
    names = list(names)
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=1)
        hint = (
            f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(names) or 'none'}"
        )
        msg = f"{what} {name!r}{hint}"
        raise SelectionError(msg)
