"""AnnData in memory, or backed by a file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from slaf.annotations.dataframes import from_frame
from slaf.errors import InputError, MissingMatrix
from slaf.options import ReadOptions
from slaf.runtime.lazy import DeferredMapping
from slaf.sources.base import Source, SourceInfo, add_note, choices
from slaf.sources.contents import Raw, Slots
from slaf.sources.csr import CompressedRows, compressed_columns
from slaf.sources.dense import dense_matrix
from slaf.sources.identity import content_identity
from slaf.sources.matrix import LabelledMatrix
from slaf.sources.slots import dropped_with_raw, other_layers
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Iterator

    import anndata
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.sources.matrix import Matrix

__all__ = ["AnnDataSource"]

_LAYER = "layer:"
_HASHED_ROWS = 1 << 16


class AnnDataSource(Source):
    """An AnnData in memory, which is never changed.

    Parameters
    ----------
    adata
        X, raw or a layer may be CSR, CSC, a numpy array, or backed by an open file.
    options
        The matrix, and the memory for sorting it where it is not in cell order.
    number
        Its position among several AnnData, from 1, for messages.

    Raises
    ------
    MissingMatrix
        If it has no such matrix; the error lists its matrices.
    """

    def __init__(
        self, adata: anndata.AnnData, options: ReadOptions | None = None, number: int = 1
    ) -> None:
        super().__init__()
        self._adata = adata
        self._options = options or ReadOptions()
        chosen = self._options.matrix
        of_raw = chosen == "raw" and adata.raw is not None
        self._var: pd.DataFrame = adata.raw.var if of_raw else adata.var
        matrix, names = self.matrix(chosen), self._names()
        of_genes = [(slot, sorted(getattr(adata, slot))) for slot in ("varm", "varp")]
        self.info = SourceInfo.of(
            matrix,
            chosen,
            reads=(),
            uri="<AnnData>" if number == 1 else f"<AnnData {number}>",
            format="anndata",
            identity=DeferredMapping(lambda: content_identity(self._content(matrix))),
            matrices=names,
            layers=other_layers(chosen, names),
            not_converted=dropped_with_raw(chosen, names, of_genes),
        )

    def read_cells(self) -> pa.Table:
        """`cell_id`, then obs."""
        return from_frame(self._adata.obs, "cell_id")

    def read_genes(self) -> pa.Table:
        """`gene_id`, then var of the chosen matrix (of raw, its own)."""
        return from_frame(self._var, "gene_id")

    def open_matrix(self, name: str) -> Matrix:
        """X, raw or a layer."""
        return LabelledMatrix(
            as_matrix(self._stored(name), self._options),
            partial(add_note, f"in {name} of the AnnData"),
        )

    def open_raw(self) -> Raw | None:
        """The raw of the AnnData, unless it is the chosen matrix."""
        raw = self._adata.raw
        if raw is None or self.info.matrix == "raw":
            return None
        return Raw(self.matrix("raw"), from_frame(raw.var, "gene_id"), dict(raw.varm))

    def slots(self) -> Slots:
        """The slots of the AnnData; for raw, its varm and no varp."""
        adata = self._adata
        if self.info.matrix == "raw":
            varm, varp = dict(adata.raw.varm), {}
        else:
            varm, varp = dict(adata.varm), dict(adata.varp)
        obsm, obsp = dict(adata.obsm), dict(adata.obsp)
        if adata.is_view:
            # The elements of a view are of classes of anndata; their copies are of the usual ones.
            for slot in (obsm, varm, obsp, varp):
                slot |= {key: element.copy() for key, element in slot.items()}
        return Slots(obsm, varm, obsp, varp, dict(adata.uns))

    def _names(self) -> tuple[str, ...]:
        names = ["X"] if self._adata.X is not None else []
        if self._adata.raw is not None:
            names.append("raw")
        # anndata 0.13 gives X the key None among the layers.
        return (*names, *(_LAYER + name for name in self._adata.layers if name is not None))

    def _content(self, matrix: Matrix) -> Iterator[bytes]:
        """The bytes of all matrices and ids."""
        chosen = self._options.matrix
        yield repr((chosen, *matrix.shape, str(matrix.dtype))).encode()
        for ids in (self._adata.obs_names, self._var.index):
            yield "\n".join(map(str, ids)).encode(errors="surrogatepass")
        for name in dict.fromkeys((chosen, *self._names())):
            yield name.encode(errors="surrogatepass")
            for array in _arrays(self._stored(name)):
                for rows in RowRange(0, len(array)).split(_HASHED_ROWS):
                    yield np.ascontiguousarray(array[rows.start : rows.stop]).tobytes()

    def _stored(self, name: str) -> Any:
        if name == "X" and self._adata.X is not None:
            return self._adata.X
        if name == "raw" and self._adata.raw is not None:
            return self._adata.raw.X
        if name.startswith(_LAYER) and name in self._names():
            return self._adata.layers[name.removeprefix(_LAYER)]
        msg = f"the AnnData has no matrix {name!r}; {choices('matrix', self._names())}"
        raise MissingMatrix(msg)


def as_matrix(stored: Any, options: ReadOptions) -> Matrix:
    """A matrix in memory, read by ranges of cells.

    Raises
    ------
    InputError
        If it is of an unknown type.
    """
    layout = getattr(stored, "format", None)
    is_file = type(stored).__module__.partition(".")[0] in {"h5py", "zarr"}
    if is_file or (layout in {"csr", "csc"} and not sp.issparse(stored)):
        # Backed by a file, which must not be read whole.
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
