"""Sums and QC metrics of a view, and aggregates of the cells of groups."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from slaf.annotations.text import text_index
from slaf.dataset.base import BaseView, V
from slaf.dataset.names import SYMBOLS
from slaf.dataset.reduce import Moments, cells_measuring, read_ahead, warn_of_unmeasured
from slaf.errors import InexactValue, SelectionError
from slaf.format.schema import RAW
from slaf.sparse.reduce import Slots
from slaf.transforms.filter import genes_like

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import anndata
    import pandas as pd
    from numpy.typing import NDArray

    from slaf.dataset.reduce import Axis, Statistic
    from slaf.transforms.qc import QCMetrics

__all__ = [
    "STATISTICS",
    "Aggregates",
    "GeneMask",
    "Reductions",
    "gene_mask",
    "genes_of",
    "group_labels",
]

STATISTICS: tuple[Statistic, ...] = ("sum", "mean", "variance", "min", "max", "count_nonzero")

# A regular expression for ids and symbols, or whether each gene is in it.
GeneMask: TypeAlias = "str | Sequence[bool] | NDArray[np.bool_]"

# Combinations of categories, which int64 numbers.
_MOST_KEYS = 1 << 62

logger = logging.getLogger(__name__)


class Reductions(BaseView[V]):
    """Reductions of X or a layer of a view; a base class of views.

    ``view.sum("cells", layer="counts")`` is ``view.layers["counts"].sum("cells")``.
    """

    def sum(self, axis: Axis = None, *, layer: str | None = None) -> Any:
        """The sums of the values; see `slaf.dataset.reduce.MatrixReductions.sum`.

        Parameters
        ----------
        axis
            The axis that vanishes: "cells" (or 0) for the sum of each gene, "genes" (or 1) for that
            of each cell; None for one number.
        layer
            The layer instead of X, or "raw".

        Examples
        --------
        >>> import anndata, numpy, slaf
        >>> view = slaf.scan(anndata.AnnData(numpy.array([[1, 0, 2], [0, 0, 5]])))
        >>> view.sum("cells")
        array([1, 0, 7])
        >>> view.mean("genes")
        array([1.        , 1.66666667])
        """
        return self.lazy_matrix(layer).sum(axis)

    def mean(
        self, axis: Axis = None, *, layer: str | None = None, measured_only: bool = False
    ) -> Any:
        """The means of the values; see `slaf.dataset.reduce.MatrixReductions.mean`."""
        return self.lazy_matrix(layer).mean(axis, measured_only=measured_only)

    def variance(
        self,
        axis: Axis = None,
        *,
        ddof: int = 0,
        layer: str | None = None,
        measured_only: bool = False,
    ) -> Any:
        """The variances of the values; see `slaf.dataset.reduce.MatrixReductions.variance`."""
        matrix = self.lazy_matrix(layer)
        return matrix.variance(axis, ddof=ddof, measured_only=measured_only)

    def min(self, axis: Axis = None, *, layer: str | None = None) -> Any:
        """The least values; see `slaf.dataset.reduce.MatrixReductions.min`."""
        return self.lazy_matrix(layer).min(axis)

    def max(self, axis: Axis = None, *, layer: str | None = None) -> Any:
        """The greatest values; see `slaf.dataset.reduce.MatrixReductions.max`."""
        return self.lazy_matrix(layer).max(axis)

    def count_nonzero(self, axis: Axis = None, *, layer: str | None = None) -> Any:
        """The numbers of values; see `slaf.dataset.reduce.MatrixReductions.count_nonzero`."""
        return self.lazy_matrix(layer).count_nonzero(axis)


class Aggregates(Reductions[V]):
    """Metrics and aggregates of a view; a base class of views."""

    def qc_metrics(
        self,
        *,
        mt: GeneMask | None = None,
        mask: Mapping[str, GeneMask] | None = None,
        var_mask: str | Sequence[str] = (),
        percent_top: Sequence[int] | None = None,
        layer: str | None = None,
        log1p: bool = True,
    ) -> QCMetrics:
        """Metrics of cells and genes, with the names and values of scanpy, in one pass.

        They are `scanpy.pp.calculate_qc_metrics`', but for sums, which are int64 or float64. Zeros
        that are not stored count, also of genes that an input of several has not measured.

        Parameters
        ----------
        mt
            The mitochondrial genes, as `mask` has them.
        mask
            Genes whose share of the counts to compute, by name: a regular expression, which is
            searched in ids and symbols, or a boolean for each gene.
        var_mask
            Boolean columns of var that are such masks.
        percent_top
            The numbers of genes with the greatest values whose share of the counts to compute; None
            for those of 50, 100, 200 and 500 for which there are genes.
        layer
            The layer instead of X, or "raw".
        log1p
            Whether to add logarithms.

        Returns
        -------
        QCMetrics
            `obs` and `var`, data frames with a row for each cell or gene; `summary()`.

        Raises
        ------
        SelectionError
            If a mask has no genes, or there is no such column or layer.

        Examples
        --------
        >>> import anndata, numpy, slaf
        >>> adata = anndata.AnnData(numpy.array([[1, 0, 3], [0, 0, 5]]))
        >>> adata.var_names = ["A", "B", "MT-C"]
        >>> slaf.scan(adata).qc_metrics(mt="^MT-").obs["pct_counts_mt"].to_list()
        [75.0, 100.0]
        """
        from slaf.transforms.qc import PERCENT_TOP, qc_metrics

        matrix, var = self.lazy_matrix(layer), genes_of(self, layer)
        masks = dict(mask or {}) if mt is None else {"mt": mt, **(mask or {})}
        found = {name: gene_mask(var, one, name) for name, one in masks.items()}
        columns = [var_mask] if isinstance(var_mask, str) else list(var_mask)
        for name in columns:
            found[name] = _column_mask(var, name)
        if percent_top is None:
            percent_top = [top for top in PERCENT_TOP if top <= len(var)]
        axes = (self.obs_names, var.index)
        metrics = qc_metrics(
            partial(read_ahead, matrix), axes, matrix.dtype, found, percent_top, log1p=log1p
        )
        if not all(isinstance(one, str) for one in masks.values()):
            return metrics
        keywords = {"mask": masks, "var_mask": columns, "percent_top": list(map(int, percent_top))}
        return replace(metrics, options=keywords | {"layer": layer, "log1p": log1p})

    def aggregate(
        self,
        by: str | Sequence[str],
        func: Statistic | Sequence[Statistic] = "sum",
        *,
        layer: str | None = None,
        ddof: int = 0,
        measured_only: bool = False,
    ) -> anndata.AnnData:
        """Statistics of the cells of each group: groups × genes, in memory that grows with these.

        Parameters
        ----------
        by
            Columns of obs: cells of equal values are a group. Cells with a missing one are in none,
            and a warning says how many.
        func
            "sum", "mean", "variance", "min", "max" or "count_nonzero", or several.
        layer
            The layer instead of X, or "raw".
        ddof
            The number that is subtracted from that of values, for a variance.
        measured_only
            Whether to leave out, of means and variances, the zeros of genes that an input of
            several has not measured.

        Returns
        -------
        anndata.AnnData
            X is the first statistic, and `layers` has each by name, dense; obs has the columns of
            the groups, in the order of their categories, and `n_cells`; var is that of the view.
            If not all inputs measured all genes, the layer `n_measured` has the number of cells of
            each group whose input did.

        Raises
        ------
        SelectionError
            If there is no such column, statistic or layer.
        InexactValue
            If 64 bits do not hold a sum.

        Examples
        --------
        >>> import anndata, numpy, pandas, slaf
        >>> obs = pandas.DataFrame({"kind": ["b", "a", "b"]}, index=["1", "2", "3"])
        >>> view = slaf.scan(anndata.AnnData(numpy.array([[1, 0], [0, 2], [3, 4]]), obs))
        >>> groups = view.aggregate("kind", "sum")
        >>> groups.obs["n_cells"].to_dict(), groups.X.tolist()
        ({'a': 1, 'b': 2}, [[0, 2], [4, 4]])
        """
        return _aggregate(self, by, func, layer, ddof, measured_only=measured_only)


# --------------------------------------------------------------------------------------- aggregates


class _Groups(NamedTuple):
    """The group of each cell, −1 for one of none; and the columns of the groups."""

    codes: NDArray[np.int64]
    table: pd.DataFrame


def group_labels(view: BaseView[Any], by: str | Sequence[str]) -> _Groups:
    """The groups of the cells of a view that have equal values in some columns of obs.

    Raises
    ------
    SelectionError
        If there is no such column.
    """
    import pandas as pd

    names = [by] if isinstance(by, str) else list(dict.fromkeys(by))
    frame = view.obs_columns(names)
    columns = [pd.Categorical(frame[name]) for name in names]
    missing = reduce(np.logical_or, (column.codes < 0 for column in columns))
    sizes = [len(column.categories) for column in columns]
    keys, n_keys = np.zeros(len(frame), np.int64), 1
    for column, size in zip(columns, sizes, strict=True):
        if n_keys * size >= _MOST_KEYS:
            distinct, keys = np.unique(keys, return_inverse=True)
            n_keys = len(distinct)
        keys, n_keys = keys * size + column.codes, n_keys * size
    found, inverse = np.unique(keys[~missing], return_inverse=True)
    codes = np.full(len(frame), -1, np.int64)
    codes[~missing] = inverse
    first = np.full(len(found), len(frame), np.int64)
    np.minimum.at(first, inverse, np.flatnonzero(~missing))
    table = pd.DataFrame({name: column[first] for name, column in zip(names, columns, strict=True)})
    return _Groups(codes, table)


def _aggregate(
    view: BaseView[Any],
    by: str | Sequence[str],
    func: Statistic | Sequence[Statistic],
    layer: str | None,
    ddof: int,
    *,
    measured_only: bool,
) -> anndata.AnnData:
    import anndata

    names = _checked(func)
    matrix = view.lazy_matrix(layer)
    groups = group_labels(view, by)
    n_groups, n_genes = len(groups.table), matrix.shape[1]
    sizes = np.bincount(groups.codes[groups.codes >= 0], minlength=n_groups)
    if (without := int((groups.codes < 0).sum())) > 0:
        logger.warning("%s: %s cells without a group are left out", view.label, f"{without:,}")
    n = np.repeat(sizes, n_genes)
    measured = cells_measuring(matrix, groups.codes, n_groups).ravel()
    if not measured_only and {"mean", "variance"}.intersection(names):
        warn_of_unmeasured(view.label, n, measured)
    slots = Slots((n_groups, n_genes), groups.codes, "each")
    moments = Moments(matrix, slots, measured if measured_only else n, ddof)
    layers: dict[str, NDArray[Any]] = {
        name: _fitting(name, each) for name, each in moments.compute(names).items()
    }
    if (measured < n).any():
        layers["n_measured"] = measured
    layers = {name: values.reshape(n_groups, n_genes) for name, values in layers.items()}
    obs = groups.table.assign(n_cells=sizes)
    obs.index = _labels(groups.table)
    return anndata.AnnData(layers[names[0]], obs=obs, var=genes_of(view, layer), layers=layers)


def _checked(func: Statistic | Sequence[Statistic]) -> tuple[Statistic, ...]:
    names = (func,) if isinstance(func, str) else tuple(func)
    unknown = [name for name in names if name not in STATISTICS]
    if unknown or not names:
        what = f"no statistic {unknown[0]!r}" if unknown else "nothing to compute"
        msg = f"there is {what}; choose of {', '.join(STATISTICS)}"
        raise SelectionError(msg)
    return names


def _labels(table: pd.DataFrame) -> pd.Index[Any]:
    """The names of groups, each once."""
    from anndata.utils import make_index_unique

    rows = table.itertuples(index=False)
    joined = text_index("_".join(map(str, row)) for row in rows)
    index: pd.Index[Any] = make_index_unique(joined)
    return index


def _fitting(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Values that an AnnData holds.

    Raises
    ------
    InexactValue
        If 64 bits do not hold one.
    """
    if values.dtype == object:
        msg = f"64 bits do not hold the {name} {max(values, key=abs)} of a group; aggregate fewer "
        msg += "cells, or sum them with view.sum"
        raise InexactValue(msg)
    return values


# -------------------------------------------------------------------------------------------- genes


def genes_of(view: BaseView[Any], layer: str | None) -> pd.DataFrame:
    """The table of the genes of a layer, as a frame that can be changed."""
    raw = view.raw if layer == RAW else None
    return view.var.copy() if raw is None else raw.frame()


def gene_mask(var: pd.DataFrame, mask: GeneMask, name: str) -> NDArray[np.bool_]:
    """The genes of a mask.

    Raises
    ------
    SelectionError
        If it is of another length, no regular expression, or matches no gene.
    """
    if isinstance(mask, str):
        columns = [var.index, *(var[name] for name in SYMBOLS if name in var)][:2]
        return genes_like(mask, *(column.tolist() for column in columns))
    found = np.asarray(mask)
    if found.dtype != np.bool_ or found.shape != (len(var),):
        msg = f"the mask {name!r} is not a boolean for each of {len(var):,} genes"
        raise SelectionError(msg)
    return found


def _column_mask(var: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    """A boolean column of var.

    Raises
    ------
    SelectionError
        If there is none.
    """
    booleans = [column for column in var if var[column].dtype in (np.bool_, "boolean")]
    if name not in booleans or var[name].isna().any():
        listed = ", ".join(map(repr, booleans)) or "none"
        msg = f"var has no column {name!r} of booleans without missing values; it has {listed}"
        raise SelectionError(msg)
    return var[name].to_numpy(np.bool_)
