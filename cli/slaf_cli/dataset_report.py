"""`slaf report`: a dataset on one page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.progress import Bar
from slaf_cli.report import ExitCode, print_json

if TYPE_CHECKING:
    from slaf import DatasetReport

__all__ = ["report"]


@options.command(ConvertOptions, "storage_options")
def report(
    dataset: options.Dataset,
    chosen: options.Chosen,
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the page, one HTML file, to this path or URL.",
            show_default=False,
        ),
    ] = None,
    multiqc: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Write the figures into this directory, which is made, for MultiQC to find.",
            show_default=False,
        ),
    ] = None,
    layer: options.Layer = None,
    mt: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="The mitochondrial genes, a regular expression that is searched in ids and "
            "symbols; by default those of human and mouse.",
            show_default=False,
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify/--no-verify",
            help="First verify the dataset as slaf verify --quick does: little time. Without, a "
            "warning says so.",
        ),
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a page.")] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Describe a dataset, its quality and its origin on one page.

    The values are read once, fractions twice. The page needs nothing from elsewhere, and the same
    dataset gives the same page. A damaged dataset is described as far as it can be read, and the
    exit code is then 5.
    """
    if output is None and multiqc is None and not json:
        msg = "choose --output, --multiqc or --json"
        raise typer.BadParameter(msg, param_hint="--output")
    import slaf

    with Bar(shown=not quiet) as bar:
        made = slaf.report(
            dataset,
            output,
            multiqc=multiqc,
            layer=layer,
            mt=mt,
            verify=verify,
            overwrite=overwrite,
            **chosen,
            progress=bar,
        )
    if json:
        print_json(made.to_json())
    else:
        _print(made, [place for place in (output, multiqc) if place is not None])
    if made.verification.state == "failed":
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)


def _print(made: DatasetReport, written: list[str]) -> None:
    for warning in made.warnings:
        typer.echo(f"{warning.kind}: {warning.text}")
    typer.echo(f"{', '.join(written)}: the report of {made.location}")
