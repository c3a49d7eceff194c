"""Metrics of the quality of cells and genes, by scanpy's names, in one pass over a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import SelectionError
from slaf.sparse.reduce import Count, Slots, Sum, accumulate, as_floats, divide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from slaf.sparse.batch import Batch

__all__ = ["PERCENT_TOP", "QCMetrics", "qc_metrics"]

# The numbers of genes whose share of the counts scanpy computes.
PERCENT_TOP = (50, 100, 200, 500)

_QUANTILES = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1.0}


@dataclass(frozen=True)
class QCMetrics:
    """Metrics of cells and of genes, with the names of `scanpy.pp.calculate_qc_metrics`.

    Attributes
    ----------
    obs
        A row for each cell: `n_genes_by_counts`, `total_counts`, `pct_counts_in_top_50_genes`,
        `pct_counts_mt`, …; NaN for the percentages of a cell without counts.
    var
        A row for each gene: `n_cells_by_counts`, `mean_counts`, `pct_dropout_by_counts`,
        `total_counts`.
    options
        The keywords of `slaf.View.qc_metrics` that compute them of other cells; None if the genes
        of a mask were given one by one.
    """

    obs: pd.DataFrame
    var: pd.DataFrame
    options: Mapping[str, Any] | None = None

    def summary(self, groups: pd.Series[Any] | None = None) -> pd.DataFrame:
        """The range, quartiles and mean of each metric of cells but logarithms.

        Parameters
        ----------
        groups
            The group of each cell; the metrics of each group are summarised then.

        Returns
        -------
        pandas.DataFrame
            Indexed by metric, or by group and metric, with `n_cells`, `min`, `q25`, `median`,
            `q75`, `max` and `mean`; cells whose metric is NaN are not among them.
        """
        import pandas as pd

        columns = [name for name in self.obs if not str(name).startswith("log1p_")]
        if groups is None:
            return _summary(self.obs[columns])
        by = pd.Categorical(groups).remove_unused_categories()
        parts = {
            label: _summary(self.obs.loc[by.codes == code, columns])
            for code, label in enumerate(by.categories)
        }
        if not parts:
            return _summary(self.obs[columns].iloc[:0])
        joined: pd.DataFrame = pd.concat(parts, names=[groups.name, "metric"])
        return joined


def _summary(obs: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    rows = {}
    for name in obs:
        values = as_floats(obs[name].to_numpy())
        values = values[~np.isnan(values)]
        quantiles, mean = np.full(len(_QUANTILES), np.nan), np.nan
        if len(values):
            with np.errstate(invalid="ignore"):  # between infinite values
                quantiles = np.quantile(values, list(_QUANTILES.values()))
                mean = values.mean()
        rows[name] = [len(values), *quantiles, mean]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["n_cells", *_QUANTILES, "mean"])
    frame.index.name = "metric"
    typed: pd.DataFrame = frame.astype({"n_cells": np.int64})
    return typed


def qc_metrics(
    read: Callable[[], Iterable[Batch]],
    axes: tuple[pd.Index[Any], pd.Index[Any]],
    dtype: np.dtype[Any],
    masks: Mapping[str, NDArray[np.bool_]],
    percent_top: Sequence[int],
    *,
    log1p: bool = True,
) -> QCMetrics:
    """The metrics of a matrix.

    Parameters
    ----------
    read
        Reads its batches, in the order of cells.
    axes
        The names of cells and of genes.
    dtype
        Its type.
    masks
        The genes that are summed, by name.
    percent_top
        The numbers of genes whose share of the counts to compute.
    log1p
        Whether to add logarithms.

    Raises
    ------
    SelectionError
        If there are fewer genes than one of `percent_top`, or values below zero with it.
    """
    shape = (len(axes[0]), len(axes[1]))
    tops = sorted(set(percent_top))
    if tops and not 0 < tops[0] <= tops[-1] <= shape[1]:
        msg = f"percent_top is {tops}, but there are {shape[1]:,} genes; leave out other numbers"
        raise SelectionError(msg)
    cells, genes = Slots.of_axis(1, shape), Slots.of_axis(0, shape)
    codes = {name: np.where(mask, 0, -1) for name, mask in masks.items()}

    def make(is_whole: bool) -> dict[str, Any]:  # noqa: FBT001
        return {
            "n_genes": Count(cells),
            "total": Sum(cells, is_whole=is_whole),
            "n_cells": Count(genes),
            "gene total": Sum(genes, is_whole=is_whole),
            **({"tops": _TopSums(shape[0], tops)} if tops else {}),
            **{
                f"mask {name}": Sum(Slots((shape[0], 1), "each", code), is_whole=is_whole)
                for name, code in codes.items()
            },
        }

    parts, _ = accumulate(read, make)
    results = {name: _typed(part.result, dtype) for name, part in parts.items() if name != "tops"}
    top_sums = dict(zip(tops, parts["tops"].result, strict=True)) if tops else {}
    means = divide(parts["gene total"].result, np.full(shape[1], shape[0]))
    return QCMetrics(
        _frame(_of_cells(results, top_sums, list(masks)), axes[0], log1p=log1p),
        _frame(_of_genes(results, means, shape[0]), axes[1], log1p=log1p),
    )


def _of_cells(
    of: Mapping[str, NDArray[Any]],
    top_sums: Mapping[int, NDArray[np.float64]],
    masks: Sequence[str],
) -> Iterator[tuple[str, NDArray[Any]]]:
    """The metrics of cells, in scanpy's order."""
    for name, key in (("n_genes_by_counts", "n_genes"), ("total_counts", "total")):
        yield from _with_log1p(name, of[key])
    with np.errstate(invalid="ignore", divide="ignore"):
        for top, sums in top_sums.items():
            yield f"pct_counts_in_top_{top}_genes", sums / as_floats(of["total"]) * 100
        for mask in masks:
            sums = of[f"mask {mask}"]
            yield from _with_log1p(f"total_counts_{mask}", sums)
            yield f"pct_counts_{mask}", as_floats(sums) / as_floats(of["total"]) * 100


def _of_genes(
    of: Mapping[str, NDArray[Any]], means: NDArray[np.float64], n_cells: int
) -> Iterator[tuple[str, NDArray[Any]]]:
    """The metrics of genes, in scanpy's order."""
    yield "n_cells_by_counts", of["n_cells"]
    yield from _with_log1p("mean_counts", means)
    with np.errstate(invalid="ignore", divide="ignore"):
        yield "pct_dropout_by_counts", (1 - of["n_cells"] / np.float64(n_cells)) * 100
    yield from _with_log1p("total_counts", of["gene total"])


def _with_log1p(name: str, values: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    yield name, values
    yield f"log1p_{name}", np.log1p(as_floats(values))


def _frame(
    columns: Iterator[tuple[str, NDArray[Any]]], index: pd.Index[Any], *, log1p: bool
) -> pd.DataFrame:
    import pandas as pd

    with np.errstate(invalid="ignore", divide="ignore"):
        found = {name: values for name, values in columns if log1p or "log1p_" not in name}
    return pd.DataFrame(found, index=index)


def _typed(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Sums of a matrix of floats, or beyond 64 bits, as float64."""
    return as_floats(values) if dtype.kind == "f" or values.dtype == object else values


class _TopSums:
    """The sums of the greatest values of each cell."""

    def __init__(self, n_cells: int, tops: Sequence[int]) -> None:
        self._tops = tops
        self.result = np.zeros((len(tops), n_cells))

    def add(self, batch: Batch, values: NDArray[Any]) -> None:
        """Add the entries of a batch."""
        if len(values) and values.min() < 0:
            msg = "there are values below zero, and the shares of the greatest need counts; "
            msg += "leave out percent_top"
            raise SelectionError(msg)
        ranks, cells, ordered = _descending(batch, values)
        for at, top in enumerate(self._tops):
            kept = ranks < top
            np.add.at(self.result[at], cells[kept], ordered[kept])


def _descending(
    batch: Batch, values: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The rank of each entry in its cell, its cell, and its value, by cell, the greatest first."""
    small = len(values) and values.dtype == np.int64 and int(values.max()) < 1 << 16
    keys = values.astype(np.uint16) if small else values
    # A stable sort of 16 bits is a radix sort.
    by_value = np.argsort(keys, kind="stable")[::-1]
    rows = np.repeat(np.arange(len(batch.rows)), batch.counts)[by_value]
    order = by_value[
        np.argsort(rows.astype(np.uint16) if len(batch.rows) < 1 << 16 else rows, kind="stable")
    ]
    starts = np.cumsum(batch.counts) - batch.counts
    ranks = np.arange(batch.nnz) - np.repeat(starts, batch.counts)
    cells = np.repeat(np.arange(batch.rows.start, batch.rows.stop), batch.counts)
    return ranks, cells, as_floats(values[order])
