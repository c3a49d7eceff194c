"""`slaf status`: how far a conversion is."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slaf_cli import options
from slaf_cli.report import edge, lines, print_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slaf import ConversionStatus

__all__ = ["status"]

# The options that are on or off, by their name in Python.
_FLAGS = {
    "create_indices": "--indices",
    "string_ids": "--string-ids",
    "plain_types": "--plain-types",
}


def status(
    output: Annotated[
        str,
        typer.Argument(metavar="OUTPUT", help="The output of a conversion.", show_default=False),
    ],
    *,
    storage_option: options.StorageOption = None,
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Say how far a conversion is.

    Of one that was stopped, the command that finishes it is said too.
    """
    with edge(quiet=False, verbose=verbose):
        from slaf.runs.status import status as look

        found = look(output, storage_options=options.key_values(storage_option))
        resume = _command(found)
        if json:
            print_json(found.to_json() | {"resume": resume})
        else:
            typer.echo(lines(_rows(found, resume)))


def _rows(found: ConversionStatus, resume: str | None) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [("output", found.place), ("state", _state(found))]
    if found.sources:
        rows += [
            ("input", "\n".join(f"{s.uri} ({s.format}, {s.matrix})" for s in found.sources)),
            ("cells", f"{found.cells_done:,} of {found.n_cells:,}"),
            ("nonzeros", f"{found.nonzeros_done:,}"),
        ]
    if found.parts:
        rows.insert(3, ("parts", f"{found.parts_done:,} of {found.parts:,}"))
    if found.options is not None and found.options.get("by_gene"):
        rows.append(("genes", f"{found.genes_done:,} of {found.n_genes:,} in their own order"))
    if resume is not None and found.state == "stopped":
        rows.append(("resume", resume))
    return rows


def _state(found: ConversionStatus) -> str:
    if not found.published:
        return str(found.state)
    if found.parts:
        verb = {"convert": "replaces", "repair": "mends", "compact": "merges"}.get(
            found.operation, "adds to"
        )
        return f"{found.state}; the dataset that it {verb} is there to read meanwhile"
    return f"{found.state}; `slaf info {shlex.quote(found.place)}` describes the dataset"


def _command(found: ConversionStatus) -> str | None:
    """What to run to finish."""
    if found.operation in {"repair", "compact"}:
        inputs = [word for source in found.sources for word in ("--from", source.uri)]
        words = inputs if found.operation == "repair" else []
        return shlex.join(["slaf", found.operation, found.place, *words])
    if not found.sources or found.options is None:
        return None
    chosen = found.options
    converting = found.operation == "convert"
    if "anndata" in {source.format for source in found.sources}:
        return f"call slaf.{found.operation} in Python again, with the same inputs and options"
    words = ["slaf", found.operation, *(source.uri for source in found.sources), found.place]
    if chosen["matrix"] != "X" or not converting:
        words += ["--matrix", chosen["matrix"]]
    for name, value in found.sources[0].choice.items():
        words += [f"--{name.replace('_', '-')}", value]
    if chosen["genes"] != options.GeneSet.STRICT:
        words += ["--genes", chosen["genes"]]
    if any(source.prefix for source in found.sources):
        words += ["--cell-id-prefix"]
    for name in chosen.get("without", ()):
        words += ["--without", name]
    words += _of_chunks(chosen)
    words += _of_converting(chosen) if converting else []
    return shlex.join([*words, *_order_of_genes(found, chosen)])


def _of_chunks(chosen: Mapping[str, Any]) -> list[str]:
    words = [] if chosen["chunk_size"] is None else ["--chunk-size", str(chosen["chunk_size"])]
    return [*words, "--compact"] if chosen["compact"] else words


def _order_of_genes(found: ConversionStatus, chosen: Mapping[str, Any]) -> list[str]:
    if chosen.get("by_gene"):
        return ["--by-gene"]
    left_out = found.operation == "append" and "expression_by_gene" in found.tables
    return ["--no-by-gene"] if left_out else []


def _of_converting(chosen: Mapping[str, Any]) -> list[str]:
    """The options that an append does not have."""
    words = []
    if chosen["compression"] != options.Compression.BALANCED:
        words += ["--compression", chosen["compression"]]
    for name, flag in _FLAGS.items():
        if chosen[name]:
            words += [flag]
    layers = chosen.get("layers", "all")
    if layers != "all":
        words += ["--layers", layers if isinstance(layers, str) else ",".join(layers)]
    if not chosen.get("raw", True):
        words += ["--no-raw"]
    merge = chosen.get("uns_merge", options.UnsMerge.UNIQUE)
    return words if merge == options.UnsMerge.UNIQUE else [*words, "--uns-merge", merge]
