"""The quality of the cells of each input, and the genes with the greatest sums, in one pass."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.dataset.aggregate import gene_mask, genes_of
from slaf.dataset.names import SYMBOLS
from slaf.dataset.reduce import read_ahead
from slaf.errors import SelectionError
from slaf.format.schema import RAW
from slaf.reports.contents import GeneCounts, SourceQuality
from slaf.sources.names import unique_names
from slaf.sparse.reduce import as_floats
from slaf.transforms.qc import QCMetrics, qc_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import NDArray

    from slaf.dataset.dataset import Dataset
    from slaf.dataset.lazy_matrix import LazyMatrix
    from slaf.runtime.progress import Progress
    from slaf.sparse.batch import Batch

__all__ = ["KNEE_POINTS", "Quality", "ValueKinds", "measure", "without_values"]

KNEE_POINTS = 200
_TOP_GENES = 20

# The mitochondrial genes of human and mouse.
_MT = "(?i)^mt-"


@dataclass(slots=True)
class ValueKinds:
    """The numbers of values that are not counts."""

    negative: int = 0
    fractional: int = 0
    not_finite: int = 0

    def add(self, values: NDArray[Any]) -> None:
        """Count those of an array."""
        if values.dtype.kind in "ub":
            return
        self.negative += int((values < 0).sum())
        if values.dtype.kind == "f":
            finite = np.isfinite(values)
            self.not_finite += len(values) - int(finite.sum())
            self.fractional += int((finite & (values != np.floor(values))).sum())

    def __bool__(self) -> bool:
        return bool(self.negative or self.fractional or self.not_finite)


@dataclass(frozen=True, slots=True)
class Quality:
    """The quality of the cells of a dataset.

    Attributes
    ----------
    sources
        The quality of each input.
    genes
        The genes with the greatest sums.
    mt_genes
        The number of mitochondrial genes.
    kinds
        The values that are no counts.
    repeated_cells, repeated_genes
        The number of cells, and of genes, with the id of another before.
    repeated_within
        The number of such cells, if only those of the same input are compared.
    totals
        The sum of each cell, by input.
    """

    sources: tuple[SourceQuality, ...]
    genes: tuple[GeneCounts, ...]
    mt_genes: int
    kinds: ValueKinds
    repeated_cells: int
    repeated_within: int
    repeated_genes: int
    totals: tuple[NDArray[np.float64], ...]


def measure(dataset: Dataset, layer: str | None, mt: str | None, progress: Progress) -> Quality:
    """The quality of X, a layer or raw of a dataset; reads the values once, fractions twice.

    Raises
    ------
    SelectionError
        If there is no such layer, or no gene matches `mt`.
    DamagedDataset
        If the values cannot be read.
    """
    matrix, var = dataset.lazy_matrix(layer), genes_of(dataset, layer)
    mask = _mitochondrial(var, mt)
    masks = {"mt": mask} if mask.any() else {}
    reader = _Reader(matrix, progress)
    axes = (dataset.obs_names, var.index)
    metrics = qc_metrics(reader.batches, axes, matrix.dtype, masks, (), log1p=False)
    totals = as_floats(metrics.obs["total_counts"].to_numpy())
    slices = [slice(one.offset, one.offset + one.n_cells) for one in dataset.sources]
    return Quality(
        sources=tuple(_of_sources(dataset, layer, metrics)),
        genes=tuple(_top_genes(var, metrics)),
        mt_genes=int(mask.sum()),
        kinds=reader.kinds,
        repeated_cells=int(axes[0].duplicated().sum()),
        repeated_within=sum(int(axes[0][rows].duplicated().sum()) for rows in slices),
        repeated_genes=int(axes[1].duplicated().sum()),
        totals=tuple(totals[rows] for rows in slices),
    )


class _Reader:
    """The batches of a matrix, and the kinds of its values."""

    def __init__(self, matrix: LazyMatrix, progress: Progress) -> None:
        self._matrix = matrix
        self._progress = progress
        self.kinds = ValueKinds()

    def batches(self) -> Iterator[Batch]:
        self.kinds = ValueKinds()
        self._progress.begin(0, 0, self._matrix.shape[0])
        for batch in read_ahead(self._matrix):
            self.kinds.add(batch.values)
            yield batch
            self._progress.advance(len(batch.rows), batch.nnz)


def _mitochondrial(var: pd.DataFrame, pattern: str | None) -> NDArray[np.bool_]:
    """The genes of a pattern; without one those of human or mouse, if there are any."""
    if pattern is not None:
        return gene_mask(var, pattern, "mt")
    try:
        return gene_mask(var, _MT, "mt")
    except SelectionError:
        return np.zeros(len(var), np.bool_)


def _of_sources(dataset: Dataset, layer: str | None, metrics: QCMetrics) -> Iterator[SourceQuality]:
    for source in without_values(dataset, layer):
        start = source.record.offset
        obs = metrics.obs.iloc[start : start + source.record.n_cells]
        yield replace(
            source,
            nonzeros=int(obs["n_genes_by_counts"].sum()),
            metrics=_summaries(obs, metrics.var),
            knee=tuple(_knee(as_floats(obs["total_counts"].to_numpy()))),
        )


def without_values(dataset: Dataset, layer: str | None) -> Iterator[SourceQuality]:
    """The inputs of a dataset whose values are not read."""
    names = unique_names([record.uri for record in dataset.sources])
    raw = dataset.annotations.record.raw if layer == RAW else None
    for at, (name, record) in enumerate(zip(names, dataset.sources, strict=True)):
        ranges = record.genes_present
        if raw is not None:
            ranges = raw.genes_present[at] if raw.genes_present else ((0, raw.n_genes),)
        yield SourceQuality(name, record, sum(stop - start for start, stop in ranges))


def _summaries(obs: pd.DataFrame, var: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    rows = QCMetrics(obs, var).summary().to_dict(orient="index")
    return {
        str(metric): {str(name): _finite(value) for name, value in row.items()}
        for metric, row in rows.items()
    }


def _knee(totals: NDArray[np.float64]) -> Iterator[tuple[int, float]]:
    """Pairs of a rank and its sum, at ranks that are even on a logarithmic axis."""
    found = np.sort(totals[np.isfinite(totals) & (totals > 0)])[::-1]
    if len(found):
        ranks = np.unique(np.geomspace(1, len(found), KNEE_POINTS).round().astype(np.int64))
        for rank in ranks.tolist():
            yield rank, float(found[rank - 1])


def _top_genes(var: pd.DataFrame, metrics: QCMetrics) -> Iterator[GeneCounts]:
    totals = as_floats(metrics.var["total_counts"].to_numpy())
    n_cells = metrics.var["n_cells_by_counts"].to_numpy()
    symbols = next((var[name] for name in SYMBOLS if name in var), None)
    # NaN is behind all; equal sums are in the order of genes.
    order = np.argsort(np.where(np.isfinite(totals), -totals, np.inf), kind="stable")
    for at in order[:_TOP_GENES]:
        if math.isfinite(totals[at]) and totals[at] > 0:
            symbol = "" if symbols is None else str(symbols.iloc[at])
            yield GeneCounts(str(var.index[at]), symbol, float(totals[at]), int(n_cells[at]))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
