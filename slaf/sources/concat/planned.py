"""One input of a planned run, at its cells and genes among all; no other input is opened."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.annotations.lazy_table import id_column
from slaf.format.schema import RAW
from slaf.options import LAYER
from slaf.sources.base import Source
from slaf.sources.concat.genes import positions_among
from slaf.sources.concat.matrix import empty_batch
from slaf.sources.contents import Raw
from slaf.sources.matrix import MatrixView
from slaf.sparse.batch import GeneMap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.annotations.lazy_table import AnyColumn, AnyTable
    from slaf.sources.concat.genes import Ranges
    from slaf.sources.contents import Coverage
    from slaf.sources.matrix import Matrix
    from slaf.sparse.batch import Batch
    from slaf.sparse.ranges import RowRange

__all__ = ["GeneList", "PlannedInput"]


@dataclass(frozen=True, slots=True)
class GeneList:
    """The ids of all genes of a run, and those of them that an input has.

    Attributes
    ----------
    ids
        The ids of all genes.
    present
        The genes that the input has, as ranges of positions; None for the first genes, in order.
    """

    ids: AnyColumn
    present: Ranges | None = None

    def map_from(self, table: AnyTable) -> GeneMap:
        """The positions of the genes of the input, which are in a table."""
        ids = id_column(table)
        if self.present is None or ids == self.ids:
            return GeneMap.first(len(ids), len(self.ids))
        return GeneMap(positions_among(ids, self.ids, self.present), len(self.ids))


class PlannedInput(Source):
    """The matrices of one input, at its cells and genes among those of all inputs.

    Parameters
    ----------
    source
        The input, which is closed with this source.
    start
        The position of its first cell.
    genes
        The genes of the run, and of its raw; None without raw.
    layers
        The numeric types of all layers of the run, by name.
    selected
        The names of the layers, "layer:NAME", and "raw" that are converted of this input; None for
        all that it has.
    """

    def __init__(
        self,
        source: Source,
        start: int,
        genes: tuple[GeneList, GeneList | None],
        *,
        layers: Mapping[str, str],
        selected: tuple[str, ...] | None,
    ) -> None:
        super().__init__()
        self._source = source
        self._start = start
        own, self._raw_genes = genes
        self._gene_map = own.map_from(source.lazy_genes())
        self._n_genes = len(own.ids)
        self._layer_types = {f"{LAYER}:{name}": dtype for name, dtype in layers.items()}
        self._selected = selected
        self.info = replace(
            source.info,
            n_cells=start + source.info.n_cells,
            n_genes=self._n_genes,
            layers={name: f"{LAYER}:{name}" for name in layers},
        )

    def close(self) -> None:
        """Close the input."""
        self._source.close()

    def read_cells(self) -> pa.Table:
        """The cells of this input."""
        return self._source.cells()

    def read_genes(self) -> pa.Table:
        """The genes of this input, in its order."""
        return self._source.genes()

    def open_matrix(self, name: str) -> Matrix:
        """The chosen matrix, or a layer; without entries where the input lacks the layer."""
        if name == self.info.matrix:
            return _PlacedMatrix(self._source.matrix(), self._start, self._gene_map, self._n_genes)
        key = name.removeprefix(f"{LAYER}:")
        if key in self._source.info.layers and self._is_selected(name):
            layer = self._source.layers()[key]
            return _PlacedMatrix(layer, self._start, self._gene_map, self._n_genes)
        return _AbsentMatrix(self._source.matrix(), np.dtype(self._layer_types[name]))

    def open_raw(self) -> Raw | None:
        """The raw, among the genes of the raws of all inputs; without entries if it has none."""
        if self._raw_genes is None:
            return None
        import pyarrow as pa

        ids = pa.table({"gene_id": self._raw_genes.ids})
        raw = self._source.raw() if self._is_selected(RAW) else None
        if raw is None:
            return Raw(_AbsentMatrix(self._source.matrix(), self.info.dtype), ids, {})
        gene_map = self._raw_genes.map_from(raw.genes)
        placed = _PlacedMatrix(raw.matrix, self._start, gene_map, len(self._raw_genes.ids))
        return Raw(placed, ids, {})

    def open_coverage(self) -> Coverage | None:
        """The coverage of a file of reads; the contigs of all are the same."""
        coverage = self._source.coverage()
        if coverage is None:
            return None
        n_contigs = len(coverage.contigs)
        same = GeneMap.first(n_contigs, n_contigs)
        return coverage.mapped(lambda one: _PlacedMatrix(one, self._start, same, n_contigs))

    def measure(self, rows: RowRange) -> Mapping[RowRange, Mapping[str, Sequence[Any]]]:
        """Columns of some cells that are known once their values are read."""
        measured = self._source.measure(rows.shifted(-self._start))
        return {part.shifted(self._start): values for part, values in measured.items()}

    @contextmanager
    def kept_open(self, rows: RowRange) -> Iterator[None]:
        """Keep what some cells are read from open, with what it has read."""
        with self._source.kept_open(rows.shifted(-self._start)):
            yield

    def _is_selected(self, name: str) -> bool:
        return self._selected is None or name in self._selected


class _PlacedMatrix(MatrixView):
    """A matrix at other positions of cells and genes."""

    def __init__(self, matrix: Matrix, start: int, gene_map: GeneMap, n_genes: int) -> None:
        super().__init__(matrix)
        self._start = start
        self._gene_map = gene_map
        self._n_genes = n_genes

    @property
    def shape(self) -> tuple[int, int]:
        """The cells up to the last of the input, and all genes."""
        return self._start + self._matrix.shape[0], self._n_genes

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        for batch in self._matrix.batches(rows.shifted(-self._start)):
            yield self._gene_map.apply(batch.shifted(self._start))


class _AbsentMatrix(MatrixView):
    """A matrix that this input lacks: cells without entries."""

    def __init__(self, matrix: Matrix, dtype: np.dtype[Any]) -> None:
        super().__init__(matrix)
        self._dtype = dtype

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numeric type of the other inputs."""
        return self._dtype

    def sample_values(self) -> NDArray[Any]:
        """None."""
        return np.empty(0, self._dtype)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in one batch."""
        yield empty_batch(rows, self._dtype)
