"""`slaf plan`: plan a conversion or an append by many processes."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from slaf.options import PlanOptions
from slaf.storage.paths import check_local_paths
from slaf_cli import options
from slaf_cli.progress import Bar
from slaf_cli.report import in_bytes, lines, print_json
from slaf_cli.running import print_preview

if TYPE_CHECKING:
    from slaf import PlanReport

__all__ = ["plan"]


@options.command(PlanOptions)
def plan(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT... OUTPUT",
            help=f"The inputs: {options.INPUT}; then the output, which all processes reach.",
            show_default=False,
        ),
    ],
    chosen: options.Chosen,
    *,
    discard: Annotated[
        bool,
        typer.Option("--discard", help="Give the plan at OUTPUT up, with what was done of it."),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Plan a conversion or an append by parts.

    The parts are then encoded by `slaf part OUTPUT`, in the tasks of a job array or anywhere else,
    in any order, and `slaf publish OUTPUT` makes the dataset. Inputs that are not in the order of
    cells are sorted, and encoded, by this command.
    """
    *inputs, output = paths
    if bool(inputs) == discard:
        msg = "name the output alone" if discard else "name the inputs, and then the output"
        raise typer.BadParameter(msg, param_hint="INPUT... OUTPUT")
    import slaf

    if discard:
        slaf.discard_plan(output, storage_options=chosen["storage_options"])
        return
    check_local_paths(inputs)
    if chosen.pop("dry_run"):
        print_preview(slaf.plan(inputs, output, dry_run=True, **chosen), json=json)
        return
    with Bar(shown=not quiet) as bar:
        report = slaf.plan(inputs, output, dry_run=False, **chosen, progress=bar)
    if json:
        print_json(report.to_json())
    else:
        typer.echo(lines(_rows(report)))


def _rows(report: PlanReport) -> list[tuple[str, object]]:
    needs = report.part
    each = (
        f"about {in_bytes(needs.memory)} of memory, {needs.seconds:,.0f} s, "
        f"{in_bytes(needs.bytes)} on disk"
    )
    rows: list[tuple[str, object]] = [
        ("output", report.output),
        ("shape", f"{report.n_cells:,} cells × {report.n_genes:,} genes"),
        ("parts", f"{report.parts:,}"),
    ]
    if report.sorted_here:
        rows.append(("encoded here", "\n".join(report.sorted_here)))
    if report.missing:
        rows += [
            ("missing", report.missing),
            ("each part", each),
            ("run", report.command),
        ]
    rows.append(("then", f"slaf publish {shlex.quote(report.output)}"))
    return rows
