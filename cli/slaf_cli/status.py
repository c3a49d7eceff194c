"""`slaf status`: how far a conversion is."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slaf_cli import options
from slaf_cli.report import edge, lines, print_json

if TYPE_CHECKING:
    from slaf import RunStatus

__all__ = ["status"]


def status(
    output: Annotated[
        Path,
        typer.Argument(metavar="OUTPUT", help="The output of a conversion.", show_default=False),
    ],
    *,
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Say how far a running or stopped conversion is, and how to resume it."""
    with edge(quiet=False, verbose=verbose):
        from slaf.inspection import status as look

        found = look(output)
        resume = _command(found)
        if json:
            print_json(found.to_json() | {"resume": resume})
        else:
            typer.echo(lines(_rows(found, resume)))


def _rows(found: RunStatus, resume: str | None) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [("output", found.place), ("state", _state(found))]
    if found.source is not None:
        rows += [
            ("input", f"{found.source.uri} ({found.source.format}, {found.source.matrix})"),
            ("cells", f"{found.cells_done:,} of {found.n_cells:,}"),
            ("nonzeros", f"{found.nonzeros_done:,}"),
        ]
    if found.parts:
        rows.insert(3, ("parts", f"{found.parts_done:,} of {found.parts:,}"))
    if resume is not None and found.state == "stopped":
        rows.append(("resume", resume))
    return rows


def _state(found: RunStatus) -> str:
    if not found.published:
        return str(found.state)
    if found.parts:
        return f"{found.state}; the dataset that it replaces is there to read meanwhile"
    return f"{found.state}; `slaf info {shlex.quote(found.place)}` describes the dataset"


def _command(found: RunStatus) -> str | None:
    """What to run to finish."""
    if found.source is None or found.options is None:
        return None
    chosen = found.options
    in_python = chosen["string_ids"] or chosen["plain_types"] or chosen["compact"]
    if in_python or found.source.format == "anndata":
        return "call slaf in Python again, with the same input and options"
    words = ["slaf", "convert", found.source.uri, found.place]
    if chosen["matrix"] != "X":
        words += ["--matrix", chosen["matrix"]]
    for name, value in found.source.choice.items():
        words += [f"--{name.replace('_', '-')}", value]
    if chosen.get("layers", "all") != "all":
        layers = chosen["layers"]
        words += ["--layers", layers if isinstance(layers, str) else ",".join(layers)]
    if not chosen.get("raw", True):
        words += ["--no-raw"]
    if chosen["compression"] != options.Compression.BALANCED:
        words += ["--compression", chosen["compression"]]
    if chosen["chunk_size"] is not None:
        words += ["--chunk-size", str(chosen["chunk_size"])]
    if chosen["create_indices"]:
        words += ["--indices"]
    return shlex.join(words)
