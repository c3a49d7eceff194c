"""Progress, summary and dry run of `convert` and `append`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from slaf_cli.log import FILE_ONLY, logger
from slaf_cli.progress import Bar, cost, with_cost
from slaf_cli.report import (
    RESUMABLE,
    annotation_rows,
    exit_code,
    in_bytes,
    left_out_rows,
    lines,
    print_json,
)

if TYPE_CHECKING:
    from slaf import DatasetInfo, Preview
    from slaf.format.config import SourceRecord

__all__ = ["print_preview", "watched"]

# Most inputs that a preview lists.
_LISTED = 10


@contextmanager
def watched(
    output: str, storage_options: Mapping[str, str], *, quiet: bool, json: bool
) -> Iterator[Bar]:
    """Show progress during a run, and at its end a summary of the dataset."""
    from slaf.dataset.info import dataset_info

    began = time.monotonic()
    with Bar(shown=not quiet) as bar, _note_how_to_resume(output, storage_options):
        yield bar
    dataset = dataset_info(output, storage_options=storage_options)
    _print_summary(dataset, time.monotonic() - began, json=json)


@contextmanager
def _note_how_to_resume(output: str, storage_options: Mapping[str, str]) -> Iterator[None]:
    """Add to the error of a run that can be resumed how to do so."""
    try:
        yield
    except BaseException as stop:  # also Ctrl-C and SIGTERM
        if exit_code(stop) in RESUMABLE:
            stop.add_note(_how_to_resume(output, storage_options))
        raise


def _how_to_resume(output: str, storage_options: Mapping[str, str]) -> str:
    from slaf import status
    from slaf.errors import NotADataset, StorageError, UnsupportedFormat

    try:
        unfinished = status(output, storage_options=storage_options)
    except NotADataset:
        return f"nothing was written to {output}"
    except UnsupportedFormat:
        return f"{output} is what it was: run the same command again to finish"
    except StorageError:
        return "what was done so far is kept: run the same command again to finish"
    if not unfinished.parts:
        return f"there is a finished dataset at {output}"
    return (
        f"{unfinished.parts_done} of {unfinished.parts} parts are in {output}: "
        "run the same command again to finish"
    )


def _print_summary(dataset: DatasetInfo, seconds: float, *, json: bool) -> None:
    summary = (
        f"{dataset.location}: {dataset.n_cells:,} cells × {dataset.n_genes:,} genes, "
        f"{dataset.nonzeros:,} nonzeros ({dataset.value_type}), {in_bytes(dataset.bytes)}; "
        f"{cost(seconds)}"
    )
    logger.info("%s", summary, extra=FILE_ONLY)
    if json:
        print_json(with_cost(dataset.to_json(), seconds))
    else:
        typer.echo(summary)


def print_preview(preview: Preview, *, json: bool) -> None:
    """Print the result of a dry run."""
    if json:
        print_json(preview.to_json())
        return
    extent, expected = preview.size, preview.estimate
    about = "" if extent.exact else "about "
    scratch = f", and {in_bytes(expected.scratch)} of scratch" if expected.scratch else ""
    free = "" if preview.free is None else f" of {in_bytes(preview.free)}"
    resumed = f", of which {preview.parts_done:,} are done" if preview.parts_done else ""
    counts = f"; whole numbers are in {', '.join(preview.counts_in)}" if preview.counts_in else ""
    matrices = ", ".join(dict.fromkeys(source.matrix for source in preview.sources))
    dtypes = ", ".join(dict.fromkeys(source.dtype for source in preview.sources))
    several = preview.operation == "append" or len(preview.sources) > 1
    again = "; all rows are written again" if preview.rewrites else ""
    typer.echo(
        lines(
            [
                ("inputs" if len(preview.sources) > 1 else "input", _listed(preview.sources)),
                ("matrix", f"{matrices} ({extent.layout}, {dtypes}){counts}"),
                ("shape", f"{preview.n_cells:,} cells × {preview.n_genes:,} genes"),
                *([("genes in all", f"{preview.shared_genes:,}")] if several else []),
                ("nonzeros", f"{about}{extent.entries:,}"),
                ("output", preview.output),
                ("values", f"{preview.value_type}, or wider if a value asks for it"),
                ("parts", f"{preview.parts:,}{resumed}{again}"),
                ("disk", f"about {in_bytes(expected.bytes)}{free}{scratch}"),
                ("memory", f"about {in_bytes(expected.memory)}"),
                ("time", f"about {expected.seconds:,.0f} s"),
                *annotation_rows(preview.annotations),
                ("not converted", "\n".join(preview.not_converted) or "nothing"),
                *left_out_rows(preview.left_out),
                *([("note", "\n".join(preview.notes))] if preview.notes else []),
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
