"""LazyMatrix: a matrix of a view, read by slices as CSR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from slaf.dataset.reduce import MatrixReductions
from slaf.errors import SelectionError
from slaf.sparse.ranges import RowRange, as_positions

if TYPE_CHECKING:
    from collections.abc import Iterator

    import scipy.sparse as sp
    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.sources.base import Source
    from slaf.sources.matrix import Matrix
    from slaf.sparse.batch import Batch

    Positions = NDArray[np.int64] | None

__all__ = ["LazyMatrix", "composed"]


class LazyMatrix(MatrixReductions):
    """X, a layer or raw of a view: cells × genes; slices read it as CSR.

    Parameters
    ----------
    source
        The input or dataset.
    name
        The matrix, as `Source.matrix` takes it.
    cells, genes
        Positions in it; None for all.
    label
        Its name, for messages.

    Attributes
    ----------
    source, name, cells, genes, label
        As given.

    Examples
    --------
    >>> import anndata, numpy, slaf
    >>> view = slaf.scan(anndata.AnnData(numpy.eye(4, 3)))
    >>> view.X
    LazyMatrix: X, 4 cells × 3 genes, float64; [rows] or .to_memory() reads it as CSR
    >>> view.X[1:3].toarray().tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    ndim = 2
    format = "csr"

    def __init__(
        self,
        source: Source,
        name: str | None,
        label: str,
        cells: Positions = None,
        genes: Positions = None,
    ) -> None:
        self.source = source
        self.name = name
        self.label = label
        self.cells = cells
        self.genes = genes

    def __repr__(self) -> str:
        n_cells, n_genes = self.shape
        return (
            f"{type(self).__name__}: {self.label}, {n_cells:,} cells × {n_genes:,} genes, "
            f"{self.dtype}; [rows] or .to_memory() reads it as CSR"
        )

    @property
    def matrix(self) -> Matrix:
        """The matrix, read in batches; of a view, with its cells and genes."""
        return self.source.select(self.name, self.cells, self.genes)

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return self.matrix.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its values."""
        matrix = self.matrix
        dtype: np.dtype[Any] = getattr(matrix, "read_dtype", matrix.dtype)
        return dtype

    @property
    def value_type(self) -> np.dtype[Any]:
        """The smallest type that is known to hold all values."""
        matrix = self.matrix
        dtype: np.dtype[Any] = getattr(matrix, "value_type", matrix.dtype)
        return dtype

    @property
    def most_entries(self) -> int:
        """The number of entries of all genes, or its upper bound."""
        matrix = self.source.select(self.name, self.cells)
        return int(matrix.indptr_estimate(max(matrix.shape[0], 1))[-1])

    @property
    def nnz(self) -> int | None:
        """The number of its values, where it is known without reading them."""
        size = self.matrix.size
        return size.entries if size.exact else None

    def to_memory(self) -> sp.csr_matrix:
        """The whole matrix.

        Raises
        ------
        DamagedDataset, InputError
            If it cannot be read.
        """
        return self.source.read(self.name, self.cells, self.genes)

    def batches(self, reading: ReadOptions | None = None) -> Iterator[Batch]:
        """All cells, in order, in batches of bounded size.

        Parameters
        ----------
        reading
            The memory and the scratch directory for sorting cells in another order; those of the
            input if None.
        """
        matrix = self.source.select(self.name, self.cells, self.genes, reading)
        return matrix.batches(RowRange(0, matrix.shape[0]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        rows, columns = index if isinstance(index, tuple) else (index, slice(None))
        n_cells, n_genes = self.shape
        cells, genes = _positions(rows, n_cells), _positions(columns, n_genes)
        is_list = [one is not None and not isinstance(at, slice | int | np.integer) for one, at in
                   ((cells, rows), (genes, columns))]  # fmt: skip
        if all(is_list):
            msg = (
                "two lists select single entries in numpy, and a block in AnnData; write "
                f"{self.label}[cells][:, genes] for the block"
            )
            raise SelectionError(msg)
        found = self.source.read(
            self.name, composed(self.cells, cells), composed(self.genes, genes)
        )
        is_one = all(isinstance(at, int | np.integer) for at in (rows, columns))
        return found[0, 0] if is_one else found

    def __array__(self, *_arguments: Any, **_keywords: Any) -> NoReturn:
        msg = f"{self.label} is not in memory; write {self.label}.to_memory().toarray()"
        raise TypeError(msg)

    def __iter__(self) -> NoReturn:
        msg = f"{self.label} is read by slices, as in {self.label}[0:100], or by .batches()"
        raise TypeError(msg)

    def __getattr__(self, name: str) -> NoReturn:
        import scipy.sparse as sp

        msg = f"a LazyMatrix has no {name!r}"
        if not name.startswith("_") and hasattr(sp.csr_matrix, name):
            msg = f"{self.label} is not in memory; write {self.label}.to_memory().{name}"
        raise AttributeError(msg)


def composed(first: Positions, second: Positions) -> Positions:
    """The positions that some positions among others have; None stands for all."""
    if first is None or second is None:
        return second if first is None else first
    return first[second]


def _positions(index: Any, size: int) -> Positions:
    """The positions of an index of one axis; None for all.

    Raises
    ------
    SelectionError
        If it is no position, slice or mask.
    """
    from slaf.dataset.selection import resolve_positions

    if isinstance(index, slice) and index == slice(None):
        return None
    return as_positions(resolve_positions(index, size))
