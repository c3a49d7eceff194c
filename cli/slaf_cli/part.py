"""`slaf part`: encode parts of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from slaf.options import ConvertOptions
from slaf.runtime.job_arrays import parse_indices
from slaf_cli import options
from slaf_cli.progress import Bar
from slaf_cli.report import print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slaf import PartReport

__all__ = ["part"]


@options.command(
    ConvertOptions, "memory", "scratch", "storage_options", "input_storage_options", "stage"
)
def part(
    output: Annotated[
        str,
        typer.Argument(metavar="OUTPUT", help="The output of `slaf plan`.", show_default=False),
    ],
    chosen: options.Chosen,
    *,
    index: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="I",
            help="The part, counted from 0; by default that of this task of a job array, or else "
            "one that is missing.",
            show_default=False,
        ),
    ] = None,
    listed: Annotated[
        str | None,
        typer.Option(
            "--range",
            metavar="A-B",
            help="Several parts, one after the other, like 3,7-9; those beyond the last are left "
            "out.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Encode a part of a plan, unless it is done.

    Any number of these commands run at once, anywhere where the inputs and OUTPUT can be reached;
    none waits for another, and each may be killed and repeated. The index of a task is taken from
    SLURM, PBS, LSF, SGE, AWS Batch, Google Batch, Cloud Run or Kubernetes.
    """
    indices = [index] if listed is None else _indices(listed)
    if index is not None and listed is not None:
        msg = "name one part with --index, or several with --range"
        raise typer.BadParameter(msg, param_hint="--range")
    import slaf

    reports: list[PartReport] = []
    with Bar(shown=not quiet) as bar:
        for each in indices:
            if reports and each is not None and each >= reports[0].parts:
                break
            reports.append(slaf.part(output, each, **chosen, progress=bar))
    _print(reports, json=json)


def _indices(text: str) -> Sequence[int | None]:
    try:
        return parse_indices(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--range") from None


def _print(reports: Sequence[PartReport], *, json: bool) -> None:
    if json:
        print_json({"encoded": [report.to_json() for report in reports]})
        return
    for report in reports:
        if report.index is None:
            typer.echo(f"{report.output}: all {report.parts:,} parts are done")
        else:
            part = f"part {report.index:,} of {report.parts:,} {_STATES[report.state]}"
            content = f", {report.cells:,} cells, {report.nonzeros:,} nonzeros"
            typer.echo(f"{report.output}: {part}{content if report.cells else ''}")


_STATES = {
    "done": "is done",
    "was done": "was done before",
    "not needed": "is not needed: the plan was published or given up",
}
