"""`slaf convert`: an input into a dataset."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slaf_cli import options
from slaf_cli.progress import Bar, peak_memory
from slaf_cli.report import ExitCode, edge, exit_code, in_bytes, lines, print_json

if TYPE_CHECKING:
    from slaf import DatasetInfo, Preview

__all__ = ["convert"]

_RESUMABLE = {ExitCode.STORAGE, ExitCode.INTERRUPTED, ExitCode.TERMINATED}


def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help=f"The input: {options.INPUT}.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT", help="A directory that does not exist yet.", show_default=False
        ),
    ],
    *,
    matrix: options.Matrix = "X",
    genome: options.Genome = None,
    feature_type: options.FeatureType = None,
    measurement: options.Measurement = None,
    layers: options.Layers = "all",
    no_raw: options.NoRaw = False,
    format: options.Format = None,
    compression: Annotated[
        options.Compression,
        typer.Option(help="Bytes against time: about 2.9, 2.4 or 1.7 bytes a nonzero for counts."),
    ] = options.Compression.BALANCED,
    chunk_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="CELLS",
            help="Cells written and checkpointed at a time; by default about 32 million "
            "nonzeros. Fewer lose less to an interruption, and take more time and bytes.",
        ),
    ] = None,
    indices: Annotated[
        bool,
        typer.Option(
            "--indices",
            help="Also index the ids of cells and genes: time and bytes for quicker look-ups.",
        ),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Threads that encode parts: more memory, and less time where cores are idle.",
        ),
    ] = 0,
    memory: options.Memory = None,
    scratch: options.Scratch = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print what would be done, refuse what cannot work, and write nothing.",
        ),
    ] = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Discard an unfinished conversion at OUTPUT: its time is lost."
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace the dataset at OUTPUT, which stays readable until the new one is "
            "whole: until then bytes for both.",
        ),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Convert INPUT into a dataset, or finish a conversion that was stopped.

    Resuming is the same command. Until every part is on disk there is no dataset at OUTPUT.
    """
    with edge(quiet=quiet, verbose=verbose):
        import slaf
        from slaf.inspection import dataset_info

        asked: dict[str, Any] = {
            "matrix": matrix,
            "genome": genome,
            "feature_type": feature_type,
            "measurement": measurement,
            "layers": options.chosen_layers(layers),
            "raw": not no_raw,
            "format": format,
            "compression": compression,
            "chunk_size": chunk_size,
            "create_indices": indices,
            "workers": workers,
            "memory": memory,
            "scratch": scratch,
            "overwrite": overwrite,
            "restart": restart,
        }
        if dry_run:
            _print_preview(slaf.preview(source, output, **asked), json=json)
            return
        began = time.monotonic()
        with Bar(shown=not quiet) as bar, _saying_how_to_resume(output):
            slaf.convert(source, output, **asked, progress=bar)
        _print_summary(dataset_info(output), time.monotonic() - began, json=json)


@contextmanager
def _saying_how_to_resume(output: Path) -> Iterator[None]:
    """Add to what stops a conversion, but leaves it to be finished, how that is done."""
    try:
        yield
    except BaseException as stop:
        if exit_code(stop) in _RESUMABLE:
            stop.add_note(_how_to_resume(output))
        raise


def _how_to_resume(output: Path) -> str:
    from slaf import status
    from slaf.errors import NotADataset

    try:
        found = status(output)
    except NotADataset:
        return f"nothing was written to {output}"
    if not found.parts:
        return f"there is a finished dataset at {output}"
    return (
        f"{found.parts_done} of {found.parts} parts are in {output}: run the same command again "
        "to finish"
    )


def _print_summary(made: DatasetInfo, seconds: float, *, json: bool) -> None:
    if json:
        print_json(made.to_json() | {"seconds": round(seconds, 3), "peak_memory": peak_memory()})
        return
    typer.echo(
        f"{made.place}: {made.n_cells:,} cells × {made.n_genes:,} genes, "
        f"{made.nonzeros:,} nonzeros ({made.value_type}), {in_bytes(made.bytes)}; "
        f"{seconds:.1f} s, {in_bytes(peak_memory())} of memory at most"
    )


def _print_preview(found: Preview, *, json: bool) -> None:
    if json:
        print_json(found.to_json())
        return
    source, extent, expected = found.source, found.extent, found.expected
    about = "" if extent.exact else "about "
    scratch = f", and {in_bytes(expected.scratch)} of scratch" if expected.scratch else ""
    resumed = f", of which {found.parts_done:,} are done" if found.parts_done else ""
    counts = f"; whole numbers are in {', '.join(found.counts_in)}" if found.counts_in else ""
    typer.echo(
        lines(
            [
                ("input", f"{source.uri} ({source.format})"),
                ("matrix", f"{source.matrix} ({extent.layout}, {source.dtype}){counts}"),
                ("shape", f"{source.n_cells:,} cells × {source.n_genes:,} genes"),
                ("nonzeros", f"{about}{extent.entries:,}"),
                ("output", found.output),
                ("values", f"{found.value_type}, or wider if a value asks for it"),
                ("parts", f"{found.parts:,}{resumed}"),
                ("disk", f"about {in_bytes(expected.bytes)} of {in_bytes(found.free)}{scratch}"),
                ("memory", f"about {in_bytes(expected.memory)}"),
                ("time", f"about {expected.seconds:,.0f} s"),
                *([("beside", "\n".join(found.beside))] if found.beside else []),
                ("not converted", "\n".join(found.left_behind) or "nothing"),
            ]
        )
    )
