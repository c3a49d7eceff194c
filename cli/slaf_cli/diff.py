"""`slaf diff`: compare two datasets, or a dataset and an input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.progress import Bar
from slaf_cli.report import ExitCode, print_counts, print_json

if TYPE_CHECKING:
    from slaf import Comparison

__all__ = ["diff"]


@options.command(ConvertOptions, *options.READING)
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
        typer.Argument(
            metavar="B", help="The same; one of the two must be a dataset.", show_default=False
        ),
    ],
    chosen: options.Chosen,
    *,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare two datasets, or inputs.

    Every value, id, column and type of A and B is compared, including layers, raw and all other
    slots. How a dataset is stored does not count. The first differences of each kind are printed,
    and the exit code is then 5.
    """
    import slaf

    with Bar(shown=not quiet) as bar:
        comparison = slaf.diff(first, second, **chosen, progress=bar)
    _print(comparison, json=json)
    if not comparison.ok:
        raise typer.Exit(ExitCode.VERIFICATION_FAILED)


def _print(comparison: Comparison, *, json: bool) -> None:
    if json:
        print_json(comparison.to_json())
        return
    first, second = comparison.first, comparison.second
    for difference in comparison.differences:
        typer.echo(
            f"{difference.kind}, {difference.where}: {difference.expected} in {first}, "
            f"{difference.found} in {second}"
        )
    print_counts(comparison)
    if comparison.ok:
        typer.echo(f"{first} and {second}: no difference in {'; '.join(comparison.checks)}")
