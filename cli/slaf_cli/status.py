"""`slaf status`: show the progress of a conversion."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from slaf.options import AppendOptions, ConvertOptions, Options, options_of
from slaf_cli import options
from slaf_cli.report import lines, print_json

if TYPE_CHECKING:
    from slaf import ConversionStatus

__all__ = ["status"]


@options.command(ConvertOptions, "storage_options")
def status(
    output: Annotated[
        str,
        typer.Argument(metavar="OUTPUT", help="The output of a conversion.", show_default=False),
    ],
    chosen: options.Chosen,
    *,
    json: options.Json = False,
) -> None:
    """Show the progress of a conversion.

    For a conversion that was stopped, the command that finishes it is printed too.
    """
    from slaf.runs.status import status as read_status

    run = read_status(output, **chosen)
    resume = _command(run)
    if json:
        print_json(run.to_json() | {"resume": resume})
    else:
        typer.echo(lines(_rows(run, resume)))


def _rows(run: ConversionStatus, resume: str | None) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [("output", run.place), ("state", _state(run))]
    if run.sources:
        rows += [
            ("input", "\n".join(f"{s.uri} ({s.format}, {s.matrix})" for s in run.sources)),
            ("cells", f"{run.cells_done:,} of {run.n_cells:,}"),
            ("nonzeros", f"{run.nonzeros_done:,}"),
        ]
    if run.parts:
        rows.insert(3, ("parts", f"{run.parts_done:,} of {run.parts:,}"))
    if run.options is not None and run.options.get("by_gene"):
        rows.append(("genes", f"{run.genes_done:,} of {run.n_genes:,} in their own order"))
    if run.state == "planned" and run.missing:
        rows.append(("missing", run.missing))
    if run.refused:
        rows.append(("not used", "\n".join(f"{n}: {why}" for n, why in run.refused.items())))
    if resume is not None and run.state in {"stopped", "planned"}:
        rows.append(("resume", resume))
    return rows


# The effect of an operation on the dataset that readers see meanwhile.
_EFFECTS = {
    "convert": "replaces",
    "transform": "replaces",
    "append": "adds to",
    "annotate": "annotates",
    "remove": "removes cells from",
    "repair": "repairs",
    "compact": "merges",
}


def _state(run: ConversionStatus) -> str:
    if not run.published:
        return str(run.state)
    if run.parts:
        verb = _EFFECTS[run.operation]
        return f"{run.state}; the dataset that it {verb} can be read meanwhile"
    return f"{run.state}; `slaf info {shlex.quote(run.place)}` describes the dataset"


def _command(run: ConversionStatus) -> str | None:
    """Command that finishes the run; advice, where the run has no record of its arguments."""
    if run.operation in {"repair", "compact"}:
        inputs = [word for source in run.sources for word in ("--from", source.uri)]
        words = inputs if run.operation == "repair" else []
        return shlex.join(["slaf", run.operation, run.place, *words])
    if run.operation in {"transform", "annotate", "remove"}:
        return f"run the same slaf {run.operation} again, with the same arguments"
    if run.state == "planned":
        return shlex.join(["slaf", "part" if run.missing else "publish", run.place])
    if not run.sources or run.options is None:
        return None
    if "anndata" in {source.format for source in run.sources}:
        return f"call slaf.{run.operation} in Python again, with the same inputs and options"
    record: type[Options] = ConvertOptions if run.operation == "convert" else AppendOptions
    first = run.sources[0]
    chosen = {
        **run.options,
        **first.choice,
        "matrix": first.matrix,
    }
    if run.operation == "append" and "expression_by_gene" not in run.tables:
        chosen["by_gene"] = chosen["by_gene"] or None
    words = ["slaf", run.operation, *(source.uri for source in run.sources), run.place]
    for name, option in options_of(record).items():
        value = chosen.get(name)
        words += options.words_of(option, option.default if value is None else value)
    return shlex.join(words)
