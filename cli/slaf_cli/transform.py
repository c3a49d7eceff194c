"""`slaf transform`: filter, sample, normalise and sort inputs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slaf.options import TransformOptions
from slaf_cli import options
from slaf_cli.export import note_about_output, print_report
from slaf_cli.progress import Bar
from slaf_cli.report import print_json
from slaf_cli.running import watched

if TYPE_CHECKING:
    from slaf import TransformPreview

__all__ = ["transform"]


@options.command(TransformOptions)
def transform(
    inputs: options.Inputs,
    output: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUT",
            help="A directory that does not exist yet, or its URL; with a suffix like .h5ad, or "
            "--output-format, a file or folder of that format.",
            show_default=False,
        ),
    ],
    chosen: options.Chosen,
    *,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Filter, normalise and sort inputs.

    The steps are done in the order in which the options are listed, on X or --layer; layers, raw,
    obsm and all else go along. Numbers that depend on the data are recorded with the dataset, so
    that `slaf verify --against` and `slaf append` repeat them. A run that was stopped is finished
    by the same command.
    """
    try:
        TransformOptions(**chosen)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    import slaf
    from slaf.conversion.transform import export_format

    if chosen["dry_run"]:
        preview: Any = slaf.transform(inputs, output, **chosen)
        _print(preview, json=json)
    elif export_format(output, chosen.get("output_format")) is None:
        with watched(output, chosen["storage_options"], quiet=quiet, json=json) as bar:
            slaf.transform(inputs, output, **chosen, progress=bar)
    else:
        began = time.monotonic()
        with Bar(shown=not quiet) as bar, note_about_output(output):
            report: Any = slaf.transform(inputs, output, **chosen, progress=bar)
        print_report(report, time.monotonic() - began, json=json)


def _print(preview: TransformPreview, *, json: bool) -> None:
    """The effect of each rule, and what is left."""
    if json:
        print_json(preview.to_json())
        return
    for effect in preview.rules:
        typer.echo(effect)
    (cells, genes), (n_cells, n_genes) = preview.shape, preview.inputs
    typer.echo(
        f"{preview.output}: {cells:,} of {n_cells:,} cells × {genes:,} of {n_genes:,} genes would "
        "be written"
    )
