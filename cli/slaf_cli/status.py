"""`slaf status`: how far a conversion is."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from slaf.options import AppendOptions, ConvertOptions, Options, options_of
from slaf_cli import options
from slaf_cli.report import edge, lines, print_json

if TYPE_CHECKING:
    from slaf import ConversionStatus

__all__ = ["status"]


@options.takes(ConvertOptions, "storage_options")
def status(
    output: Annotated[
        str,
        typer.Argument(metavar="OUTPUT", help="The output of a conversion.", show_default=False),
    ],
    chosen: options.Chosen,
    *,
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Say how far a conversion is.

    Of one that was stopped, the command that finishes it is said too.
    """
    with edge(quiet=False, verbose=verbose):
        from slaf.runs.status import status as look

        found = look(output, **chosen)
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
    if "anndata" in {source.format for source in found.sources}:
        return f"call slaf.{found.operation} in Python again, with the same inputs and options"
    record: type[Options] = ConvertOptions if found.operation == "convert" else AppendOptions
    first = found.sources[0]
    chosen = {
        **found.options,
        **first.choice,
        "matrix": first.matrix,
        "cell_id_prefix": any(source.prefix for source in found.sources),
    }
    if found.operation == "append" and "expression_by_gene" not in found.tables:
        chosen["by_gene"] = chosen["by_gene"] or None
    words = ["slaf", found.operation, *(source.uri for source in found.sources), found.place]
    for name, option in options_of(record).items():
        words += options.words_of(option, chosen.get(name, option.default))
    return shlex.join(words)
