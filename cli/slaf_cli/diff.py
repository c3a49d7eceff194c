"""`slaf diff`: how two datasets differ, or a dataset and a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.progress import Bar
from slaf_cli.report import ExitCode, edge, print_counts, print_json

if TYPE_CHECKING:
    from slaf import Comparison

__all__ = ["diff"]


@options.takes(
    ConvertOptions,
    "matrix",
    "genome",
    "feature_type",
    "measurement",
    "format",
    "memory",
    "scratch",
    "storage_options",
    "stage",
)
def diff(
    first: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help=f"A dataset, or an input: {options.INPUT}.",
            show_default=False,
        ),
    ],
    second: Annotated[
        str,
        typer.Argument(metavar="B", help="The same; one of both is a dataset.", show_default=False),
    ],
    chosen: options.Chosen,
    *,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Compare two datasets, or inputs.

    Every value, id, column and type of A and B is, of layers, raw and all other slots too. How a
    dataset is stored does not count. The first differences of each kind are printed, and the exit
    code is then 5.
    """
    with edge(quiet=quiet, verbose=verbose):
        import slaf

        with Bar(shown=not quiet) as bar:
            found = slaf.diff(
                first,
                second,
                **chosen,
                progress=bar,
            )
        _print(found, json=json)
        if not found.ok:
            raise typer.Exit(ExitCode.VERIFICATION_FAILED)


def _print(found: Comparison, *, json: bool) -> None:
    if json:
        print_json(found.to_json())
        return
    for one in found.differences:
        typer.echo(
            f"{one.kind}, {one.where}: {one.expected} in {found.first}, "
            f"{one.found} in {found.second}"
        )
    print_counts(found)
    if found.ok:
        typer.echo(f"{found.first} and {found.second}: no difference in {'; '.join(found.checks)}")
