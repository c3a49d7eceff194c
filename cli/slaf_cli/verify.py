"""`slaf verify`: let a dataset prove itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slaf_cli import options
from slaf_cli.progress import Bar
from slaf_cli.report import edge, print_counts, print_json

if TYPE_CHECKING:
    from slaf import Report

__all__ = ["verify"]


def verify(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="A dataset.", show_default=False)
    ],
    *,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="INPUT",
            help="Also read the input again and compare every value, id and column: more time. "
            "Of a dataset of several inputs name all in their order, each with --against; a "
            "folder stands for all that is in it.",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Check the tables without reading all values: far less time."),
    ] = False,
    format: options.Format = None,
    memory: options.Memory = None,
    scratch: options.Scratch = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Check that DATASET is whole, and is what was converted.

    Its values are read and their digests compared with those taken during the conversion. The
    first differences of each kind are printed, and the exit code is then 5.
    """
    with edge(quiet=quiet, verbose=verbose):
        import slaf

        try:
            with Bar(shown=not quiet) as bar:
                report = slaf.verify(
                    dataset,
                    against or None,
                    quick=quick,
                    format=format,
                    memory=memory,
                    scratch=scratch,
                    progress=bar,
                )
        except slaf.VerificationFailed as failed:
            _print(failed.report, json=json)
            raise
        _print(report, json=json)


def _print(report: Report, *, json: bool) -> None:
    if json:
        print_json(report.to_json())
        return
    for difference in report.differences:
        typer.echo(f"{difference}")
    print_counts(report)
    if report.ok:
        typer.echo(f"{report.dataset}: no difference in {'; '.join(report.checks)}")
