"""`slaf export`: write a dataset as a file or folder of another format."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slaf.options import ArrayCompression, ConvertOptions, Layout, Strand
from slaf_cli import options
from slaf_cli.progress import Bar, cost, with_cost
from slaf_cli.report import RESUMABLE, exit_code, in_bytes, print_json

if TYPE_CHECKING:
    from slaf import ExportReport

__all__ = ["export", "note_about_output", "print_report"]


@options.command(ConvertOptions, "storage_options", "input_storage_options")
def export(
    dataset: options.Dataset,
    output: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUT",
            help="A path or URL that does not exist yet: a name that ends with .h5ad, .zarr, "
            ".h5 (10x), .soma or .tiledb, or any name with --format.",
            show_default=False,
        ),
    ],
    chosen: options.Chosen,
    *,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The format (h5ad, zarr, 10x_h5, 10x_mtx, tiledb, scdl or bigwig), where the name "
            "of OUTPUT does not say it. It decides time and bytes.",
        ),
    ] = None,
    cells: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="Only these cells, in every slot: a condition on the table of cells. Fewer take "
            "less time and bytes.",
        ),
    ] = None,
    genes: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="Only these genes, in every slot but raw: a condition on the table of genes. "
            "Fewer take fewer bytes.",
        ),
    ] = None,
    layout: Annotated[
        Layout | None,
        typer.Option(
            metavar="csr|csc",
            help="How h5ad and zarr hold the matrix: csr (the default) cell after cell, csc gene "
            "after gene, which takes more time.",
            show_default=False,
        ),
    ] = None,
    compression: Annotated[
        ArrayCompression | None,
        typer.Option(
            metavar="gzip|zstd|lzf|none",
            help="How h5ad (gzip by default) and zarr (zstd by default; no lzf) are packed: bytes "
            "against time. zstd takes the fewest bytes; anndata reads it once hdf5plugin is "
            "imported.",
            show_default=False,
        ),
    ] = None,
    strand: Annotated[
        Strand | None,
        typer.Option(
            metavar="+|-",
            help="For bigwig: only the fragments of this strand, of reads converted with "
            "--stranded.",
        ),
    ] = None,
    cpm: Annotated[
        bool,
        typer.Option(
            "--cpm", help="For bigwig: depth per million reads that count, instead of depth."
        ),
    ] = False,
    memory: Annotated[
        int | None,
        typer.Option(
            parser=options.parse_bytes,
            metavar="SIZE",
            help="Memory that sorting for csc may take, as in 512M or 2G; 128M by default. With "
            "much less it takes more time.",
        ),
    ] = None,
    scratch: Annotated[
        Path | None,
        typer.Option(
            metavar="DIRECTORY",
            help="Directory for sorting what does not fit in --memory, by default next to OUTPUT, "
            "and for an output that is then uploaded to a bucket, by default among the system's "
            "temporary files. A fast disk takes less time.",
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Write nothing if the format cannot hold all of the dataset, instead of listing "
            "what is left out.",
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace an output of the same format, which stays until the new one is whole: "
            "until then bytes for both.",
        ),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a dataset in another format.

    All of DATASET, or a part of it, becomes a file or a folder. Content that the format cannot hold
    is listed first. Until all is on disk, or in the bucket, OUTPUT does not exist.
    """
    import slaf

    began = time.monotonic()
    with Bar(shown=not quiet) as bar, note_about_output(output):
        reach = chosen.get("input_storage_options") or chosen.get("storage_options")
        exported = slaf.export(
            slaf.open(dataset, storage_options=reach)[cells, genes],
            output,
            format=format,
            layout=layout,
            compression=compression,
            strand=strand,
            cpm=cpm,
            memory=memory,
            scratch=scratch,
            overwrite=overwrite,
            strict=strict,
            **chosen,
            progress=bar,
        )
    print_report(exported, time.monotonic() - began, json=json)


@contextmanager
def note_about_output(output: str) -> Iterator[None]:
    """Add to the error of a stopped export that OUTPUT is never half written."""
    from slaf.storage.urls import redacted

    try:
        yield
    except BaseException as stop:  # also Ctrl-C and SIGTERM
        if exit_code(stop) in RESUMABLE:
            stop.add_note(f"{redacted(output)} is whole or not there: run the same command again")
        raise


def print_report(exported: ExportReport, seconds: float, *, json: bool) -> None:
    """Print what was written, and what it took."""
    if json:
        print_json(with_cost(exported.to_json(), seconds))
        return
    typer.echo(
        f"{exported.output}: {exported.n_cells:,} cells × {exported.n_genes:,} genes "
        f"({exported.format}), {in_bytes(exported.bytes)}; {cost(seconds)}"
    )
