"""`slaf annotate`: add, replace or drop columns, elements and layers of a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.progress import Bar
from slaf_cli.report import print_json

__all__ = ["annotate"]


@options.command(ConvertOptions, "restart", *options.READING[1:])
def annotate(
    dataset: options.Dataset,
    chosen: options.Chosen,
    *,
    obs: Annotated[
        Path | None,
        typer.Option(
            "--obs",
            metavar="FILE",
            help="Columns of cells: a .csv, .tsv or .parquet file with the cell ids in its first "
            "column. Its columns decide bytes.",
            show_default=False,
        ),
    ] = None,
    var: Annotated[
        Path | None,
        typer.Option(
            "--var", metavar="FILE", help="The same for genes, by gene id.", show_default=False
        ),
    ] = None,
    from_anndata: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RESULT",
            help="An .h5ad file, or another input: everything in it but X and raw, by the ids of "
            "its cells and genes. What is new in it decides time and bytes.",
            show_default=False,
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on", metavar="COLUMN", help="The column of FILE with the ids.", show_default=False
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace what DATASET has with other values.")
    ] = False,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            "--drop",
            metavar="NAME",
            help="Drop obs:NAME, var:NAME, obsm:KEY, uns:KEY, layer:NAME, …. May be given several "
            "times.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Add, replace or drop columns, elements and layers.

    Rows are put to the cells and genes of their ids; unknown and repeated ids are refused. Ids and
    the matrix never change. Only the tables that change are written; until all is on disk, readers
    see DATASET as it was. `slaf history` lists the version before, which stays until the next run.
    """
    if not (obs or var or from_anndata or drop):
        msg = "nothing to do: give --obs, --var, --from or --drop"
        raise typer.BadParameter(msg)
    import slaf

    with Bar(shown=not quiet) as bar:
        made = slaf.annotate(
            dataset,
            obs=obs,
            var=var,
            from_anndata=from_anndata,
            drop=drop or (),
            on=on,
            replace=replace,
            **chosen,
            progress=bar,
        )
    published = made.published
    if json:
        print_json(
            {
                "dataset": str(made.location),
                "version": published.version,
                "annotated": list(published.annotated_names),
            }
        )
        return
    names = ", ".join(published.annotated_names)
    typer.echo(f"{made.location}: version {published.version}, annotated: {names or 'nothing'}")
