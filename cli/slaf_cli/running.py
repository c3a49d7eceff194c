"""What `convert` and `append` share: the watched run, its summary, and what would be done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from slaf_cli.progress import Bar, peak_memory
from slaf_cli.report import RESUMABLE, exit_code, in_bytes, lines, print_json

if TYPE_CHECKING:
    from slaf import DatasetInfo, Preview
    from slaf.format.config import SourceRecord

__all__ = ["print_preview", "watched"]

# Of many inputs so many are listed.
_LISTED = 10


@contextmanager
def watched(
    output: str, storage_options: Mapping[str, str], *, quiet: bool, json: bool
) -> Iterator[Bar]:
    """Show how far a run is, and at its end the dataset that it made."""
    from slaf.dataset.info import dataset_info

    began = time.monotonic()
    with Bar(shown=not quiet) as bar, _saying_how_to_resume(output, storage_options):
        yield bar
    made = dataset_info(output, storage_options=storage_options)
    _print_summary(made, time.monotonic() - began, json=json)


@contextmanager
def _saying_how_to_resume(output: str, storage_options: Mapping[str, str]) -> Iterator[None]:
    """Add to what stops a conversion, but leaves it to be finished, how that is done."""
    try:
        yield
    except BaseException as stop:
        if exit_code(stop) in RESUMABLE:
            stop.add_note(_how_to_resume(output, storage_options))
        raise


def _how_to_resume(output: str, storage_options: Mapping[str, str]) -> str:
    from slaf import status
    from slaf.errors import NotADataset, StorageError, UnsupportedFormat

    try:
        found = status(output, storage_options=storage_options)
    except NotADataset:
        return f"nothing was written to {output}"
    except UnsupportedFormat:
        return f"{output} is what it was: run the same command again to finish"
    except StorageError:
        return "what was done so far is kept: run the same command again to finish"
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
        f"{made.location}: {made.n_cells:,} cells × {made.n_genes:,} genes, "
        f"{made.nonzeros:,} nonzeros ({made.value_type}), {in_bytes(made.bytes)}; "
        f"{seconds:.1f} s, {in_bytes(peak_memory())} of memory at most"
    )


def print_preview(found: Preview, *, json: bool) -> None:
    """Print what would be done."""
    if json:
        print_json(found.to_json())
        return
    size, estimate = found.size, found.estimate
    about = "" if size.exact else "about "
    scratch = f", and {in_bytes(estimate.scratch)} of scratch" if estimate.scratch else ""
    free = "" if found.free is None else f" of {in_bytes(found.free)}"
    resumed = f", of which {found.parts_done:,} are done" if found.parts_done else ""
    counts = f"; whole numbers are in {', '.join(found.counts_in)}" if found.counts_in else ""
    matrices = ", ".join(dict.fromkeys(source.matrix for source in found.sources))
    dtypes = ", ".join(dict.fromkeys(source.dtype for source in found.sources))
    several = found.operation == "append" or len(found.sources) > 1
    again = "; all rows are written again" if found.rewrites else ""
    typer.echo(
        lines(
            [
                ("inputs" if len(found.sources) > 1 else "input", _listed(found.sources)),
                ("matrix", f"{matrices} ({size.layout}, {dtypes}){counts}"),
                ("shape", f"{found.n_cells:,} cells × {found.n_genes:,} genes"),
                *([("genes in all", f"{found.shared_genes:,}")] if several else []),
                ("nonzeros", f"{about}{size.entries:,}"),
                ("output", found.output),
                ("values", f"{found.value_type}, or wider if a value asks for it"),
                ("parts", f"{found.parts:,}{resumed}{again}"),
                ("disk", f"about {in_bytes(estimate.bytes)}{free}{scratch}"),
                ("memory", f"about {in_bytes(estimate.memory)}"),
                ("time", f"about {estimate.seconds:,.0f} s"),
                *([("annotations", "\n".join(found.annotations))] if found.annotations else []),
                ("not converted", "\n".join(found.not_converted) or "nothing"),
                *([("note", "\n".join(found.notes))] if found.notes else []),
            ]
        )
    )


def _listed(sources: Sequence[SourceRecord]) -> str:
    if len(sources) == 1:
        return f"{sources[0].uri} ({sources[0].format})"
    shown = [
        f"{source.uri} ({source.format}): {source.n_cells:,} cells × {source.n_genes:,} genes"
        for source in sources[:_LISTED]
    ]
    more = [f"and {len(sources) - _LISTED:,} more"] if len(sources) > _LISTED else []
    return "\n".join([*shown, *more])
