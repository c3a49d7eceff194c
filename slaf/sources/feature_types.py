"""Keep the genes of one feature type, or of one genome."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import MissingMatrix
from slaf.runtime.lazy import LazyMapping
from slaf.sources.base import MatrixView, Source
from slaf.sparse.batch import GeneMap

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.sources.base import Matrix, MatrixSize, Raw, Slots
    from slaf.sparse.batch import Batch
    from slaf.sparse.ranges import RowRange

__all__ = ["FEATURE_TYPE", "GENOME", "GeneSubset", "subset_or_close"]

# The columns of features by which they are chosen.
FEATURE_TYPE = "feature_type"
GENOME = "genome"
_WORDS = {FEATURE_TYPE: ("features of type", "types"), GENOME: ("features of genome", "genomes")}


def subset_or_close(source: Source, column: str, value: str) -> GeneSubset:
    """The genes with a value in one of these columns, as "Gene Expression" or "mm10".

    Raises
    ------
    MissingMatrix
        If there is none, and the source is closed; the error lists the values.
    """
    with ExitStack() as closing:
        closing.enter_context(source)
        subset = _subset(source, column, value)
        closing.pop_all()
    return subset


def _subset(source: Source, column: str, value: str) -> GeneSubset:
    table = source.genes()
    values = table.column(column).to_pylist() if column in table.column_names else []
    kept = np.array([at for at, own in enumerate(values) if own == value], np.int64)
    if not len(kept):
        what, plural = _WORDS[column]
        names = ", ".join(repr(name) for name in sorted(filter(None, set(values))))
        msg = (
            f"{source.info.uri}: there are no {what} {value!r}; it has "
            f"{names or f'no {plural} at all'}"
        )
        raise MissingMatrix(msg)
    return GeneSubset(source, kept)


class GeneSubset(Source):
    """Some genes of a source, in their order.

    Parameters
    ----------
    source
        The source; closed with this one.
    kept
        Positions of the genes to keep, ascending.
    """

    def __init__(self, source: Source, kept: NDArray[np.int64]) -> None:
        super().__init__()
        self._source = source
        self._kept = kept
        info, n_dropped = source.info, source.info.n_genes - len(kept)
        dropped = (f"{n_dropped:,} other features",) if n_dropped else ()
        self.info = replace(
            info,
            n_genes=len(kept),
            size=replace(info.size, exact=False),
            not_converted=(*info.not_converted, *dropped),
        )

    def close(self) -> None:
        """Close the source."""
        self._source.__exit__()

    def read_cells(self) -> pa.Table:
        """The cells of the source."""
        return self._source.cells()

    def read_genes(self) -> pa.Table:
        """The kept genes."""
        return self._source.genes().take(self._kept)

    def open_matrix(self, name: str) -> Matrix:
        """A matrix of the source, with the kept genes; raw has its own."""
        matrix = self._source.matrix(name)
        is_raw = name == "raw" != self.info.matrix
        return matrix if is_raw else _SomeGenes(matrix, self._kept)

    def open_raw(self) -> Raw | None:
        """The raw of the source, with its own genes."""
        return self._source.raw()

    def slots(self) -> Slots:
        """The slots of the source, with the kept genes."""
        slots, kept = self._source.slots(), self._kept
        return replace(
            slots,
            varm=LazyMapping(slots.varm, lambda name: _rows(slots.varm[name], kept)),
            varp=LazyMapping(slots.varp, lambda name: slots.varp[name][kept][:, kept]),
        )


class _SomeGenes(MatrixView):
    """Some genes of a matrix."""

    def __init__(self, matrix: Matrix, kept: NDArray[np.int64]) -> None:
        super().__init__(matrix)
        n_genes = len(kept)
        positions = np.full(matrix.shape[1], -1, np.int64)
        positions[kept] = np.arange(n_genes)
        self._n_genes, self._genes = n_genes, GeneMap(positions, n_genes)

    @property
    def shape(self) -> tuple[int, int]:
        return self._matrix.shape[0], self._n_genes

    @property
    def size(self) -> MatrixSize:
        """The size of the matrix, as an upper bound."""
        return replace(self._matrix.size, exact=False)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        return map(self._genes.apply, self._matrix.batches(rows))


def _rows(element: Any, kept: NDArray[np.int64]) -> Any:
    return element.iloc[kept] if hasattr(element, "iloc") else element[kept]
