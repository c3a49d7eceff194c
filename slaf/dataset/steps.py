"""Steps: the methods of a view that transform it; each gives another view."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.dataset.base import BaseView, Step, V
from slaf.dataset.names import AxisNames
from slaf.errors import SelectionError
from slaf.format.schema import CELLS, GENES, RAW
from slaf.transforms.cell_keys import cell_keys
from slaf.transforms.filter import (
    MASKS,
    CellRules,
    GeneRules,
    cell_metric,
    genes_like,
    mad_bounds,
    mad_metric,
)
from slaf.transforms.gene_ids import StandardizeGenes
from slaf.transforms.normalize import Log1p, NormalizeTotal, median_total
from slaf.transforms.sample import DownsampleCounts, drawn
from slaf.transforms.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.sources.matrix import Matrix
    from slaf.transforms.base import ValueStep

__all__ = ["Steps"]

logger = logging.getLogger("slaf")


class Steps(BaseView[V]):
    """The base class of views with the steps of an analysis."""

    def select(self, *, cells: str | None = None, genes: str | None = None) -> V:
        """The cells and genes for which conditions on obs and var are true, as a step.

        Parameters
        ----------
        cells, genes
            The conditions, as in ``view[cells, genes]``; None for all.

        Raises
        ------
        QueryError
            If one is no condition.
        """
        rows, removed = [], {}
        for axis, condition in ((CELLS, cells), (GENES, genes)):
            names = AxisNames(self, axis)
            kept = np.arange(names.size) if condition is None else names.where(condition)
            rows.append(np.sort(kept))
            if condition is not None:
                removed[f"{axis} {condition}"] = names.size - len(kept)
        step = Step("select", _given(cells=cells, genes=genes), removed)
        return self._selected(step, cells=rows[0], genes=rows[1])

    def standardize_genes(self) -> V:
        """Standard ids of genes: those of Ensembl without their version, all others as they are.

        The column `original_gene_id` of var has the ids before. `slaf.transform` does it before
        the genes of several inputs are aligned.

        Raises
        ------
        InputError
            If two genes would have one id.

        Examples
        --------
        >>> import anndata, numpy, slaf
        >>> adata = anndata.AnnData(numpy.eye(2))
        >>> adata.var_names = ["ENSG00000141510.18", "MT-ND1.2"]
        >>> slaf.scan(adata).standardize_genes().var_names.to_list()
        ['ENSG00000141510', 'MT-ND1.2']
        """
        done = Step("standardize_genes", {}, before=self.shape, after=self.shape)
        made = self._changed(StandardizeGenes(), (*self.steps, done))
        changed = int((made.var_names != self.var_names).sum())
        logger.info("%s: %s gene ids lose their version", self.label, f"{changed:,}")
        return made

    # ------------------------------------------------------------------------------ cells and genes

    def filter_cells(
        self,
        *,
        min_counts: float | None = None,
        max_counts: float | None = None,
        min_genes: float | None = None,
        max_genes: float | None = None,
        max_pct: Mapping[str, float] | None = None,
        mad: Mapping[str, float] | None = None,
        masks: Mapping[str, str] | None = None,
        bounds: Mapping[str, Sequence[float | None]] | None = None,
        layer: str | None = None,
    ) -> V:
        """The cells that satisfy all rules; reads the matrix once.

        Parameters
        ----------
        min_counts, max_counts
            Least and most of the sum of a cell's values, both included.
        min_genes, max_genes
            Least and most values above zero.
        max_pct
            The most percent of the sum in some genes, by the name of these: ``{"mt": 10}``.
        mad
            The most deviations from the median, in units of the median absolute deviation over
            the cells of this view: of "counts" and "genes" (their logarithms, log1p), or of the
            percentage of genes with a name. ``{"counts": 5, "mt": 3}``.
        masks
            The pattern of the genes with a name, a regular expression that is searched in ids and
            symbols. "mt" is ``^MT-``, "ribo" ``^RP[SL]`` and "hb" ``^HB[^(P)]`` otherwise.
        bounds
            Least and most of any metric, as a resolved `mad` has them:
            ``{"log1p_total_counts": (3.2, 9.1)}``.
        layer
            The layer that is counted instead of X, or "raw".

        Raises
        ------
        SelectionError
            If there is no such layer, or no gene has a name.

        Examples
        --------
        >>> import anndata, numpy, slaf
        >>> view = slaf.scan(anndata.AnnData(numpy.tril(numpy.ones((4, 3)))))
        >>> view.filter_cells(min_genes=2).obs_names.to_list()
        ['1', '2', '3']
        """
        patterns = {**MASKS, **(masks or {})}
        names = [*(max_pct or {}), *_names_of_masks([*(mad or {}), *(bounds or {})])]
        chosen = {name: _pattern(patterns, name) for name in dict.fromkeys(names)}
        totals = _cell_totals(self, layer, chosen)
        resolved = {metric: list(bound) for metric, bound in (bounds or {}).items()}
        for name, deviations in (mad or {}).items():
            metric = mad_metric(name)
            resolved[metric] = list(mad_bounds(cell_metric(totals, metric), deviations))
        given = {
            "min_counts": min_counts,
            "max_counts": max_counts,
            "min_genes": min_genes,
            "max_genes": max_genes,
            "max_pct": dict(max_pct or {}),
            "bounds": resolved,
        }
        rules = CellRules(**given)  # type: ignore[arg-type]
        kept = rules.kept(totals)
        step = Step("filter_cells", _given(**given, masks=chosen, layer=layer), kept.removed)
        return self._selected(step, cells=np.flatnonzero(kept.mask))

    def filter_genes(
        self,
        *,
        min_cells: float | None = None,
        max_cells: float | None = None,
        min_counts: float | None = None,
        max_counts: float | None = None,
        layer: str | None = None,
    ) -> V:
        """The genes that satisfy all rules; reads the matrix once.

        Parameters
        ----------
        min_cells, max_cells
            Least and most cells with a value above zero, both included.
        min_counts, max_counts
            Least and most of the sum of the gene's values.
        layer
            The layer that is counted instead of X.

        Raises
        ------
        SelectionError
            If there is no such layer, or it is "raw", whose genes are others.
        """
        _refuse_raw(layer)
        given = {
            "min_cells": min_cells,
            "max_cells": max_cells,
            "min_counts": min_counts,
            "max_counts": max_counts,
        }
        rules = GeneRules(**given)
        kept = rules.kept(Totals(_matrix(self, layer), 0, sums=rules.need_sums))
        step = Step("filter_genes", _given(**given, layer=layer), kept.removed)
        return self._selected(step, genes=np.flatnonzero(kept.mask))

    def sample(self, n: int, *, seed: int = 0) -> V:
        """Cells drawn at random, in their order.

        Which cells are drawn depends on the seed and on their ids, and on nothing else.

        Parameters
        ----------
        n
            The number of cells.
        seed
            Another seed draws others.

        Raises
        ------
        SelectionError
            If there are fewer cells.
        """
        if not 0 <= n <= self.n_obs:
            msg = f"{n:,} cells cannot be drawn of {self.n_obs:,}; draw at most as many"
            raise SelectionError(msg)
        cells = drawn(cell_keys(AxisNames(self, CELLS).ids(), _seed(seed)), n)
        removed = {f"sample {n}": self.n_obs - n}
        step = Step("sample", {"n": n, "seed": seed}, removed)
        return self._selected(step, cells=cells)

    def sort_by(self, column: str, *, first: object = None) -> V:
        """The cells in the order of a column of obs; equal ones stay in theirs.

        Categories follow each other in their order, other values ascend, cells without a value come
        last.

        Parameters
        ----------
        column
            The name of the column.
        first
            The value whose cells come first, as "NTC".

        Raises
        ------
        SelectionError
            If there is no such column, or no cell has the value.
        """
        from slaf.transforms.sort import order_by

        order = order_by(self.obs_columns([column])[column], first)
        step = Step("sort_by", _given(column=column, first=first))
        return self._selected(step, cells=order)

    # --------------------------------------------------------------------------------------- values

    def downsample_counts(
        self,
        counts_per_cell: int,
        *,
        seed: int = 0,
        layer: str | None = None,
        as_layer: str | None = None,
    ) -> V:
        """Counts drawn without replacement, until no cell has more than so many.

        What is drawn of a cell depends on the seed and on its id, and on no other cell.

        Parameters
        ----------
        counts_per_cell
            The most counts of a cell.
        seed
            Another seed draws others.
        layer
            The layer that is changed instead of X.
        as_layer
            The name of a new layer for the result; X or `layer` stays as it is.

        Raises
        ------
        SelectionError
            If there is no such layer, or the new one is there already.
        InputError
            When values are read that are no counts.
        """
        if counts_per_cell < 0:
            msg = f"counts_per_cell is {counts_per_cell}, but it is at least 0"
            raise ValueError(msg)
        step = DownsampleCounts(layer, as_layer, counts_per_cell, _seed(seed))
        given = {"counts_per_cell": counts_per_cell, "seed": seed}
        return self._transformed(step, "downsample_counts", given)

    def normalize_total(
        self,
        target_sum: float | None = None,
        *,
        layer: str | None = None,
        as_layer: str | None = None,
    ) -> V:
        """Values multiplied so that each cell has the same total over the genes of this view.

        They are computed in float64 and rounded once to float32, or to float64 where the values
        are float64. A cell without values stays so.

        Parameters
        ----------
        target_sum
            The total; the median over the cells that have any, if None, which reads the matrix.
        layer, as_layer
            As for `downsample_counts`.

        Raises
        ------
        SelectionError
            If there is no such layer, or the new one is there already.
        InputError
            When a negative value is read, or if there is no median.
        ValueError
            If the total is not above zero.

        Examples
        --------
        >>> import anndata, numpy, slaf
        >>> view = slaf.scan(anndata.AnnData(numpy.array([[1.0, 3.0], [5.0, 0.0]])))
        >>> view.normalize_total(100).X.to_memory().toarray().tolist()
        [[25.0, 75.0], [100.0, 0.0]]
        """
        if target_sum is None:
            target_sum = median_total(self.lazy_matrix(layer).sum("genes"))
        if not 0 < target_sum < float("inf"):
            msg = f"target_sum is {target_sum}, but it is a number above 0"
            raise ValueError(msg)
        step = NormalizeTotal(layer, as_layer, float(target_sum))
        return self._transformed(step, "normalize_total", {"target_sum": float(target_sum)})

    def log1p(self, *, layer: str | None = None, as_layer: str | None = None) -> V:
        """The natural logarithm of one more than each value.

        Of X, `uns["log1p"]` says so, as scanpy has it.

        Parameters
        ----------
        layer, as_layer
            As for `downsample_counts`.

        Raises
        ------
        SelectionError
            If there is no such layer, or the new one is there already; or if the values are
            logarithms already.
        InputError
            When a negative value is read.
        """
        _refuse_logarithms(self, layer)
        return self._transformed(Log1p(layer, as_layer), "log1p", {})

    # -------------------------------------------------------------------------------------- private

    def _selected(
        self,
        step: Step,
        *,
        cells: NDArray[np.int64] | None = None,
        genes: NDArray[np.int64] | None = None,
    ) -> V:
        """Some cells and genes, by a step."""
        chosen = [
            slice(None) if rows is None or np.array_equal(rows, np.arange(size)) else rows
            for rows, size in zip((cells, genes), self.shape, strict=True)
        ]
        selected = self[chosen[0], chosen[1]]
        done = replace(step, before=self.shape, after=selected.shape)
        return self._part(selected.cells, selected.genes, (*self.steps, done))

    def _transformed(self, step: ValueStep, name: str, given: Mapping[str, Any]) -> V:
        """The same cells and genes, their values changed by a step."""
        _refuse_raw(step.layer)
        options = _given(**given, layer=step.layer, as_layer=step.as_layer)
        done = Step(name, options, before=self.shape, after=self.shape)
        return self._changed(step, (*self.steps, done))


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None and value != {}}


def _seed(seed: int) -> int:
    if not 0 <= seed < 1 << 64:
        msg = f"seed is {seed}, but it is a whole number from 0 to 2**64 - 1"
        raise ValueError(msg)
    return int(seed)


def _refuse_raw(layer: str | None) -> None:
    if layer == RAW:
        msg = (
            "raw has genes of its own; make it the matrix where the view is made, as by "
            'slaf.scan(..., matrix="raw")'
        )
        raise SelectionError(msg)


def _refuse_logarithms(view: BaseView[Any], layer: str | None) -> None:
    where = "X" if layer is None else f"layers[{layer!r}]"
    done = any(s.name == "log1p" and _target(s.options) == layer for s in view.steps)
    if done or (layer is None and "log1p" in view.uns):
        why = "" if done else ', as uns["log1p"] says'
        msg = (
            f"{view.label}: {where} holds logarithms already{why}; take the logarithm of counts, "
            "in another layer, or leave uns:log1p out of the input if it is wrong"
        )
        raise SelectionError(msg)


def _target(options: Mapping[str, Any]) -> Any:
    return options.get("as_layer", options.get("layer"))


def _matrix(view: BaseView[Any], layer: str | None) -> Matrix:
    return view.lazy_matrix(layer).matrix


def _cell_totals(view: BaseView[Any], layer: str | None, patterns: Mapping[str, str]) -> Totals:
    names = AxisNames(view, GENES)
    if patterns and layer == RAW:
        msg = "percentages are of the genes of X, which raw has not; count X or a layer"
        raise SelectionError(msg)
    masks = {}
    if patterns:
        columns = [one.to_pylist() for one in (names.ids(), names.symbols()) if one is not None]
        masks = {name: genes_like(pattern, *columns) for name, pattern in patterns.items()}
    return Totals(_matrix(view, layer), 1, masks)


def _names_of_masks(metrics: Sequence[str]) -> list[str]:
    """The names of genes in metrics, or in the names that MAD has for them."""
    known = {"counts", "genes", "total_counts", "n_genes"}
    plain = [metric.removeprefix("log1p_").removeprefix("pct_counts_") for metric in metrics]
    return [name for name in plain if name not in known]


def _pattern(patterns: Mapping[str, str], name: str) -> str:
    if name not in patterns:
        msg = (
            f"no genes are called {name!r}; give their pattern by --mask {name}='^X-', or in "
            f"Python by masks={{{name!r}: '^X-'}}"
        )
        raise SelectionError(msg)
    return patterns[name]
