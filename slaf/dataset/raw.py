"""RawView: the matrix that AnnData calls raw, of the cells of a view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from slaf.annotations.columns import to_lance
from slaf.annotations.dataframes import to_frame
from slaf.annotations.read_only import ReadOnlyMapping
from slaf.dataset.lazy_matrix import LazyMatrix, composed
from slaf.dataset.selection import Unnamed, resolve_indexer, resolve_positions
from slaf.format.schema import RAW
from slaf.sources.selection import element_rows
from slaf.sparse.ranges import as_positions

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from slaf.sources.base import Source
    from slaf.sources.contents import Raw

    Positions = NDArray[np.int64] | None

__all__ = ["RawView"]


class RawView:
    """The matrix that AnnData calls raw, of the cells of a view, with its own genes.

    Parameters
    ----------
    source
        The dataset, or the inputs.
    raw
        Its raw.
    cells, genes
        Positions of the cells, and of genes of raw; None for all.
    """

    def __init__(
        self, source: Source, raw: Raw, cells: Positions = None, genes: Positions = None
    ) -> None:
        self._source = source
        self._raw = raw
        self._cells = cells
        self._genes = genes

    def __getitem__(self, index: Any) -> RawView:
        """Some cells, by position, and genes, by position or id."""
        rows, columns = index if isinstance(index, tuple) else (index, slice(None))
        cells = as_positions(resolve_positions(rows, self.n_obs))
        genes = as_positions(resolve_indexer(columns, _RawGenes(self)))
        return RawView(
            self._source, self._raw, composed(self._cells, cells), composed(self._genes, genes)
        )

    def __repr__(self) -> str:
        return f"RawView: {self.shape[0]:,} cells × {self.shape[1]:,} genes"

    @property
    def X(self) -> LazyMatrix:  # noqa: N802 - AnnData's name
        """The matrix; slices read it as CSR."""
        return LazyMatrix(self._source, RAW, "raw.X", self._cells, self._genes)

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return self.X.shape

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.shape[0]

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return self.shape[1]

    @property
    def var(self) -> pd.DataFrame:
        """The table of its genes."""
        from slaf.annotations.read_only_frame import ReadOnlyFrame

        return ReadOnlyFrame.of(self.frame(), "raw.var")

    @property
    def var_names(self) -> pd.Index[Any]:
        """The ids of its genes."""
        return self.frame().index

    @property
    def varm(self) -> Mapping[str, Any]:
        """Arrays and tables with a row for each of its genes, by name."""
        varm = self._raw.varm
        return ReadOnlyMapping("raw.varm", varm, lambda key: element_rows(varm[key], self._genes))

    def frame(self) -> pd.DataFrame:
        """The table of its genes, as a frame that can be changed."""
        genes = self._raw.genes
        return to_frame(*to_lance(genes if self._genes is None else genes.take(self._genes), ()))


class _RawGenes(Unnamed):
    """The genes of raw, which have ids, and no filters."""

    axis = "genes"

    def __init__(self, raw: RawView) -> None:
        super().__init__(raw.n_vars)
        self._raw = raw

    def ids(self) -> pa.ChunkedArray:
        """Their ids."""
        return pa.chunked_array([self._raw.var_names.astype(str).to_list()], pa.string())
