"""`slaf verify`: check a dataset against its digests and its inputs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.progress import Bar
from slaf_cli.report import print_counts, print_json

if TYPE_CHECKING:
    from slaf import Report

__all__ = ["verify"]


@options.command(
    ConvertOptions,
    "format",
    "memory",
    "scratch",
    "storage_options",
    "input_storage_options",
    "stage",
)
def verify(
    dataset: options.Dataset,
    chosen: options.Chosen,
    *,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT",
            help="Also read the input again and compare every value, id and column: more time. "
            "Name all of several inputs in their order, each with --against; a folder stands for "
            "all inputs in it.",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Check the tables without reading all values: far less time."),
    ] = False,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Read only N blocks of cells, drawn at random and listed: less time.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            metavar="N", help="Which blocks --sample draws. Changes no time, memory or bytes."
        ),
    ] = 0,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Read only the share I of N of the blocks and files, counted from 0: on N "
            "machines the time of a verification is divided by N.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Check that a dataset is what was converted.

    Files and values are read, and their digests compared with those of the conversion. A damaged
    file is named with its cells and the input that they came from; `slaf repair` writes it again.
    The first differences of each kind are printed, and the exit code is then 5.
    """
    if sample is not None and (quick or against):
        msg = "it reads some blocks: leave out --quick and --against"
        raise typer.BadParameter(msg, param_hint="--sample")
    share = None if part is None else _share(part)
    if share and (quick or against or sample is not None):
        msg = "it reads some blocks: leave out --quick, --sample and --against"
        raise typer.BadParameter(msg, param_hint="--part")
    import slaf

    try:
        with Bar(shown=not quiet) as bar:
            report = slaf.verify(
                dataset,
                against or None,
                quick=quick,
                sample=sample,
                seed=seed,
                part=share,
                **chosen,
                progress=bar,
            )
    except slaf.VerificationFailed as failed:
        if not json:  # else the report is printed with the error
            _print(failed.report, json=False)
        raise
    _print(report, json=json)


def _share(text: str) -> tuple[int, int]:
    matched = re.fullmatch(r"(\d+)/(\d+)", text)
    if matched is None or int(matched[1]) >= int(matched[2]):
        msg = f"{text!r} is no share; write it as 0/4 to 3/4"
        raise typer.BadParameter(msg, param_hint="--part")
    return int(matched[1]), int(matched[2])


def _print(report: Report, *, json: bool) -> None:
    if json:
        print_json(report.to_json())
        return
    for difference in report.differences:
        typer.echo(f"{difference}")
    print_counts(report)
    if report.ok:
        typer.echo(f"{report.dataset}: no difference in {'; '.join(report.checks)}")
