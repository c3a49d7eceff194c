"""The arguments and options that commands share."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "INPUT",
    "INPUTS",
    "AddedGenes",
    "AllowDuplicate",
    "CellIdPrefix",
    "ChunkSize",
    "Compact",
    "Compression",
    "DryRun",
    "FeatureType",
    "Format",
    "GeneSet",
    "Genes",
    "Genome",
    "InputStorageOption",
    "Json",
    "Layers",
    "Matrix",
    "Measurement",
    "Memory",
    "NoRaw",
    "Quiet",
    "Scratch",
    "Stage",
    "StorageOption",
    "UnsMerge",
    "UnsMerging",
    "Verbose",
    "Without",
    "Workers",
    "chosen_layers",
    "chosen_without",
    "chosen_workers",
    "input_key_values",
    "key_values",
    "parse_bytes",
]

INPUT = "an .h5ad file, a 10x .h5 file or folder of matrix.mtx, or a TileDB-SOMA experiment"
INPUTS = f"{INPUT}; a folder stands for all that is in it"

# What reads HDF5 and TileDB is one thread at a time: more hardly find anything to do.
_MOST_WORKERS = 8
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


class Compression(StrEnum):
    """What `--compression` takes: the names that the library has for it.

    It is not imported from there because that would import numpy and pyarrow for `--help`.
    """

    FAST = "fast"
    BALANCED = "balanced"
    SMALL = "small"


class GeneSet(StrEnum):
    """What `--genes` takes, likewise."""

    STRICT = "strict"
    UNION = "union"
    INTERSECTION = "intersection"


class UnsMerge(StrEnum):
    """What `--uns-merge` takes, likewise."""

    SAME = "same"
    UNIQUE = "unique"
    FIRST = "first"
    ONLY = "only"


class AddedGenes(StrEnum):
    """What `--genes` takes where genes cannot be left out any more."""

    STRICT = "strict"
    UNION = "union"


def parse_bytes(text: str) -> int:
    """A number of bytes, as in 512M or 2G (powers of 1024).

    Raises
    ------
    typer.BadParameter
        If it is not one.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    number = float(match[1]) * (1 << _UNITS[match[2].upper()]) if match else 0
    if number < 1:
        msg = f"{text!r} is not a size; write it as 512M or 2G"
        raise typer.BadParameter(msg)
    return int(number)


def key_values(pairs: list[str] | None, option: str = "--storage-option") -> dict[str, str]:
    """What was given to an option as KEY=VALUE, by its key.

    Raises
    ------
    typer.BadParameter
        If one is not of that form. Its text, which may be secret, is not shown.
    """
    found: dict[str, str] = {}
    for pair in pairs or ():
        key, sign, value = pair.partition("=")
        if not (key and sign):
            msg = "an option is not of the form KEY=VALUE"
            raise typer.BadParameter(msg, param_hint=option)
        found[key] = value
    return found


def input_key_values(pairs: list[str] | None) -> dict[str, str]:
    """The same of `--input-storage-option`."""
    return key_values(pairs, "--input-storage-option")


def chosen_without(names: list[str] | None) -> tuple[str, ...]:
    """What `--without` says.

    Raises
    ------
    typer.BadParameter
        If it is nothing that an input can have.
    """
    from slaf.options import SlotSelection

    try:
        return SlotSelection(without=tuple(names or ())).without
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--without") from None


def chosen_layers(text: str) -> str | list[str]:
    """What `--layers` says, as the library takes it."""
    return text if text in {"all", "none", "strict"} else [name for name in text.split(",") if name]


Matrix = Annotated[
    str,
    typer.Option(
        metavar="X|raw|layer:NAME",
        help="Which matrix of the input. Its nonzeros decide time and bytes.",
    ),
]
Genome = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Which genome of a 10x H5 file of several. Its nonzeros decide time and bytes.",
    ),
]
FeatureType = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Which features of a 10x matrix, like 'Gene Expression'; all by default. Fewer take "
        "fewer bytes.",
    ),
]
Measurement = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Which measurement of a TileDB-SOMA experiment; RNA, or the only one, by default. "
        "Its nonzeros decide time and bytes.",
    ),
]
Layers = Annotated[
    str,
    typer.Option(
        metavar="all|none|strict|A,B",
        help="Which further matrices go along: all, none, or some by name. Their nonzeros add time "
        "and bytes. strict takes all, and refuses inputs of which one lacks a layer, raw or an "
        "element of obsm or obsp that another has.",
    ),
]
NoRaw = Annotated[
    bool,
    typer.Option(
        "--no-raw",
        help="Leave out what AnnData calls raw, where it is not the matrix: less time and bytes.",
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Leave out a slot, like uns, or one element, like obsm:X_pca: less time and bytes. "
        "May be repeated.",
    ),
]
UnsMerging = Annotated[
    UnsMerge,
    typer.Option(
        help="What becomes of uns of several inputs: what is the same in all, what has one value "
        "only, the first value, or what one input alone has. That of each is kept besides. Changes "
        "no time, few bytes.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The format of the input (h5ad, 10x_h5, 10x_mtx or tiledb) where its content leaves "
        "a doubt. Changes no time, memory or bytes.",
    ),
]
Memory = Annotated[
    int | None,
    typer.Option(
        parser=parse_bytes,
        metavar="SIZE",
        help="Memory that sorting may take where the input is not in the order of cells, as in "
        "512M or 2G; by default a quarter of what the machine or the container has free, at most "
        "2G. It takes no more than it needs; with much less it takes more time.",
    ),
]
Scratch = Annotated[
    Path | None,
    typer.Option(
        metavar="DIRECTORY",
        help="Where sorting puts what does not fit in --memory; beside the dataset by default. "
        "A fast disk takes less time.",
    ),
]
Genes = Annotated[
    GeneSet,
    typer.Option(
        help="Which genes of several inputs, which are aligned by their ids: strict refuses "
        "inputs that have not the same, union takes all, intersection those that all have. "
        "Fewer take fewer bytes.",
    ),
]
CellIdPrefix = Annotated[
    bool,
    typer.Option(
        "--cell-id-prefix",
        help="Put the name of its input before each cell id, which makes ids that occur in "
        "several unique. A few bytes a cell.",
    ),
]
AllowDuplicate = Annotated[
    bool,
    typer.Option(
        "--allow-duplicate",
        help="Take an input once more that is there already: time and bytes for both.",
    ),
]
ChunkSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="CELLS",
        help="Cells written and checkpointed at a time; by default about 32 million "
        "nonzeros. Fewer lose less to an interruption, and take more time and bytes.",
    ),
]
Compact = Annotated[
    bool,
    typer.Option(
        "--compact",
        help="Gather chunks, however small, into parts of about 32 million nonzeros: less time and "
        "bytes than --chunk-size alone, and more lost to an interruption.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Parts that are encoded at once, each by a thread of its own. Default: as many as "
        "there are cores for this process, at most 8.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print what would be done, refuse what cannot work, and write nothing.",
    ),
]
StorageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--storage-option",
        metavar="KEY=VALUE",
        help="How to reach a bucket, by the names that Lance and obstore have for it; may be given "
        "several times. What is secret is better left to the environment. Time-outs and retries "
        "change the time.",
        show_default=False,
    ),
]
InputStorageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input-storage-option",
        metavar="KEY=VALUE",
        help="The same for the bucket of the input, where that is reached in another way; then "
        "none of --storage-option holds for the input.",
        show_default=False,
    ),
]
Stage = Annotated[
    Path | None,
    typer.Option(
        metavar="DIRECTORY",
        help="Download an input from a bucket or the web into this directory first, and keep it "
        "there: takes its bytes on disk. By default only what is needed is fetched.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="No progress bar and no notes; warnings and errors still appear."
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Also log every change on disk, and show tracebacks of errors."
    ),
]


def chosen_workers(given: int | None) -> int:
    """The threads that encode parts."""
    from slaf.runtime.resources import cpu_count

    return min(cpu_count(), _MOST_WORKERS) if given is None else given
