"""`slaf repair`: repair a dataset from its inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.progress import Bar
from slaf_cli.report import print_json

if TYPE_CHECKING:
    from slaf import RepairReport

__all__ = ["repair"]


@options.command(
    ConvertOptions,
    "format",
    "workers",
    "memory",
    "scratch",
    "restart",
    "storage_options",
    "input_storage_options",
    "stage",
)
def repair(
    dataset: options.Dataset,
    chosen: options.Chosen,
    *,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="INPUT",
            help="An input that DATASET was made of; name all of several in their order, each with "
            "--from; a folder stands for all inputs in it. Damage to an index, or to Lance's "
            "record of a commit, needs no input. The damage decides time.",
            show_default=False,
        ),
    ] = None,
    drop_annotated: Annotated[
        bool,
        typer.Option(
            "--drop-annotated",
            help="Drop what DATASET was annotated with where its files are damaged: no input has "
            "it. Changes no time.",
        ),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write the damaged files of a dataset again.

    Every file is checked against its checksum. Only the content of damaged files is read from the
    inputs, and has to match the digests of the conversion: otherwise nothing is changed. A repair
    that was stopped is finished by the same command.
    """
    import slaf

    with Bar(shown=not quiet) as bar:
        repaired = slaf.repair(
            dataset, inputs or None, drop_annotated=drop_annotated, **chosen, progress=bar
        )
    _print(repaired, json=json)


def _print(repaired: RepairReport, *, json: bool) -> None:
    if json:
        print_json(repaired.to_json())
        return
    if not repaired.damaged:
        typer.echo(f"{repaired.dataset}: nothing is damaged ({repaired.files:,} files)")
        return
    for damaged in repaired.damaged:
        typer.echo(f"repaired {damaged}")
    typer.echo(
        f"{repaired.dataset}: {len(repaired.damaged):,} of {repaired.files:,} files repaired, "
        "all as they were converted"
    )
