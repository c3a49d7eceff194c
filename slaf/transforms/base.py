"""A source whose values pass through a function of batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import InputError, SelectionError
from slaf.sources.base import Source
from slaf.sources.matrix import MatrixView
from slaf.sources.selected_matrix import SelectedMatrix
from slaf.sparse.batch import Batch
from slaf.sparse.csr import drop_entries
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.annotations.columns import ColumnSet
    from slaf.options import ReadOptions
    from slaf.sources.contents import Coverage, Measured, Raw, Slots
    from slaf.sources.matrix import Matrix, MatrixSize

    Positions = NDArray[np.int64] | None

__all__ = ["SourceStep", "TransformedSource", "UnfitValue", "ValueStep"]


class UnfitValue(Exception):
    """A value that a step cannot take.

    Parameters
    ----------
    nonzero
        Its position among the nonzeros of the batch.
    reason
        The fault, and the remedy.
    """

    def __init__(self, nonzero: int, reason: str) -> None:
        super().__init__(reason)
        self.nonzero = nonzero
        self.reason = reason


class SourceStep(ABC):
    """A step that gives another source."""

    @abstractmethod
    def applied(self, source: Source, prefix: str = "") -> Source:
        """The source seen through the step, which is closed with it.

        Parameters
        ----------
        source
            The source.
        prefix
            The text before each cell id that the source does not have itself.
        """


@dataclass(frozen=True)
class ValueStep(SourceStep):
    """A step that changes the values of one matrix, each cell by itself.

    Attributes
    ----------
    layer
        The layer that it reads; None for X.
    as_layer
        The layer that it makes, next to the one it reads; None to replace that.
    """

    layer: str | None = None
    as_layer: str | None = None

    @property
    def target(self) -> str | None:
        """The layer that it changes or makes; None for X."""
        return self.layer if self.as_layer is None else self.as_layer

    def applied(self, source: Source, prefix: str = "") -> Source:
        """The source with these values."""
        return TransformedSource(source, self, prefix)

    @abstractmethod
    def dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The type of the values that it makes of this type."""

    @abstractmethod
    def apply(self, batch: Batch, dtype: np.dtype[Any], keys: NDArray[np.uint64]) -> NDArray[Any]:
        """New values of the nonzeros, in this type; some may be zero.

        Parameters
        ----------
        batch
            Whole cells.
        dtype
            The type of the new values.
        keys
            The numbers that `keys` made of the ids of these cells.

        Raises
        ------
        UnfitValue
            If it cannot take a value.
        """

    def keys(self, ids: Callable[[], pa.ChunkedArray], prefix: str) -> NDArray[np.uint64]:
        """A number for each cell, made of its id; none unless `apply` uses them."""
        del ids, prefix
        return np.empty(0, np.uint64)

    def uns(self, uns: Mapping[str, Any]) -> Mapping[str, Any]:
        """The uns of the result."""
        return uns


class TransformedSource(Source):
    """A source with the values of one matrix changed; all else is as it was.

    Parameters
    ----------
    source
        The source; closed with this one.
    step
        The change of the values.
    prefix
        The text before each cell id that the source does not have itself.

    Raises
    ------
    SelectionError
        If there is no such layer, or the new one is there already.
    """

    def __init__(self, source: Source, step: ValueStep, prefix: str = "") -> None:
        super().__init__()
        self._source = source
        self._step = step
        self._prefix = prefix
        self.reading = source.reading
        info = source.info
        self._read_name = info.matrix if step.layer is None else _layer(info.layers, step.layer)
        self._name = self._read_name
        if step.as_layer is not None:
            if step.as_layer in info.layers:
                msg = f"there is a layer {step.as_layer!r} already; give the result another name"
                raise SelectionError(msg)
            self._name = f"layer:{step.as_layer}"
            info = replace(info, layers={**info.layers, step.as_layer: self._name})
        self.info = replace(info, dtype=self._dtype_of(info.matrix))

    def _dtype_of(self, name: str) -> np.dtype[Any]:
        if name != self._name:
            return self._source.info.dtype
        return self._step.dtype(self._source.matrix(self._read_name).dtype)

    def close(self) -> None:
        """Close the source."""
        self._source.__exit__()

    def read_cells(self) -> pa.Table:
        """The cells of the source."""
        return self._source.cells()

    def read_genes(self) -> pa.Table:
        """The genes of the source."""
        return self._source.genes()

    def open_matrix(self, name: str) -> Matrix:
        """A matrix of the source, or the changed one."""
        return self.select(name)

    def select(
        self,
        name: str | None,
        cells: Positions = None,
        genes: Positions = None,
        reading: ReadOptions | None = None,
    ) -> Matrix:
        """Some cells and genes; only these cells are read, but all of their genes."""
        name, reading = self.info.matrix if name is None else name, reading or self.reading
        if name != self._name:
            return self._source.select(name, cells, genes, reading)
        inner = self._source.select(self._read_name, cells, None, reading)
        at = partial(self._label, cells)
        changed = _TransformedMatrix(inner, self._step, partial(self._keys, cells), at)
        return changed if genes is None else SelectedMatrix(changed, None, genes)

    def open_raw(self) -> Raw | None:
        """The raw of the source."""
        return self._source.raw()

    def open_coverage(self) -> Coverage | None:
        """The coverage of the source."""
        return self._source.coverage()

    def measured(self, name: str | None = None) -> Sequence[Measured]:
        """The genes that each input of the source has measured."""
        changed = name == self._name or (name is None and self._name == self.info.matrix)
        return self._source.measured(self._read_name if changed else name)

    def slots(self) -> Slots:
        """The slots of the source; uns may say what was done."""
        slots = self._source.slots()
        return replace(slots, uns=self._step.uns(slots.uns))

    def stored(self, axis: str) -> tuple[pa.Table, ColumnSet]:
        """The cells or genes of the source, as a dataset stores them."""
        return self._source.stored(axis)

    def columns(self, axis: str) -> ColumnSet:
        """The columns of the source."""
        return self._source.columns(axis)

    def schema(self, axis: str) -> pa.Schema:
        """The types of the columns of the source."""
        return self._source.schema(axis)

    def read_columns(self, axis: str, names: Sequence[str], rows: Positions = None) -> pa.Table:
        """Some columns of the source."""
        return self._source.read_columns(axis, names, rows)

    def find(self, axis: str, names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where some ids are."""
        return self._source.find(axis, names)

    def _keys(self, cells: Positions) -> NDArray[np.uint64]:
        """The numbers of some cells."""
        keys = self._once("keys", lambda: self._step.keys(self._ids, self._prefix))
        return keys if cells is None or not len(keys) else keys[cells]

    def _ids(self) -> pa.ChunkedArray:
        return self._source.cells().column(0)

    def _label(self, cells: Positions, cell: int, gene: int) -> str:
        """Where a value is, for an error."""
        cell = cell if cells is None else int(cells[cell])
        ids = self._source.cells().column(0)[cell], self._source.genes().column(0)[gene]
        matrix = "X" if self._step.layer is None else f"layers[{self._step.layer!r}]"
        return f"{self.info.uri}: {matrix} at cell {ids[0].as_py()!r}, gene {ids[1].as_py()!r}"


class _TransformedMatrix(MatrixView):
    """A matrix whose values pass through a step.

    Parameters
    ----------
    matrix
        The matrix, with all genes.
    step
        The change of the values.
    keys
        Reads a number for each cell.
    label
        Where a value is, by cell and gene.
    """

    def __init__(
        self,
        matrix: Matrix,
        step: ValueStep,
        keys: Callable[[], NDArray[np.uint64]],
        label: Callable[[int, int], str],
    ) -> None:
        super().__init__(matrix)
        self._step = step
        self._keys = keys
        self._label = label
        self._dtype = step.dtype(matrix.dtype)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the new values."""
        return self._dtype

    @property
    def size(self) -> MatrixSize:
        """The number of entries; some may become zero."""
        return replace(self._matrix.size, exact=False)

    def sample_values(self) -> NDArray[Any]:
        """Some of the first new values."""
        for batch in self.batches(RowRange(0, self.shape[0])):
            if batch.nnz:
                return batch.values
        return np.empty(0, self.dtype)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order, with new values."""
        keys = self._keys()
        for batch in self._matrix.batches(rows):
            of_batch = keys[batch.rows.start : batch.rows.stop]
            try:
                values = self._step.apply(batch, self.dtype, of_batch)
            except UnfitValue as unfit:
                cell, gene = batch.cell_of(unfit.nonzero), int(batch.genes[unfit.nonzero])
                msg = f"{self._label(cell, gene)} is {batch.values[unfit.nonzero]}, {unfit.reason}"
                raise InputError(msg) from None
            yield without_zeros(replace(batch, values=values))


def without_zeros(batch: Batch) -> Batch:
    """The batch without entries whose value is zero."""
    nonzero = batch.values != 0
    if nonzero.all():
        return batch
    return Batch(batch.rows, *drop_entries(nonzero, batch.counts, batch.genes, batch.values))


def _layer(layers: Mapping[str, str], layer: str) -> str:
    if layer not in layers:
        names = ", ".join(map(repr, layers)) or "none at all"
        msg = f"there is no layer {layer!r} whose values could be changed; there are {names}"
        raise SelectionError(msg)
    return layers[layer]
