"""Some cells and genes of a source, in any order, as a source."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.format.schema import CELLS, RAW
from slaf.runtime.lazy import LazyMapping
from slaf.sources.base import Source
from slaf.sources.contents import Measured, Raw, Slots
from slaf.sources.selected_matrix import RunsOfCells
from slaf.sparse.ranges import RowRange, mask_of, runs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.annotations.columns import ColumnSet
    from slaf.options import ReadOptions
    from slaf.sources.contents import Coverage
    from slaf.sources.matrix import Matrix

    Positions = NDArray[np.int64] | None

__all__ = ["SelectedSource", "element_pairs", "element_rows"]


def element_rows(element: Any, rows: Positions) -> Any:
    """Some rows of an element of obsm or varm; all if None."""
    if rows is None:
        return element
    return element.iloc[rows] if hasattr(element, "iloc") else element[rows]


def element_pairs(element: Any, rows: Positions) -> Any:
    """Some rows and the same columns of an element of obsp or varp; all if None."""
    return element if rows is None else element[rows][:, rows]


class SelectedSource(Source):
    """Some cells and genes of a source, in their order, with all that belongs to them.

    Raw keeps its own genes.

    Parameters
    ----------
    source
        The source; closed with this one.
    cells, genes
        Positions in any order, each any number of times; None for all.
    """

    def __init__(self, source: Source, cells: Positions = None, genes: Positions = None) -> None:
        super().__init__()
        self._source = source
        self._cells = cells
        self._genes = genes
        self.reading = source.reading
        info = source.info
        matrix = source.select(None, cells, genes)
        n_cells, n_genes = matrix.shape
        self.info = replace(info, n_cells=n_cells, n_genes=n_genes, size=matrix.size)

    def close(self) -> None:
        """Close the source."""
        self._source.__exit__()

    def read_cells(self) -> pa.Table:
        """The selected cells."""
        cells = self._source.measured_cells()
        return cells if self._cells is None else cells.take(self._cells)

    def read_genes(self) -> pa.Table:
        """The selected genes."""
        genes = self._source.genes()
        return genes if self._genes is None else genes.take(self._genes)

    def columns(self, axis: str) -> ColumnSet:
        """The columns of the source."""
        return self._source.columns(axis)

    def schema(self, axis: str) -> pa.Schema:
        """The types of the columns of the source."""
        return self._source.schema(axis)

    def read_columns(self, axis: str, names: Sequence[str], rows: Positions = None) -> pa.Table:
        """Some columns of some of the selected cells or genes."""
        selected = self._cells if axis == CELLS else self._genes
        return self._source.read_columns(axis, names, _composed(selected, rows))

    def open_matrix(self, name: str) -> Matrix:
        """A matrix of the source, with the selected cells and genes; raw has its own genes."""
        return self.select(name)

    def select(
        self,
        name: str | None,
        cells: Positions = None,
        genes: Positions = None,
        reading: ReadOptions | None = None,
    ) -> Matrix:
        """Some of the selected cells and genes of a matrix."""
        genes = genes if self._is_raw(name) else _composed(self._genes, genes)
        cells = _composed(self._cells, cells)
        return self._source.select(name, cells, genes, reading or self.reading)

    def _is_raw(self, name: str | None) -> bool:
        """Whether a matrix has genes of its own."""
        return name == RAW != self._source.info.matrix

    def open_raw(self) -> Raw | None:
        """The raw of the source, with the selected cells."""
        raw = self._source.raw()
        return None if raw is None else replace(raw, matrix=self.matrix("raw"))

    def open_coverage(self) -> Coverage | None:
        """The coverage of the source, with the selected cells."""
        coverage = self._source.coverage()
        if coverage is None or self._cells is None:
            return coverage
        return coverage.mapped(partial(RunsOfCells, cells=self._cells))

    def measured(self, name: str | None = None) -> Sequence[Measured]:
        """The selected genes that the input of each selected cell has measured."""
        found = list(self._source.measured(name))
        cells, genes = self._cells, self._genes
        if genes is not None and not self._is_raw(name):
            width = self._source.info.n_genes
            among = {one.genes: runs_of(mask_of(one.genes, width)[genes]) for one in found}
            found = [Measured(one.rows, among[one.genes]) for one in found]
        if cells is None:
            return found
        inputs = np.searchsorted([one.rows.stop for one in found], cells, side="right")
        ends = [*(np.flatnonzero(np.diff(inputs)) + 1).tolist(), len(cells)]
        starts = [0, *ends[:-1]]
        return [
            Measured(RowRange(start, stop), found[inputs[start]].genes)
            for start, stop in zip(starts, ends, strict=True)
            if start < stop
        ]

    def slots(self) -> Slots:
        """The slots of the source, with the selected cells and genes."""
        slots, cells, genes = self._source.slots(), self._cells, self._genes
        return Slots(
            LazyMapping(slots.obsm, lambda key: element_rows(slots.obsm[key], cells)),
            LazyMapping(slots.varm, lambda key: element_rows(slots.varm[key], genes)),
            LazyMapping(slots.obsp, lambda key: element_pairs(slots.obsp[key], cells)),
            LazyMapping(slots.varp, lambda key: element_pairs(slots.varp[key], genes)),
            slots.uns,
        )


def _composed(first: Positions, second: Positions) -> Positions:
    """The positions that some positions among others have."""
    if first is None or second is None:
        return second if first is None else first
    return first[second]
