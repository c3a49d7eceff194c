"""Contents of an export: matrices, read as streams, and elements, read into memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from slaf.dataset.annotations import element_rows
from slaf.format.schema import CELLS, GENES
from slaf.format.schema import LAYERS as LAYERS_TABLE
from slaf.format.schema import RAW as RAW_TABLE
from slaf.sparse.batch import BATCH_NONZEROS, Batch
from slaf.sparse.ranges import RowRange, split_by_nnz

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pandas as pd
    import scipy.sparse as sp
    from numpy.typing import NDArray

    from slaf.dataset.dataset import Dataset
    from slaf.dataset.selection import Indexer
    from slaf.format.config import DatasetConfig

__all__ = ["LAYERS", "RAW", "Contents", "Matrix", "X", "contents_of"]


# AnnData's names of the matrices.
X: Final = "X"
LAYERS: Final = "layers/"
RAW: Final = "raw/X"


class Matrix(Protocol):
    """A matrix of cells × genes that is read from its first cell to its last.

    Attributes
    ----------
    shape
        Cells and genes.
    dtype
        The numeric type to give its values in.
    value_type
        The smallest type that holds all of them: of whole numbers, if there are no others.
    n_entries
        How many there are, or at most.
    is_counted
        Whether `n_entries` is how many there are.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    value_type: np.dtype[Any]
    n_entries: int
    is_counted: bool

    def batches(self) -> Iterator[Batch]:
        """All cells, in order, in batches of bounded size."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of an export, by AnnData's names.

    Attributes
    ----------
    matrices
        "X", "layers/NAME" and "raw/X".
    elements
        "obs", "var" and "raw/var" are frames; "obsm", "varm", "obsp", "varp", "uns" and
        "raw/varm" are dictionaries of what anndata writes.
    """

    matrices: Mapping[str, Matrix]
    elements: Mapping[str, Any]

    @property
    def x(self) -> Matrix:
        """The matrix of the dataset."""
        return self.matrices[X]

    @property
    def obs(self) -> pd.DataFrame:
        """The table of cells."""
        frame: pd.DataFrame = self.elements["obs"]
        return frame

    @property
    def var(self) -> pd.DataFrame:
        """The table of genes."""
        frame: pd.DataFrame = self.elements["var"]
        return frame


def contents_of(dataset: Dataset, cells: Indexer = None, genes: Indexer = None) -> Contents:
    """The contents of a dataset, or of some of its cells and genes.

    Parameters
    ----------
    dataset
        The dataset.
    cells, genes
        As for `Dataset.read`.

    Raises
    ------
    SelectionError
        If a selected cell or gene does not exist.
    """
    chosen = dataset.positions(CELLS, cells)
    columns = None if genes is None else dataset.positions(GENES, genes)
    rows = None if cells is None else chosen
    elements = {
        "obs": _aligned(dataset.obs, rows),
        "var": _aligned(dataset.var, columns),
        "obsm": {name: _aligned(value, rows) for name, value in dataset.obsm.items()},
        "varm": {name: _aligned(value, columns) for name, value in dataset.varm.items()},
        "obsp": {name: _paired(value, rows) for name, value in dataset.obsp.items()},
        "varp": {name: _paired(value, columns) for name, value in dataset.varp.items()},
        "uns": dataset.uns,
    }
    if dataset.raw is not None:
        elements |= {"raw/var": dataset.raw.var, "raw/varm": dict(dataset.raw.varm)}
    return Contents(dict(_matrices(dataset, chosen, columns)), elements)


def _matrices(
    dataset: Dataset, chosen: NDArray[np.int64], columns: NDArray[np.int64] | None
) -> Iterator[tuple[str, Matrix]]:
    published, held = dataset.published, dataset.annotations
    n_genes = dataset.n_genes if columns is None else len(columns)
    yield (
        X,
        ChosenRows(
            partial(dataset.read, genes=columns),
            chosen,
            np.diff(dataset.cell_offsets)[chosen],
            n_genes=n_genes,
            dtype=np.dtype(published.dtype),
            value_type=_value_type(published),
            is_counted=columns is None,
        ),
    )
    for name, record in held.layers.items():
        yield (
            LAYERS + name,
            ChosenRows(
                partial(dataset.read, genes=columns, layer=name),
                chosen,
                np.diff(held.offsets(LAYERS_TABLE))[chosen],
                n_genes=n_genes,
                dtype=np.dtype(record.dtype),
                value_type=np.dtype(record.value_type),
                # The rows are those of all layers.
                is_counted=False,
            ),
        )
    if dataset.raw is not None and held.beside.raw is not None:
        record = held.beside.raw.matrix
        yield (
            RAW,
            ChosenRows(
                dataset.raw.read,
                chosen,
                np.diff(held.offsets(RAW_TABLE))[chosen],
                n_genes=dataset.raw.n_genes,
                dtype=np.dtype(record.dtype),
                value_type=np.dtype(record.value_type),
                is_counted=True,
            ),
        )


def _aligned(element: Any, rows: NDArray[np.int64] | None) -> Any:
    return element if rows is None else element_rows(element, rows)


def _paired(matrix: Any, rows: NDArray[np.int64] | None) -> Any:
    return matrix if rows is None else matrix[rows][:, rows]


def _value_type(published: DatasetConfig) -> np.dtype[Any]:
    """int32 in place of uint32, where that holds all values too: more formats know it."""
    stored = np.dtype(published.value_type)
    largest = published.expression_stats["max_value"]
    fits = largest is not None and largest <= np.iinfo(np.int32).max
    return np.dtype(np.int32) if stored == np.uint32 and fits else stored


class ChosenRows:
    """Some cells of a matrix of a dataset, in the order asked for; a `Matrix`.

    Parameters
    ----------
    read
        Gives the rows of some cells.
    cells
        The positions of the cells.
    lengths
        Entries of each of these cells, or at most, by which batches are cut.
    n_genes, dtype, value_type, is_counted
        As `Matrix` has them.
    """

    def __init__(
        self,
        read: Callable[[slice | NDArray[np.int64]], sp.csr_matrix],
        cells: NDArray[np.int64],
        lengths: NDArray[np.int64],
        *,
        n_genes: int,
        dtype: np.dtype[Any],
        value_type: np.dtype[Any],
        is_counted: bool,
    ) -> None:
        self.shape = (len(cells), n_genes)
        self.dtype = dtype
        self.value_type = value_type
        self.n_entries = int(lengths.sum())
        self.is_counted = is_counted
        self._read = read
        self._cells = cells
        self._offsets = np.append(0, np.cumsum(lengths))

    def batches(self) -> Iterator[Batch]:
        """All cells, in order."""
        for first, last in split_by_nnz(self._offsets, BATCH_NONZEROS):
            yield self._batch(RowRange(first, last))

    def _batch(self, rows: RowRange) -> Batch:
        cells = self._cells[rows.start : rows.stop]
        first, last = int(cells[0]), int(cells[-1])
        neighbours = last - first == len(cells) - 1 and bool((np.diff(cells) == 1).all())
        matrix = self._read(slice(first, last + 1) if neighbours else cells)
        # Genes that were asked for out of order come out of order.
        matrix.sort_indices()
        counts = np.diff(matrix.indptr).astype(np.int64)
        return Batch(rows, counts, matrix.indices.astype(np.uint32, copy=False), matrix.data)
