"""An AnnData in memory, or backed by a file, as a source."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import scipy.sparse as sp

from slaf.annotations.dataframes import from_frame
from slaf.errors import InputError, MissingMatrix
from slaf.options import ReadOptions
from slaf.runtime.lazy import LazyMapping
from slaf.sources.base import Raw, Slots
from slaf.sources.csr import CompressedRows, compressed_columns
from slaf.sources.dense import dense_matrix
from slaf.sources.identity import content_identity
from slaf.sources.slots import dropped_with_raw, other_layers
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import anndata
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.sources.base import Matrix, MatrixSize
    from slaf.sparse.batch import Batch

__all__ = ["AnnDataSource"]

_LAYER = "layer:"
_HASHED_ROWS = 1 << 16


class AnnDataSource:
    """An AnnData, which is read and never changed.

    Parameters
    ----------
    adata
        X, raw or a layer may be CSR, CSC, a numpy array, or backed by an open file.
    options
        Which matrix, and the budget for sorting it where it is not in cell order.

    Raises
    ------
    MissingMatrix
        If it has no such matrix; the error lists those it has.
    """

    format = "anndata"
    uri = "<AnnData>"

    def __init__(self, adata: anndata.AnnData, options: ReadOptions | None = None) -> None:
        self._adata = adata
        self._options = options or ReadOptions()
        self.matrix = self._options.matrix
        self._genes: pd.DataFrame = (
            adata.raw.var if self.matrix == "raw" and adata.raw else adata.var
        )
        self._matrix = self._open(self.matrix)
        self.dtype = self._matrix.dtype
        self.n_cells, self.n_genes = self._matrix.shape

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # Nothing was opened, but what was brought into the order of cells has scratch.
        for kept in ("_layers", "_raw"):
            self.__dict__.pop(kept, None)

    def identity(self) -> Mapping[str, Any]:
        """The size and digest of the matrices and of the ids."""

        def pieces() -> Iterator[bytes]:
            yield repr((self.matrix, self.n_cells, self.n_genes, str(self.dtype))).encode()
            for names in (self._adata.obs_names, self._genes.index):
                yield "\n".join(map(str, names)).encode(errors="surrogatepass")
            others = [name for name in self.matrices() if name != self.matrix]
            for matrix in (self.matrix, *others):
                yield matrix.encode(errors="surrogatepass")
                for array in _arrays(self._stored(matrix)):
                    for rows in RowRange(0, len(array)).split(_HASHED_ROWS):
                        yield np.ascontiguousarray(array[rows.start : rows.stop]).tobytes()

        return content_identity(pieces())

    def matrices(self) -> tuple[str, ...]:
        """X, raw and the layers, as `matrix` takes them."""
        found = ["X"] if self._adata.X is not None else []
        if self._adata.raw is not None:
            found.append("raw")
        # anndata 0.13 gives X the key None among the layers.
        return (*found, *(_LAYER + name for name in self._adata.layers if name is not None))

    def left_behind(self) -> tuple[str, ...]:
        """What belongs to other genes than the matrix that was chosen."""
        varied = [(slot, sorted(getattr(self._adata, slot))) for slot in ("varm", "varp")]
        return dropped_with_raw(self.matrix, self.matrices(), varied)

    def extent(self) -> MatrixSize:
        """How much the chosen matrix holds."""
        return self._matrix.extent()

    def sample_values(self, matrix: str | None = None) -> NDArray[Any]:
        """Some of the first stored values."""
        if matrix is None or matrix == self.matrix:
            return self._matrix.sample_values()
        return self._open(matrix).sample_values()

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells."""
        return self._matrix.indptr_estimate(step)

    def cells(self) -> pa.Table:
        """The cells: `cell_id`, then obs."""
        return from_frame(self._adata.obs, "cell_id")

    def genes(self) -> pa.Table:
        """The genes of the chosen matrix: `gene_id`, then var (of raw, raw's own)."""
        return from_frame(self._genes, "gene_id")

    def layers(self) -> Mapping[str, Matrix]:
        """X and the layers, but for the chosen one; of raw none, which has genes of its own."""
        return self._layers

    @cached_property
    def _layers(self) -> Mapping[str, Matrix]:
        # Once: what is not in the order of cells is brought into it once.
        names = other_layers(self.matrix, self.matrices())
        return LazyMapping(names, lambda name: self._open(names[name]), keep=True)

    def raw(self) -> Raw | None:
        """The raw of the AnnData, unless it is the chosen matrix."""
        return self._raw

    @cached_property
    def _raw(self) -> Raw | None:
        if self._adata.raw is None or self.matrix == "raw":
            return None
        raw = self._adata.raw
        return Raw(self._open("raw"), from_frame(raw.var, "gene_id"), dict(raw.varm))

    def slots(self) -> Slots:
        """Those of the AnnData; beside raw, its own varm and no varp."""
        adata = self._adata
        if self.matrix == "raw":
            varm, varp = dict(adata.raw.varm), {}
        else:
            varm, varp = dict(adata.varm), dict(adata.varp)
        obsm, obsp = dict(adata.obsm), dict(adata.obsp)
        if adata.is_view:
            # Its elements are of classes of anndata's own: their copies are what they are of.
            for slot in (obsm, varm, obsp, varp):
                slot |= {key: element.copy() for key, element in slot.items()}
        return Slots(obsm, varm, obsp, varp, dict(adata.uns))

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        try:
            yield from self._matrix.batches(rows)
        except InputError as error:
            error.add_note(f"in {self.matrix} of the AnnData")
            raise

    def _stored(self, matrix: str) -> Any:
        if matrix == "X" and self._adata.X is not None:
            return self._adata.X
        if matrix == "raw" and self._adata.raw is not None:
            return self._adata.raw.X
        if matrix.startswith(_LAYER) and matrix in self.matrices():
            return self._adata.layers[matrix.removeprefix(_LAYER)]
        have = ", ".join(self.matrices()) or "none at all"
        msg = f"the AnnData has no matrix {matrix!r}; choose one: {have}"
        raise MissingMatrix(msg)

    def _open(self, matrix: str) -> Matrix:
        return as_matrix(self._stored(matrix), self._options)


def as_matrix(stored: Any, options: ReadOptions) -> Matrix:
    """A matrix in memory, by ranges of cells.

    Raises
    ------
    InputError
        If it is of a kind that is not known.
    """
    layout = getattr(stored, "format", None)
    if layout in {"csr", "csc"} and not sp.issparse(stored):
        # Backed by a file: what it holds on disk is not to be read whole.
        msg = "the AnnData is backed by a file; convert that file instead"
        raise InputError(msg)
    if stored.dtype.kind in "biuf" and stored.dtype.itemsize <= 8:  # noqa: PLR2004 - 64 bits
        if layout in {"csr", "csc"}:
            indptr, indices, data = _arrays(stored)
            shape = (int(stored.shape[0]), int(stored.shape[1]))
            if layout == "csr":
                return CompressedRows(indptr, indices, data, shape)
            return compressed_columns(indptr, indices, data, shape, options)
        masked = isinstance(stored, np.ma.MaskedArray)
        if isinstance(stored, np.ndarray) and stored.ndim == 2 and not masked:  # noqa: PLR2004
            return dense_matrix(stored, None, options)
    kind = f"{type(stored).__module__}.{type(stored).__qualname__}"
    msg = f"the matrix is a {kind} of {stored.dtype}; numeric CSR, CSC and numpy arrays are known"
    raise InputError(msg)


def _arrays(stored: Any) -> tuple[NDArray[Any], ...]:
    if hasattr(stored, "indptr"):
        return (stored.indptr, stored.indices, stored.data)
    return (np.asarray(stored),)
