"""`slaf repair`: mend a dataset from its inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.progress import Bar
from slaf_cli.report import edge, print_json

if TYPE_CHECKING:
    from slaf import Repaired

__all__ = ["repair"]


@options.takes(
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
            help="An input that DATASET was made of; of several name all in their order, each "
            "with --from; a folder stands for all that is in it. Damage to an index, or to what "
            "Lance notes of a commit, needs none. What is damaged decides time.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Write again what is damaged of a dataset.

    Every file is held against its checksum. Only what is in the damaged ones is read from the
    inputs, and has to have the digests that were taken during the conversion: else nothing is
    changed. A repair that was stopped is finished by the same command.
    """
    with edge(quiet=quiet, verbose=verbose):
        import slaf

        with Bar(shown=not quiet) as bar:
            repaired = slaf.repair(
                dataset,
                inputs or None,
                **chosen,
                progress=bar,
            )
        _print(repaired, json=json)


def _print(repaired: Repaired, *, json: bool) -> None:
    if json:
        print_json(repaired.to_json())
        return
    if not repaired.damaged:
        typer.echo(f"{repaired.dataset}: nothing is damaged ({repaired.files:,} files)")
        return
    for damaged in repaired.damaged:
        typer.echo(f"mended {damaged}")
    typer.echo(
        f"{repaired.dataset}: {len(repaired.damaged):,} of {repaired.files:,} files mended, "
        "all as they were converted"
    )
