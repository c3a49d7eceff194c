"""`slaf aggregate`: statistics of groups of cells, as a dataset or a file of another format."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.progress import cost, with_cost
from slaf_cli.report import print_json

__all__ = ["aggregate"]


@options.command(ConvertOptions, *options.READING, "input_storage_options", "overwrite")
def aggregate(
    target: options.Target,
    output: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUT",
            help="A path or URL: a name that `slaf export` knows, as groups.h5ad, or else a "
            "dataset.",
            show_default=False,
        ),
    ],
    chosen: options.Chosen,
    *,
    by: Annotated[
        list[str],
        typer.Option(
            metavar="COLUMN,…",
            help="Columns of obs: cells of equal values are a group. May be given several times.",
            show_default=False,
        ),
    ],
    func: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,…",
            help="sum (the default), mean, variance, min, max or count_nonzero; of several the "
            "first is X, and each a layer. May be given several times.",
            show_default=False,
        ),
    ] = None,
    layer: options.Layer = None,
    ddof: Annotated[
        int,
        typer.Option(
            metavar="N", help="Subtracted from the number of values, for a variance.", min=0
        ),
    ] = 0,
    measured_only: Annotated[
        bool,
        typer.Option(
            "--measured-only",
            help="Leave out, of means and variances, zeros of genes that an input of several has "
            "not measured.",
        ),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,  # noqa: ARG001 - for the log
) -> None:
    """Write statistics of groups of cells: groups × genes.

    Memory grows with the groups, not with the cells. The columns of the groups and their number of
    cells are the obs of OUTPUT.
    """
    import slaf

    began = time.monotonic()
    statistics: Any = ",".join(func or ["sum"]).split(",")
    written = slaf.aggregate(
        target,
        output,
        by=",".join(by).split(","),
        func=statistics,
        layer=layer,
        ddof=ddof,
        measured_only=measured_only,
        **chosen,
    )
    seconds = time.monotonic() - began
    if json:
        print_json(with_cost(written.to_json(), seconds))
        return
    typer.echo(
        f"{written.output}: {written.n_groups:,} groups × {written.n_genes:,} genes; "
        f"{cost(seconds)}"
    )
