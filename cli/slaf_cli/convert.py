"""`slaf convert`: inputs into a dataset."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from slaf_cli import options
from slaf_cli.report import edge
from slaf_cli.running import print_preview, watched

__all__ = ["convert"]


def convert(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help=f"The inputs: {options.INPUTS}.", show_default=False
        ),
    ],
    output: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUT",
            help="A directory that does not exist yet, or its URL.",
            show_default=False,
        ),
    ],
    *,
    matrix: options.Matrix = "X",
    genome: options.Genome = None,
    feature_type: options.FeatureType = None,
    measurement: options.Measurement = None,
    layers: options.Layers = "all",
    no_raw: options.NoRaw = False,
    without: options.Without = None,
    uns_merge: options.UnsMerging = options.UnsMerge.UNIQUE,
    format: options.Format = None,
    genes: options.Genes = options.GeneSet.STRICT,
    cell_id_prefix: options.CellIdPrefix = False,
    allow_duplicate: options.AllowDuplicate = False,
    compression: Annotated[
        options.Compression,
        typer.Option(help="Bytes against time: about 2.9, 2.4 or 1.7 bytes a nonzero for counts."),
    ] = options.Compression.BALANCED,
    chunk_size: options.ChunkSize = None,
    compact: options.Compact = False,
    indices: Annotated[
        bool,
        typer.Option(
            "--indices",
            help="Also index the ids of cells and genes: time and bytes for quicker look-ups.",
        ),
    ] = False,
    by_gene: Annotated[
        bool,
        typer.Option(
            "--by-gene",
            help="Also write the nonzeros in the order of genes, for genes to be read as fast as "
            "cells are: two and a half times the time, and half as many bytes again.",
        ),
    ] = False,
    string_ids: Annotated[
        bool,
        typer.Option(
            "--string-ids",
            help="Also store the ids of cell and gene as text with each nonzero, for readers that "
            "look nothing up: more time and bytes.",
        ),
    ] = False,
    plain_types: Annotated[
        bool,
        typer.Option(
            "--plain-types",
            help="Store int32 ids and float32 values (float64 where that alone is exact), for "
            "readers that know no unsigned integers: more bytes.",
        ),
    ] = False,
    workers: options.Workers = None,
    memory: options.Memory = None,
    scratch: options.Scratch = None,
    dry_run: options.DryRun = False,
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
    storage_option: options.StorageOption = None,
    input_storage_option: options.InputStorageOption = None,
    stage: options.Stage = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Convert inputs into a dataset.

    Cells of several inputs follow each other, and their genes are aligned by id. Until every part
    is on disk there is no dataset at OUTPUT. A conversion that was stopped is finished by the same
    command.
    """
    with edge(quiet=quiet, verbose=verbose):
        import slaf

        reach = options.key_values(storage_option)
        asked: dict[str, Any] = {
            "matrix": matrix,
            "genome": genome,
            "feature_type": feature_type,
            "measurement": measurement,
            "layers": options.chosen_layers(layers),
            "raw": not no_raw,
            "without": options.chosen_without(without),
            "uns_merge": uns_merge,
            "format": format,
            "genes": genes,
            "cell_id_prefix": cell_id_prefix,
            "allow_duplicate": allow_duplicate,
            "compression": compression,
            "chunk_size": chunk_size,
            "compact": compact,
            "create_indices": indices,
            "string_ids": string_ids,
            "by_gene": by_gene,
            "plain_types": plain_types,
            "workers": options.chosen_workers(workers),
            "memory": memory,
            "scratch": scratch,
            "overwrite": overwrite,
            "restart": restart,
            "storage_options": reach,
            "input_storage_options": options.input_key_values(input_storage_option),
            "stage": stage,
        }
        if dry_run:
            print_preview(slaf.preview(inputs, output, **asked), json=json)
            return
        with watched(output, reach, quiet=quiet, json=json) as bar:
            slaf.convert(inputs, output, **asked, progress=bar)
