"""Contents of an export: matrices, read as streams, and elements, read into memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from slaf.dataset.annotations import element_rows
from slaf.format.schema import CELLS, GENES
from slaf.sparse.ranges import RowRange, as_positions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from slaf.dataset.dataset import Dataset
    from slaf.dataset.matrix import StoredMatrix
    from slaf.dataset.selection import Indexer
    from slaf.format.config import DatasetConfig
    from slaf.sparse.batch import Batch
    from slaf.sparse.ranges import Rows

__all__ = ["LAYERS", "RAW", "Contents", "Matrix", "SelectedMatrix", "X", "contents_of"]


# AnnData's names of the matrices.
X: Final = "X"
LAYERS: Final = "layers/"
RAW: Final = "raw/X"


class Matrix(Protocol):
    """A matrix of cells × genes that is read from its first cell to its last."""

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numeric type to write its values in; batches may have another that holds them."""

    @property
    def value_type(self) -> np.dtype[Any]:
        """The smallest type that holds all values: of whole numbers, if there are no others."""

    @property
    def n_entries(self) -> int:
        """Number of entries, or of at most as many."""

    @property
    def is_counted(self) -> bool:
        """Whether `n_entries` is their number."""

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
    chosen = dataset.resolve(CELLS, cells)
    columns = None if genes is None else dataset.positions(GENES, genes)
    rows = None if cells is None else as_positions(chosen)
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
    dataset: Dataset, cells: Rows, genes: NDArray[np.int64] | None
) -> Iterator[tuple[str, Matrix]]:
    value_type, x = _value_type(dataset.published), dataset.matrix()
    yield X, SelectedMatrix(x, cells, genes, value_type, is_counted=genes is None)
    for name in dataset.layers:
        layer = dataset.matrix(name)
        # The rows are those of all layers.
        yield LAYERS + name, SelectedMatrix(layer, cells, genes, layer.value_type, is_counted=False)
    if dataset.raw is not None:
        raw = dataset.raw.matrix
        yield RAW, SelectedMatrix(raw, cells, None, raw.value_type, is_counted=True)


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


@dataclass(frozen=True, slots=True)
class SelectedMatrix:
    """Some cells and genes of a matrix of a dataset; a `Matrix`.

    Attributes
    ----------
    stored
        The matrix.
    cells, genes
        The cells, and the genes, in their order; None for all genes.
    value_type, is_counted
        As `Matrix` has them.
    """

    stored: StoredMatrix
    cells: Rows
    genes: NDArray[np.int64] | None
    value_type: np.dtype[Any]
    is_counted: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        n_genes = self.stored.shape[1] if self.genes is None else len(self.genes)
        return (len(self.cells), n_genes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type to give its values in."""
        return self.stored.read_dtype

    @property
    def n_entries(self) -> int:
        """How many entries there are, or at most."""
        return self.stored.n_rows(self.cells)

    def batches(self) -> Iterator[Batch]:
        """All cells, in order, counted from the first."""
        first = self.cells.start if isinstance(self.cells, RowRange) else 0
        for batch in self.stored.batches(self.cells, self.genes):
            yield batch.shifted(-first)
