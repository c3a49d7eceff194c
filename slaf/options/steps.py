"""The options of the steps of `slaf.transform`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slaf.options.choices import VALUE_STEPS
from slaf.options.declare import Options, option

__all__ = [
    "StepOptions",
]

_COUNTED = ("min_genes", "max_genes", "min_counts", "max_counts", "max_pct", "mad", "min_cells")

# Options that are for others: one of these is given too.
_NEEDED = {
    "mask": ("max_pct", "mad"),
    "first": ("sort_by",),
    "layer": (*_COUNTED, *VALUE_STEPS),
    "as_layer": VALUE_STEPS,
}


def _number(value: Any) -> float:
    """A number, also as text.

    Raises
    ------
    ValueError
        If it is none, or not finite.
    """
    number = float(value)
    if number != number or abs(number) == float("inf"):  # noqa: PLR0124 - NaN
        msg = f"{value!r} is no number"
        raise ValueError(msg)
    return number


def _total(value: Any) -> float | str:
    """The target of a normalisation: a number above zero, or "median".

    Raises
    ------
    ValueError
        If it is neither.
    """
    if value == "median":
        return "median"
    if not (number := _number(value)) > 0:
        msg = f"normalize_total is {value!r}, but it is a number above 0, or median"
        raise ValueError(msg)
    return number


def _named(values: Any) -> tuple[str, ...]:
    """NAME=VALUE of each name; from a mapping too."""
    if isinstance(values, Mapping):
        return tuple(f"{name}={value}" for name, value in values.items())
    return (values,) if isinstance(values, str) else tuple(values)


def _named_numbers(values: Any) -> tuple[str, ...]:
    named = _named(values)
    for pair in named:
        _number(pair.partition("=")[2])
    return named


@dataclass(frozen=True, kw_only=True)
class StepOptions(Options):
    """The steps of `slaf.transform`, in the order in which they are done."""

    standardize_genes: bool = False
    """Take the version off the gene ids of Ensembl, before genes are aligned; refused where two
    genes would have one id. The column original_gene_id of var has the ids before.
    """

    cells: str | None = option(None, metavar="FILTER")
    """Only the cells for which this condition on obs is true. Fewer take less time and bytes."""

    genes: str | None = option(None, metavar="FILTER")
    """Only the genes for which this condition on var is true. Fewer take fewer bytes."""

    min_genes: float | None = option(None, parse=_number)
    """Only cells with at least so many values above zero; reads the matrix once more."""

    max_genes: float | None = option(None, parse=_number)
    """Only cells with at most so many values above zero; reads the matrix once more."""

    min_counts: float | None = option(None, parse=_number)
    """Only cells whose values sum to at least so much; reads the matrix once more."""

    max_counts: float | None = option(None, parse=_number)
    """Only cells whose values sum to at most so much; reads the matrix once more."""

    max_pct: str | Sequence[str] = option((), metavar="NAME=PERCENT", parse=_named_numbers)
    """Only cells with at most so many percent of their sum in the genes of a name, as mt=10; reads
    the matrix once more.
    """

    mad: str | Sequence[str] = option((), metavar="NAME=N", parse=_named_numbers)
    """Only cells within so many median absolute deviations of the median of counts or genes (of
    their logarithms), or of the percentage of the genes of a name: counts=5, mt=3; reads the matrix
    once more.
    """

    mask: str | Sequence[str] = option((), metavar="NAME=PATTERN", parse=_named)
    """Genes of a name: a regular expression that is searched in ids and symbols, as ribo='^RP[SL]';
    mt, ribo and hb are known for human symbols. Changes no time.
    """

    sample: int | None = option(None, minimum=0)
    """Only so many cells, drawn at random by `seed` and their ids. Fewer take less time."""

    downsample_counts: int | None = option(None, minimum=0)
    """Draw counts of each cell, by `seed` and its id, until it has no more than so many: a second
    for twenty million counts.
    """

    seed: int = option(0, minimum=0)
    """The seed of `sample` and `downsample_counts`. Changes no time."""

    min_cells: float | None = option(None, parse=_number)
    """Only genes with values above zero in at least so many of the cells that are left; reads the
    matrix once more.
    """

    normalize_total: float | str | None = option(None, metavar="TOTAL|median", parse=_total)
    """Multiply the values of each cell so that their sum is this, as 1e4, or the median of the sums
    before, which reads the matrix once more.
    """

    log1p: bool = False
    """Take the natural logarithm of one more than each value; refused of logarithms."""

    sort_by: str | None = option(None, metavar="COLUMN")
    """Write the cells in the order of a column of obs: by categories, else ascending. Takes scratch
    for values that are not read in that order.
    """

    first: str | None = option(None, metavar="LABEL")
    """The value of the column of `sort_by` whose cells come first, as NTC. Changes no time."""

    layer: str | None = None
    """The layer that is counted and changed instead of X. Its nonzeros decide time."""

    as_layer: str | None = None
    """Store changed values as a new layer of this name, next to the one they were made of: time and
    bytes for both.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, needed in _NEEDED.items():
            if self._has(name) and not any(map(self._has, needed)):
                msg = f"{name} is given, but none of {', '.join(needed)}, for which it is"
                raise ValueError(msg)

    def _has(self, name: str) -> bool:
        value = getattr(self, name)
        return value is not None and value is not False and value != ()
