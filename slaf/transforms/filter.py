"""Cells and genes that rules keep, and how many each removes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import SelectionError
from slaf.sparse.reduce import as_floats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.transforms.totals import Totals

__all__ = ["MASKS", "CellRules", "GeneRules", "Kept", "genes_like", "within"]

# Patterns of genes that have a name; further ones are given.
MASKS: Mapping[str, str] = {"mt": "^MT-", "ribo": "^RP[SL]", "hb": "^HB[^(P)]"}

# The metrics of cells, besides percentages, by their names in `slaf.transforms.totals.Totals`.
_METRICS = {"total_counts": "total_counts", "n_genes": "n_positive"}

# The metrics that MAD takes, besides percentages: logarithms, as quotients of counts matter.
_LOGARITHMS = {"counts": "log1p_total_counts", "genes": "log1p_n_genes"}

Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Kept:
    """The cells or genes that rules keep.

    Attributes
    ----------
    mask
        Whether each cell or gene is kept.
    removed
        The number that each rule removes by itself.
    """

    mask: NDArray[np.bool_]
    removed: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CellRules:
    """Rules for cells: least and most of each metric, both included.

    Attributes
    ----------
    min_counts, max_counts
        The sum of values.
    min_genes, max_genes
        The number of values above zero.
    max_pct
        The percentage of the sum that lies in some genes, by the name of these.
    bounds
        The least and the most of any metric: what `mad` was resolved to.
    """

    min_counts: float | None = None
    max_counts: float | None = None
    min_genes: float | None = None
    max_genes: float | None = None
    max_pct: Mapping[str, float] = field(default_factory=dict)
    bounds: Mapping[str, Sequence[float | None]] = field(default_factory=dict)

    def kept(self, totals: Totals) -> Kept:
        """The cells that satisfy all rules."""
        removed, mask = {}, np.ones(len(totals), np.bool_)
        for rule, metric, (low, high) in self._rules():
            satisfied = within(cell_metric(totals, metric), low, high)
            removed[rule] = int((~satisfied).sum())
            mask &= satisfied
        return Kept(mask, removed)

    def _rules(self) -> Sequence[tuple[str, str, Bounds]]:
        given: list[tuple[str, str, Bounds]] = [
            (f"min_counts {_number(self.min_counts)}", "total_counts", (self.min_counts, None)),
            (f"max_counts {_number(self.max_counts)}", "total_counts", (None, self.max_counts)),
            (f"min_genes {_number(self.min_genes)}", "n_genes", (self.min_genes, None)),
            (f"max_genes {_number(self.max_genes)}", "n_genes", (None, self.max_genes)),
        ]
        for name, most in self.max_pct.items():
            given.append((f"max_pct {name}={_number(most)}", f"pct_counts_{name}", (None, most)))
        for metric, (low, high) in self.bounds.items():
            text = f"{metric} within {_number(low)} and {_number(high)}"
            given.append((text, metric, (low, high)))
        return [rule for rule in given if rule[2] != (None, None)]


@dataclass(frozen=True, slots=True)
class GeneRules:
    """Rules for genes: the least and the most cells with a value above zero, and sum of values."""

    min_cells: float | None = None
    max_cells: float | None = None
    min_counts: float | None = None
    max_counts: float | None = None

    @property
    def need_sums(self) -> bool:
        """Whether a rule is about sums of values."""
        return self.min_counts is not None or self.max_counts is not None

    def kept(self, totals: Totals) -> Kept:
        """The genes that satisfy all rules."""
        removed, mask = {}, np.ones(len(totals), np.bool_)
        for kind, metric in (("cells", "n_positive"), ("counts", "total_counts")):
            for side in ("min", "max"):
                bound = getattr(self, f"{side}_{kind}")
                if bound is None:
                    continue
                values = getattr(totals, metric)
                satisfied = values >= bound if side == "min" else values <= bound
                removed[f"{side}_{kind} {_number(bound)}"] = int((~satisfied).sum())
                mask &= satisfied
        return Kept(mask, removed)


def within(values: NDArray[Any], low: float | None, high: float | None) -> NDArray[np.bool_]:
    """A mask of the values within bounds, both included; NaN is within none."""
    satisfied = np.ones(len(values), np.bool_)
    if low is not None:
        satisfied &= values >= low
    if high is not None:
        satisfied &= values <= high
    return satisfied


def cell_metric(totals: Totals, metric: str) -> NDArray[Any]:
    """A metric of each cell: "total_counts", "n_genes", "pct_counts_NAME", or "log1p_" of one."""
    if metric.startswith("log1p_"):
        logarithms: NDArray[np.float64] = np.log1p(
            as_floats(cell_metric(totals, metric.removeprefix("log1p_")))
        )
        return logarithms
    if metric.startswith("pct_counts_"):
        part = as_floats(totals.masked(metric.removeprefix("pct_counts_")))
        with np.errstate(invalid="ignore", divide="ignore"):
            percent = 100.0 * part / as_floats(totals.total_counts)
        # A cell without counts has no counts of these genes either.
        return np.where(totals.total_counts == 0, 0.0, percent)
    if metric not in _METRICS:
        msg = f"there is no metric {metric!r}; there are {', '.join(_METRICS)} and pct_counts_NAME"
        raise SelectionError(msg)
    values: NDArray[Any] = getattr(totals, _METRICS[metric])
    return values


def mad_metric(name: str) -> str:
    """The metric that MAD has a name for: "counts", "genes", or a name of genes."""
    return _LOGARITHMS.get(name, f"pct_counts_{name}")


def mad_bounds(values: NDArray[Any], deviations: float) -> tuple[float, float]:
    """The median, less and plus so many times the median of absolute deviations from it."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return (0.0, 0.0)
    median = float(np.median(finite))
    spread = deviations * float(np.median(np.abs(finite - median)))
    return median - spread, median + spread


def genes_like(pattern: str, *names: Sequence[Any]) -> NDArray[np.bool_]:
    """The genes in whose id or symbol a regular expression is found.

    Parameters
    ----------
    pattern
        The regular expression.
    names
        The ids of all genes, and their symbols if they have any.

    Raises
    ------
    SelectionError
        If it is no regular expression, or there is no such gene.
    """
    try:
        search = re.compile(pattern).search
    except re.error as error:
        msg = f"{pattern!r} is no regular expression: {error}"
        raise SelectionError(msg) from None
    found = np.zeros(len(names[0]), np.bool_)
    for each in names:
        found |= np.array([isinstance(one, str) and bool(search(one)) for one in each], np.bool_)
    if not found.any():
        examples = ", ".join(repr(each[0]) for each in names if len(each))
        msg = f"no id or symbol of a gene matches {pattern!r}; they are like {examples or 'none'}"
        raise SelectionError(msg)
    return found


def _number(bound: float | None) -> str:
    if bound is None:
        return "any"
    return f"{bound:.0f}" if float(bound).is_integer() else f"{bound:.6g}"
