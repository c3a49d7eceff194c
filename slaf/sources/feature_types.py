"""A source seen through some of its genes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from slaf.errors import MissingMatrix
from slaf.runtime.lazy import LazyMapping
from slaf.sparse.batch import GeneMap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.sources.base import Matrix, MatrixSize, Raw, Slots, Source
    from slaf.sparse.batch import Batch
    from slaf.sparse.ranges import RowRange

__all__ = ["GeneSubset", "of_feature_type"]

_FEATURE_TYPE = "feature_type"


def of_feature_type(source: Source, wanted: str) -> GeneSubset:
    """The genes of one type, as "Gene Expression" or "Antibody Capture".

    Raises
    ------
    MissingMatrix
        If there is none of it; the error lists the types there are.
    """
    table = source.genes()
    types = table.column(_FEATURE_TYPE).to_pylist() if _FEATURE_TYPE in table.column_names else []
    kept = np.array([at for at, found in enumerate(types) if found == wanted], np.int64)
    if not len(kept):
        have = ", ".join(map(repr, sorted(set(types)))) or "no types at all"
        msg = f"{source.uri}: there are no features of type {wanted!r}; it has {have}"
        raise MissingMatrix(msg)
    return GeneSubset(source, kept)


class GeneSubset:
    """The same cells with fewer genes, in their order.

    Parameters
    ----------
    source
        Whose cells they are; closed with this one.
    kept
        Positions of the genes to keep, ascending.
    """

    def __init__(self, source: Source, kept: NDArray[np.int64]) -> None:
        self._source = source
        self._kept = kept
        self._places = _places(source.n_genes, kept)
        self.uri = source.uri
        self.format = source.format
        self.matrix = source.matrix
        self.dtype = source.dtype
        self.n_cells = source.n_cells
        self.n_genes = len(kept)

    def __enter__(self) -> Self:
        self._source.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._source.__exit__(*exception)

    def identity(self) -> Mapping[str, Any]:
        """The source's."""
        return self._source.identity()

    def matrices(self) -> tuple[str, ...]:
        """The source's."""
        return self._source.matrices()

    def left_behind(self) -> tuple[str, ...]:
        """What the source leaves, and the genes that are not kept."""
        others = self._source.n_genes - self.n_genes
        return (*self._source.left_behind(), *([f"{others:,} other features"] if others else []))

    def extent(self) -> MatrixSize:
        """The source's, which is the most that it can be."""
        return replace(self._source.extent(), exact=False)

    def sample_values(self, matrix: str | None = None) -> NDArray[Any]:
        """Some of the source's first values."""
        return self._source.sample_values(matrix)

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """The source's, which are the most that there can be."""
        return self._source.indptr_estimate(step)

    def cells(self) -> pa.Table:
        """The source's."""
        return self._source.cells()

    def genes(self) -> pa.Table:
        """Those that are kept."""
        return self._source.genes().take(self._kept)

    def layers(self) -> Mapping[str, Matrix]:
        """The source's, of the genes that are kept."""
        layers = self._source.layers()
        return LazyMapping(layers, lambda name: _Columns(layers[name], self._kept), keep=True)

    def raw(self) -> Raw | None:
        """The source's, whose genes are its own."""
        return self._source.raw()

    def slots(self) -> Slots:
        """The source's, of the genes that are kept."""
        slots, kept = self._source.slots(), self._kept
        return replace(
            slots,
            varm=LazyMapping(slots.varm, lambda name: _rows(slots.varm[name], kept)),
            varp=LazyMapping(slots.varp, lambda name: slots.varp[name][kept][:, kept]),
        )

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order, with what they hold of the genes."""
        for batch in self._source.batches(rows):
            yield self._places.apply(batch)


class _Columns:
    """A matrix seen through some of its genes."""

    def __init__(self, matrix: Matrix, kept: NDArray[np.int64]) -> None:
        self._matrix = matrix
        self.shape = (matrix.shape[0], len(kept))
        self.dtype = matrix.dtype
        self._places = _places(matrix.shape[1], kept)

    def extent(self) -> MatrixSize:
        return replace(self._matrix.extent(), exact=False)

    def sample_values(self) -> NDArray[Any]:
        return self._matrix.sample_values()

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        return self._matrix.indptr_estimate(step)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        for batch in self._matrix.batches(rows):
            yield self._places.apply(batch)


def _places(n_genes: int, kept: NDArray[np.int64]) -> GeneMap:
    """Where the genes stand among those that are kept."""
    positions = np.full(n_genes, -1, np.int64)
    positions[kept] = np.arange(len(kept))
    return GeneMap(positions, len(kept))


def _rows(element: Any, kept: NDArray[np.int64]) -> Any:
    return element.iloc[kept] if hasattr(element, "iloc") else element[kept]
