"""`slaf export`: a dataset into a file or folder of another format."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slaf.options import ArrayCompression, ConvertOptions, Layout
from slaf_cli import options
from slaf_cli.progress import Bar, peak_memory
from slaf_cli.report import RESUMABLE, edge, exit_code, in_bytes, print_json

if TYPE_CHECKING:
    from slaf import Exported

__all__ = ["export"]


@options.takes(ConvertOptions, "storage_options", "input_storage_options")
def export(
    dataset: options.Dataset,
    output: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUT",
            help="What does not exist yet, on a disk or in a bucket: a name that ends with .h5ad, "
            ".zarr, .h5 (10x), .soma or .tiledb, or any with --format.",
            show_default=False,
        ),
    ],
    chosen: options.Chosen,
    *,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The format (h5ad, zarr, 10x_h5, 10x_mtx or tiledb), where the name of OUTPUT "
            "does not say it. It decides time and bytes.",
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
            help="Where sorting puts what does not fit in --memory, beside OUTPUT by default; and "
            "where an output for a bucket is written before it is uploaded, by default among the "
            "system's temporary files. A fast disk takes less time.",
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
    verbose: options.Verbose = False,
) -> None:
    """Write a dataset in another format.

    All of DATASET, or a part of it, becomes a file or a folder. What the format cannot hold is
    listed first. Until all is on disk, or in the bucket, nothing is at OUTPUT.
    """
    with edge(quiet=quiet, verbose=verbose):
        import slaf

        began = time.monotonic()
        with Bar(shown=not quiet) as bar, _saying_what_is_there(output):
            made = slaf.export(
                dataset,
                output,
                format=format,
                cells=cells,
                genes=genes,
                layout=layout,
                compression=compression,
                memory=memory,
                scratch=scratch,
                overwrite=overwrite,
                strict=strict,
                **chosen,
                progress=bar,
            )
        _print(made, time.monotonic() - began, json=json)


@contextmanager
def _saying_what_is_there(output: str) -> Iterator[None]:
    """Add to what stops an export that nothing half-written is to be looked for."""
    from slaf.storage.urls import redacted

    try:
        yield
    except BaseException as stop:
        if exit_code(stop) in RESUMABLE:
            stop.add_note(f"{redacted(output)} is whole or not there: run the same command again")
        raise


def _print(made: Exported, seconds: float, *, json: bool) -> None:
    if json:
        print_json(made.to_json() | {"seconds": round(seconds, 3), "peak_memory": peak_memory()})
        return
    typer.echo(
        f"{made.output}: {made.n_cells:,} cells × {made.n_genes:,} genes ({made.format}), "
        f"{in_bytes(made.bytes)}; {seconds:.1f} s, {in_bytes(peak_memory())} of memory at most"
    )
