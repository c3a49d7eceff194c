"""`slaf region`: print the coverage of a region."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slaf.options import ConvertOptions, Normalization, Strand
from slaf_cli import options
from slaf_cli.report import print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["region"]

_COLUMNS = ("sample", "contig", "start", "stop", "depth")


@options.command(ConvertOptions, "storage_options")
def region(
    dataset: options.Dataset,
    bases: Annotated[
        str,
        typer.Argument(
            metavar="REGION",
            help="As in BED, from 0 and half-open: chr1:100-200 has 100 bases; chr1 is a whole "
            "contig.",
            show_default=False,
        ),
    ],
    chosen: options.Chosen,
    *,
    samples: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Only these samples, in this order.", show_default=False),
    ] = None,
    strand: Annotated[
        Strand | None,
        typer.Option(
            metavar="+|-",
            help="Only the fragments of this strand, of reads converted with --stranded.",
        ),
    ] = None,
    normalize: Annotated[
        Normalization | None,
        typer.Option(
            metavar="cpm|rpkm",
            help="Depth per million reads that count (cpm), or 1,000 times as much (rpkm).",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Print the depth of the bases of a region.

    A row is a run of bases of equal depth. Bases of no depth are left out.
    """
    import slaf

    view = slaf.open(dataset, **chosen)
    selected = view if samples is None else view[samples.split(",")]
    rows = list(selected.coverage_runs(bases, strand=strand, normalize=normalize))
    if json:
        runs = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        print_json({"region": bases, "runs": runs})
    else:
        sys.stdout.writelines(_lines(rows))


def _lines(rows: list[tuple[Any, ...]]) -> Iterator[str]:
    yield "\t".join(_COLUMNS) + "\n"
    for row in rows:
        yield "\t".join(map(str, row)) + "\n"
