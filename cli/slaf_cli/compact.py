"""`slaf compact`: merge the small fragments of many appends, or change the compression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from slaf.options import Compression, ConvertOptions
from slaf_cli import options
from slaf_cli.progress import Bar
from slaf_cli.report import print_json

if TYPE_CHECKING:
    from slaf import CompactReport

__all__ = ["compact"]


@options.command(ConvertOptions, "workers", "restart", "storage_options")
def compact(
    dataset: options.Dataset,
    chosen: options.Chosen,
    *,
    compression: Annotated[
        Compression | None,
        typer.Option(
            help="Write all rows again with this compression, as `slaf convert` would store them: "
            "time, and meanwhile bytes for both. By default it stays.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Merge small fragments, or change the compression.

    Many appends leave small fragments of DATASET. Rows keep their values and order, and each block
    is checked against its digest; fragments that are large enough are kept. Until all is on disk,
    readers see DATASET as it was, and disk space is needed for both. A run that was stopped is
    finished by the same command.
    """
    import slaf

    with Bar(shown=not quiet) as bar:
        compacted = slaf.compact(dataset, compression=compression, **chosen, progress=bar)
    _print(compacted, json=json)


def _print(compacted: CompactReport, *, json: bool) -> None:
    if json:
        print_json(compacted.to_json())
        return
    if not compacted.cells:
        counts = ", ".join(f"{name} {n:,}" for name, n in compacted.before.items())
        typer.echo(f"{compacted.dataset}: nothing to merge (fragments: {counts})")
        return
    counts = ", ".join(
        f"{name} {n:,} → {compacted.after[name]:,}" for name, n in compacted.before.items()
    )
    written = f"{compacted.cells:,} cells written again"
    typer.echo(f"{compacted.dataset}: {written} (fragments: {counts})")
