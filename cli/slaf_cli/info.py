"""`slaf info`: what a dataset or an input holds, on one screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.report import edge, in_bytes, lines, print_json

if TYPE_CHECKING:
    from slaf import DatasetInfo, InputInfo

__all__ = ["info"]

_MOST_COLUMNS = 12


@options.takes(
    ConvertOptions, "matrix", "genome", "feature_type", "measurement", "format", "storage_options"
)
def info(
    place: Annotated[
        str,
        typer.Argument(
            metavar="DATASET|INPUT",
            help=f"A dataset, or an input: {options.INPUT}.",
            show_default=False,
        ),
    ],
    chosen: options.Chosen,
    *,
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Describe a dataset, or an input.

    Of an input it is said what converting it would find. The values are not read.
    """
    with edge(quiet=False, verbose=verbose):
        from slaf.dataset.info import DatasetInfo
        from slaf.dataset.info import info as describe

        found = describe(
            place,
            **chosen,
        )
        if json:
            print_json(found.to_json())
        elif isinstance(found, DatasetInfo):
            typer.echo(lines(_dataset_rows(found)))
        else:
            typer.echo(lines(_input_rows(found)))


def _dataset_rows(found: DatasetInfo) -> list[tuple[str, object]]:
    a_nonzero = f", {found.bytes / found.nonzeros:.2f} a nonzero" if found.nonzeros else ""
    return [
        ("dataset", found.location),
        ("shape", f"{found.n_cells:,} cells × {found.n_genes:,} genes"),
        ("nonzeros", f"{found.nonzeros:,} ({found.density:.2%} of all)"),
        ("values", f"{found.value_type}{_statistics(found.statistics)}"),
        ("bytes", f"{found.bytes:,} on disk{a_nonzero}"),
        ("sources", "\n".join(map(_source, found.sources))),
        (
            "tables",
            "\n".join(
                f"{name} version {table.version}, {in_bytes(table.bytes)}"
                for name, table in found.tables.items()
            ),
        ),
        ("obs", _columns(found.obs)),
        ("var", _columns(found.var)),
        *([("annotations", "\n".join(found.annotations))] if found.annotations else []),
        ("written", f"{found.last_updated} by {found.writer}"),
    ]


def _input_rows(found: InputInfo) -> list[tuple[str, object]]:
    return [
        ("input", found.location),
        ("format", found.format),
        ("matrix", f"{found.matrix} (of {', '.join(found.matrices)})"),
        ("shape", f"{found.n_cells:,} cells × {found.n_genes:,} genes"),
        ("values", f"{_entries(found)} of {found.dtype}, {found.size.layout}"),
        ("obs", _columns(found.obs)),
        ("var", _columns(found.var)),
        *([("annotations", "\n".join(found.annotations))] if found.annotations else []),
        ("not converted", "\n".join(found.not_converted) or "nothing"),
    ]


def _entries(found: InputInfo) -> str:
    return f"{'' if found.size.exact else 'about '}{found.size.entries:,}"


def _statistics(statistics: Mapping[str, float | None]) -> str:
    names = {
        "min_value": "least",
        "max_value": "greatest",
        "mean_value": "mean",
        "std_value": "deviation",
    }
    found = {name: statistics.get(key) for key, name in names.items()}
    known = {name: value for name, value in found.items() if value is not None}
    return "".join(f", {name} {value:.6g}" for name, value in known.items())


def _source(source: Any) -> str:
    return (
        f"{source.uri} ({source.format}, {source.matrix}, {source.dtype}, {source.n_cells:,} cells)"
    )


def _columns(columns: Mapping[str, str]) -> str:
    listed = [f"{name} ({dtype})" for name, dtype in columns.items()]
    if len(listed) > _MOST_COLUMNS:
        more = len(listed) - _MOST_COLUMNS
        listed = [*listed[:_MOST_COLUMNS], f"and {more} more (--json lists them)"]
    return ", ".join(listed) or "no columns"
