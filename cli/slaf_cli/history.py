"""`slaf history`: the versions of a dataset."""

from __future__ import annotations

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.report import print_json

__all__ = ["history"]


@options.command(ConvertOptions, "storage_options")
def history(
    dataset: options.Dataset,
    chosen: options.Chosen,
    *,
    json: options.Json = False,
) -> None:
    """List the versions of a dataset, the newest last.

    The version before an annotation is kept until the next run; `slaf.open(DATASET, version=N)`
    opens it.
    """
    import slaf

    versions = slaf.history(dataset, **chosen)
    if json:
        print_json({"versions": [version.to_json() for version in versions]})
        return
    for version in versions:
        shape = f"{version.n_cells:,} cells × {version.n_genes:,} genes"
        kept = "" if version.is_kept else "  (its files are gone)"
        made = f"{version.version:>4}  {version.published_at}  {version.operation:<8}"
        typer.echo(f"{made}  {shape}{kept}")
