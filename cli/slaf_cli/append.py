"""`slaf append`: more cells for a dataset."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from slaf_cli import options
from slaf_cli.report import edge
from slaf_cli.running import print_preview, watched

__all__ = ["append"]


def append(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help=f"The inputs: {options.INPUTS}.", show_default=False
        ),
    ],
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="A dataset.", show_default=False)
    ],
    *,
    matrix: Annotated[
        str | None,
        typer.Option(
            metavar="X|raw|layer:NAME",
            help="Which matrix of the inputs; the one that DATASET was made of, by default. Its "
            "nonzeros decide time and bytes.",
        ),
    ] = None,
    genome: options.Genome = None,
    feature_type: options.FeatureType = None,
    measurement: options.Measurement = None,
    format: options.Format = None,
    genes: Annotated[
        options.AddedGenes,
        typer.Option(
            help="strict refuses inputs whose genes are not those of DATASET; union puts genes "
            "that it has not behind those that it has, which takes more bytes.",
        ),
    ] = options.AddedGenes.STRICT,
    cell_id_prefix: options.CellIdPrefix = False,
    allow_duplicate: options.AllowDuplicate = False,
    without: options.Without = None,
    by_gene: Annotated[
        bool | None,
        typer.Option(
            "--by-gene/--no-by-gene",
            help="Write all nonzeros in the order of genes too, anew with each append: time and "
            "bytes; or leave that out from now on. By default DATASET stays with them or without.",
            show_default=False,
        ),
    ] = None,
    chunk_size: options.ChunkSize = None,
    compact: options.Compact = False,
    workers: options.Workers = None,
    memory: options.Memory = None,
    scratch: options.Scratch = None,
    dry_run: options.DryRun = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Discard an unfinished append at DATASET: its time is lost."
        ),
    ] = False,
    storage_option: options.StorageOption = None,
    input_storage_option: options.InputStorageOption = None,
    stage: options.Stage = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Add the cells of inputs to a dataset.

    Genes are aligned by id. Until every cell is on disk, readers see DATASET as it was. An append
    that was stopped is finished by the same command.
    """
    with edge(quiet=quiet, verbose=verbose):
        import slaf

        reach = options.key_values(storage_option)
        asked: dict[str, Any] = {
            "matrix": matrix,
            "genome": genome,
            "feature_type": feature_type,
            "measurement": measurement,
            "format": format,
            "genes": genes,
            "cell_id_prefix": cell_id_prefix,
            "allow_duplicate": allow_duplicate,
            "without": options.chosen_without(without),
            "by_gene": by_gene,
            "chunk_size": chunk_size,
            "compact": compact,
            "workers": options.chosen_workers(workers),
            "memory": memory,
            "scratch": scratch,
            "restart": restart,
            "storage_options": reach,
            "input_storage_options": options.input_key_values(input_storage_option),
            "stage": stage,
        }
        if dry_run:
            print_preview(slaf.preview_append(inputs, dataset, **asked), json=json)
            return
        with watched(dataset, reach, quiet=quiet, json=json) as bar:
            slaf.append(inputs, dataset, **asked, progress=bar)
