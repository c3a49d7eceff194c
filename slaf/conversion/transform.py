"""slaf.transform: convert or export inputs seen through the steps of an analysis."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from slaf.conversion.convert import finish_conversion
from slaf.conversion.prepare import open_inputs, prepared_run
from slaf.conversion.preview import with_keywords
from slaf.dataset.dataset import Dataset, View, open_dataset
from slaf.dataset.scan import SourceView
from slaf.dataset.transformed_inputs import STANDARDIZE_GENES, steps_of, transformed_inputs
from slaf.errors import TargetError
from slaf.options import StoreOptions, TransformOptions, options_of
from slaf.runs.output_run import check_not_complete
from slaf.storage.location import Location
from slaf.targets import FORMATS
from slaf.targets.export import ExportReport, check_format, export

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from slaf.conversion.prepare import Prepared
    from slaf.options import StepOptions
    from slaf.sources.base import Inputs

__all__ = ["RuleEffect", "TransformPreview", "export_format", "transform", "with_steps"]

logger = logging.getLogger("slaf")

_DATASET = "slaf"

# The rules that one pass over the matrix decides.
_CELL_RULES = ("min_genes", "max_genes", "min_counts", "max_counts")

# The options of runs that an export has not.
_UNUSED_BY_EXPORT = ("restart",)


@dataclass(frozen=True, slots=True)
class RuleEffect:
    """The number of cells or genes that a rule removes by itself.

    Attributes
    ----------
    step
        The step that it belongs to.
    rule
        The rule.
    removed
        The number.
    """

    step: str
    rule: str
    removed: int

    def __str__(self) -> str:
        of_genes = self.step == "filter_genes" or self.rule.startswith("genes ")
        axis = "genes" if of_genes else "cells"
        return f"{self.step}: {self.rule} removes {self.removed:,} {axis}"


@dataclass(frozen=True, slots=True)
class TransformPreview:
    """The result of `slaf.transform` with `dry_run=True`.

    Attributes
    ----------
    output
        The path or URL.
    inputs
        The shape of all inputs.
    shape
        The shape of the result.
    rules
        The cells and genes that each rule removes of those that the steps before it left.
    steps
        The steps, with the numbers that were computed.
    """

    output: str
    inputs: tuple[int, int]
    shape: tuple[int, int]
    rules: tuple[RuleEffect, ...]
    steps: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """As `slaf transform --dry-run --json` prints it."""
        return asdict(self)


@with_keywords(TransformOptions)
def transform(
    inputs: Inputs, output: str | os.PathLike[str] | Location, options: TransformOptions
) -> Dataset | ExportReport | TransformPreview:
    """Filter, sample, normalise and sort inputs, and write the result.

    The steps are done in the order of the options: `standardize_genes`; `cells`, `genes`; the rules
    for cells; `sample`; `downsample_counts`; `min_cells`; `normalize_total`; `log1p`; `sort_by`.
    Layers, raw, obsm and all else are those of the cells and genes that are left. Values stream
    through in batches; what depends on all cells is computed first, and recorded in config.json
    with the steps: `slaf.verify` and `slaf.append` repeat the record. The same call resumes.

    Parameters
    ----------
    inputs
        As for `slaf.convert`; a dataset too.
    output
        A dataset that does not exist yet; or by its suffix, or `output_format`, an export.
    options
        By keyword, each field of `slaf.options.TransformOptions`.

    Returns
    -------
    Dataset | ExportReport | TransformPreview
        The published dataset, open; or the report of an export; with `dry_run=True`, the number of
        cells and genes that each rule removes.

    Raises
    ------
    InputError
        If an input cannot be read, or a value is negative.
    SelectionError, QueryError
        If a step names something that there is not, or takes logarithms of logarithms.
    ConflictError
        If the output exists, or is an input.
    TypeError, ValueError
        If an option is unknown, or its value is invalid.

    Examples
    --------
    >>> import anndata, numpy, slaf
    >>> adata = anndata.AnnData(numpy.tril(numpy.ones((4, 3))))
    >>> slaf.transform(adata, "out.slaf", min_genes=2, log1p=True, dry_run=True).rules
    (RuleEffect(step='filter_cells', rule='min_genes 2', removed=1),)
    """
    if options.executor is not None:
        msg = "a transform runs in this process; leave executor out"
        raise TargetError(msg)
    target = export_format(output, options.output_format)
    if target is not None:
        return _export(inputs, output, target, options)
    if options.array_compression is not None:
        msg = "array_compression is an option of exports, and the output is a dataset; leave it out"
        raise TargetError(msg)
    location = Location.of(output, options.storage_options)
    if not options.dry_run:
        check_not_complete(location, overwrite=options.overwrite)
    with _prepared(inputs, location, options) as (prepared, view):
        if options.dry_run:
            prepared.unfinished(options, overwrite=options.overwrite)
            return _preview(view, location)
        _log_effects(view)
        finish_conversion(inputs, prepared, options)
    return open_dataset(location)


@contextmanager
def _prepared(
    inputs: Inputs, location: Location, options: TransformOptions
) -> Iterator[tuple[Prepared, View]]:
    """The run that stores the result, and the result as a view."""
    with open_inputs(inputs, location, options) as (found, reading, opened):
        view = with_steps(SourceView(opened), options)
        seen = replace(found, inputs=transformed_inputs(found.inputs, opened, view))
        with prepared_run(location, options, seen, reading, steps_of(view)) as prepared:
            yield prepared, view


def with_steps(view: View, options: StepOptions) -> View:
    """The view with all steps done, in their order."""
    for name, keywords in _calls(options):
        view = getattr(view, name)(**keywords)
    return view


def _calls(options: StepOptions) -> Iterator[tuple[str, dict[str, Any]]]:
    """The methods of a view, and their keywords."""
    if options.standardize_genes:
        yield STANDARDIZE_GENES, {}
    if options.cells is not None or options.genes is not None:
        yield "select", {"cells": options.cells, "genes": options.genes}
    layer = {"layer": options.layer}
    rules = {name: getattr(options, name) for name in _CELL_RULES}
    shares = {"max_pct": _numbers(options.max_pct), "mad": _numbers(options.mad)}
    if any(value is not None for value in rules.values()) or any(shares.values()):
        yield "filter_cells", rules | shares | {"masks": _pairs(options.mask)} | layer
    if options.sample is not None:
        yield "sample", {"n": options.sample, "seed": options.seed}
    values = layer | {"as_layer": options.as_layer}
    if options.downsample_counts is not None:
        keywords = {"counts_per_cell": options.downsample_counts, "seed": options.seed}
        yield "downsample_counts", keywords | values
        layer, values = _next(values)
    if options.min_cells is not None:
        yield "filter_genes", {"min_cells": options.min_cells} | layer
    if options.normalize_total is not None:
        target = None if options.normalize_total == "median" else options.normalize_total
        yield "normalize_total", {"target_sum": target} | values
        layer, values = _next(values)
    if options.log1p:
        yield "log1p", values
    if options.sort_by is not None:
        yield "sort_by", {"column": options.sort_by, "first": options.first}


def _next(values: Mapping[str, str | None]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options `layer`, and also `as_layer`, of the next step; a new layer is changed on."""
    layer = {"layer": values["as_layer"] or values["layer"]}
    return layer, layer | {"as_layer": None}


def _pairs(named: str | Sequence[str]) -> dict[str, str]:
    return {name: value for name, _, value in (pair.partition("=") for pair in named)}


def _numbers(named: str | Sequence[str]) -> dict[str, float]:
    return {name: float(value) for name, value in _pairs(named).items()}


def _effects(view: View) -> Iterator[RuleEffect]:
    for step in view.steps:
        for rule, removed in step.removed.items():
            yield RuleEffect(step.name, rule, removed)


def _log_effects(view: View) -> None:
    """Say what each rule removes, before anything is written."""
    for effect in _effects(view):
        logger.info("%s", effect)


def _preview(view: View, output: object) -> TransformPreview:
    steps = tuple({"name": step.name, "options": dict(step.options)} for step in view.steps)
    return TransformPreview(str(output), view.root.shape, view.shape, tuple(_effects(view)), steps)


def export_format(output: object, requested: str | None = None) -> str | None:
    """The name of the format to export to, as requested or by the suffix; None for a dataset."""
    if requested is not None:
        return None if requested == _DATASET else requested
    name = str(output).rstrip("/")
    return next((each.name for each in FORMATS if name.endswith(each.suffixes)), None)


def _export(
    inputs: Inputs, output: Any, target: str, options: TransformOptions
) -> ExportReport | TransformPreview:
    """Write the result in another format."""
    _refuse_unused(options, target)
    check_format(target, options.array_compression)
    location = Location.of(output, options.storage_options)
    with open_inputs(inputs, location, options) as (_, reading, opened):
        view = with_steps(SourceView(opened), options)
        if options.dry_run:
            return _preview(view, output)
        _log_effects(view)
        return export(
            view,
            output,
            format=target,
            compression=options.array_compression,
            memory=None if options.memory is None else reading.memory_budget,
            scratch=options.scratch,
            overwrite=options.overwrite,
            storage_options=options.storage_options,
            progress=options.progress,
        )


def _refuse_unused(options: TransformOptions, target: str) -> None:
    """Refuse options of datasets for an export.

    Raises
    ------
    TargetError
        If one is given.
    """
    slots = ("layers", "raw", "without", "uns_merge", "join")
    for name, known in options_of(TransformOptions).items():
        stored = name in options_of(StoreOptions) and name not in slots
        if (stored or name in _UNUSED_BY_EXPORT) and getattr(options, name) != known.default:
            msg = f"{name} is an option of datasets, and the output is {target}; leave it out"
            raise TargetError(msg)
