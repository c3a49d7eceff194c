"""Axes: the cells and genes of a view, and their tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from slaf.annotations.columns import ColumnSet
from slaf.annotations.dataframes import to_frame
from slaf.dataset.query import QueryTable
from slaf.errors import SelectionError
from slaf.format.schema import CELLS, GENES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from slaf.sources.base import Source

    Positions = NDArray[np.int64] | None

__all__ = ["Axes"]


class Axes:
    """The cells and genes of a view, whose attributes `View` has; the base class of `BaseView`."""

    origin: Axes
    cells: Positions
    genes: Positions

    @property
    def source(self) -> Source:
        """The dataset, or the inputs, as a source."""
        return self.origin.source

    @property
    def label(self) -> str:
        """The name of the dataset or of the inputs, for messages."""
        return self.source.info.uri

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return (self.n_obs, self.n_vars)

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.origin.n_obs if self.cells is None else len(self.cells)

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return self.origin.n_vars if self.genes is None else len(self.genes)

    def positions(self, axis: str) -> Positions:
        """Positions in the origin of the cells or genes; None for all."""
        return self.cells if axis == CELLS else self.genes

    @property
    def obs(self) -> pd.DataFrame:
        """The table of cells, with the column names and types of the input; read on access."""
        return self._read_only(CELLS, "obs")

    @property
    def var(self) -> pd.DataFrame:
        """The table of genes, with the column names and types of the input; read on access."""
        return self._read_only(GENES, "var")

    @property
    def obs_names(self) -> pd.Index[Any]:
        """The ids of the cells."""
        return self._index(CELLS)

    @property
    def var_names(self) -> pd.Index[Any]:
        """The ids of the genes."""
        return self._index(GENES)

    def frame(self, axis: str) -> pd.DataFrame:
        """The table of "cells" or "genes", as a frame that can be changed."""
        return self._columns(axis, self.source.columns(axis))

    def obs_columns(self, names: Sequence[str]) -> pd.DataFrame:
        """Some columns of obs; no others are read.

        Parameters
        ----------
        names
            The names of columns; a repeated one is there once.

        Raises
        ------
        SelectionError
            If there is no such column.
        """
        columns = self.source.columns(CELLS)
        index, *others = columns.columns
        by_name = {column.original: column for column in others}
        unknown = [name for name in names if name not in by_name]
        if unknown:
            listed = ", ".join(repr(name) for name in by_name) or "none at all"
            msg = f"{self.label}: obs has no column {unknown[0]!r}; it has {listed}"
            raise SelectionError(msg)
        chosen = (index, *(by_name[name] for name in dict.fromkeys(names)))
        return self._columns(CELLS, ColumnSet(chosen, columns.index_name))

    def query_table(self, axis: str) -> QueryTable:
        """The cells or genes of the view as SQL and filters read them, with their positions."""
        source, rows = self.source, self.positions(axis)
        columns, size = source.columns(axis), self.n_obs if axis == CELLS else self.n_vars
        position = f"{axis.removesuffix('s')}_integer_id"
        names = [column.name for column in columns.columns]
        schema = pa.schema([source.schema(axis).field(name) for name in names])

        def read(requested: list[str]) -> pa.RecordBatchReader:
            stored = [name for name in requested if name != position]
            # Without a column a table has no rows.
            table = source.read_columns(axis, stored or names[:1], rows)
            if position in requested:
                table = table.append_column(position, pa.array(np.arange(size)))
            return table.select(requested).to_reader()

        return QueryTable(
            schema.append(pa.field(position, pa.int64())),
            read,
            columns=columns,
        )

    def _columns(self, axis: str, columns: ColumnSet) -> pd.DataFrame:
        names = [column.name for column in columns.columns]
        rows = self.positions(axis)
        return to_frame(self.source.read_columns(axis, names, rows), columns)

    def _read_only(self, axis: str, name: str) -> pd.DataFrame:
        from slaf.annotations.read_only_frame import ReadOnlyFrame

        return ReadOnlyFrame.of(self.frame(axis), name)

    def _index(self, axis: str) -> pd.Index[Any]:
        columns = self.source.columns(axis)
        first = ColumnSet(columns.columns[:1], columns.index_name)
        index: pd.Index[Any] = self._columns(axis, first).index
        return index
