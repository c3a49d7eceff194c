"""The names of the cells or genes of a view: ids, symbols of genes, and columns for filters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from slaf.dataset.query import is_condition, where
from slaf.dataset.selection import resolve_indexer
from slaf.format.schema import CELLS, GENES
from slaf.sparse.ranges import as_positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from slaf.dataset.axes import Axes

__all__ = ["SYMBOLS", "AxisNames"]

# Columns of var with the symbols of genes, the first that there is.
SYMBOLS = (
    *("gene_name", "feature_name", "gene_symbol", "gene_symbols", "gene_names"),
    *("symbol", "symbols", "hgnc_symbol", "Symbol", "SYMBOL", "GeneSymbol", "GeneName", "name"),
)


@dataclass(frozen=True, slots=True)
class AxisNames:
    """The cells or genes of a view, as `slaf.dataset.selection.Names` has them."""

    view: Axes
    axis: str

    @property
    def size(self) -> int:
        """Their number."""
        return self.view.shape[self.axis == GENES]

    def ids(self) -> pa.ChunkedArray:
        """All ids, in order."""
        column = self.view.source.columns(self.axis).columns[0].name
        positions = self.view.positions(self.axis)
        return self.view.source.read_columns(self.axis, [column], positions).column(0)

    def find(self, names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The index of each name, and its position."""
        which, positions = self.view.source.find(self.axis, names)
        return self._within(which, positions)

    def named(self, name: str) -> NDArray[np.int64]:
        """The position of an id or a symbol."""
        return as_positions(resolve_indexer([name], self))

    def symbols(self) -> pa.ChunkedArray | None:
        """The symbols of all genes, in order; None without any."""
        if self.axis == CELLS:
            return None
        columns = {c.original: c for c in self.view.source.columns(self.axis).columns}
        chosen = next((columns[name] for name in SYMBOLS if name in columns), None)
        if chosen is None:
            return None
        rows = self.view.positions(self.axis)
        column = self.view.source.read_columns(self.axis, [chosen.name], rows).column(0)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        return column if is_text else None

    def is_filter(self, text: str) -> bool:
        """Whether a text is a condition on a column of the table."""
        return is_condition(self.axis, self.view.query_table(self.axis), text)

    def where(self, condition: str) -> NDArray[np.int64]:
        """The positions for which a condition is true."""
        return where(self.axis, self.view.query_table(self.axis), condition)

    def _within(
        self, which: NDArray[np.int64], positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions in the origin as positions in the view."""
        rows = self.view.positions(self.axis)
        if rows is None:
            return which, positions
        order = np.argsort(positions, kind="stable")
        places = np.searchsorted(positions, rows, sorter=order)
        places = order[np.minimum(places, len(order) - 1)] if len(order) else places[:0]
        kept = np.flatnonzero(positions[places] == rows) if len(order) else places
        return which[places[kept]], kept
