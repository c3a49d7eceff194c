"""`slaf qc`: metrics of the quality of cells and genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.report import print_json

if TYPE_CHECKING:
    import pandas as pd

    from slaf.transforms.qc import QCMetrics

__all__ = ["qc"]


@options.command(ConvertOptions, *options.READING)
def qc(
    target: options.Target,
    chosen: options.Chosen,
    *,
    mt: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="The mitochondrial genes, a regular expression that is searched in ids and "
            "symbols, as '^MT-'; of mice '^mt-'.",
            show_default=False,
        ),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATTERN",
            help="Other genes whose share of the counts to compute, as ribo='^RP[SL]'; several "
            "times for several.",
            show_default=False,
        ),
    ] = None,
    var_mask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="A boolean column of var that marks such genes; several times for several.",
            show_default=False,
        ),
    ] = None,
    percent_top: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,…",
            help="The numbers of genes with the greatest counts whose share to compute; by default "
            "those of 50, 100, 200 and 500 for which there are genes; 0 for none.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Summarise each group of cells by itself.", show_default=False
        ),
    ] = None,
    layer: options.Layer = None,
    write: Annotated[
        bool,
        typer.Option("--write", help="Add the metrics to obs and var of DATASET: time and bytes."),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="With --write, replace columns of the same names.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Summarise the quality of cells, by scanpy's names of metrics.

    The metrics are computed in one pass; of counts they are exact. With --write they become columns
    of obs and var, by one commit, and every append and removal computes them anew.
    """
    if replace and not write:
        msg = "--replace needs --write"
        raise typer.BadParameter(msg, param_hint="--replace")
    tops = _numbers(percent_top)
    masks = options.key_values(mask, "--mask")
    from slaf.dataset.scan import open_or_scan

    with open_or_scan(target, **chosen) as view:
        metrics = view.qc_metrics(
            mt=mt, mask=masks, var_mask=var_mask or (), percent_top=tops, layer=layer
        )
        groups = None if by is None else view.obs_columns([by])[by]
        if write:
            reach = chosen.get("storage_options")
            view.annotate(qc=metrics, replace=replace, storage_options=reach)
    if json:
        print_json(_as_json(metrics, groups))
    else:
        typer.echo(_as_text(metrics, groups))


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(number) for number in text.split(",") if int(number)]
    except ValueError:
        msg = f"{text!r} is no list of numbers; write it as 50,100"
        raise typer.BadParameter(msg, param_hint="--percent-top") from None


def _as_json(metrics: QCMetrics, groups: pd.Series[Any] | None) -> dict[str, Any]:
    found = {
        "n_cells": len(metrics.obs),
        "n_genes": len(metrics.var),
        "metrics": _records(metrics.summary()),
    }
    if groups is not None:
        by = metrics.summary(groups)
        labels = by.index.get_level_values(0).unique() if len(by.index.names) > 1 else ()
        found["groups"] = {str(label): _records(by.loc[label]) for label in labels}
    return found


def _records(summary: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Rows by name; None for a number that is not finite."""
    import math

    return {
        str(name): {str(key): value if math.isfinite(value) else None for key, value in row.items()}
        for name, row in summary.to_dict(orient="index").items()
    }


def _as_text(metrics: QCMetrics, groups: pd.Series[Any] | None) -> str:
    summary = metrics.summary(groups)
    table = summary.to_string(float_format=lambda value: f"{value:,.6g}")
    return f"{len(metrics.obs):,} cells × {len(metrics.var):,} genes\n{table}"
