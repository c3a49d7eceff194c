"""Formats out: each a file of this folder, and a line in `FORMATS`."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from slaf.dataset.dataset import Dataset, open_dataset
from slaf.errors import TargetError
from slaf.runtime.progress import NullProgress
from slaf.storage.urls import local_path
from slaf.targets import FORMATS
from slaf.targets.base import TargetFormat, WriteOptions
from slaf.targets.contents import contents_of
from slaf.targets.destination import destination_at

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from slaf.dataset.selection import Indexer
    from slaf.options import ArrayCompression, Layout
    from slaf.runtime.progress import Progress
    from slaf.storage.location import Location
    from slaf.targets.destination import Destination

__all__ = ["ExportReport", "export"]

_DEFAULT_MEMORY = 128 << 20
Choice = TypeVar("Choice", bound=str)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote.

    Attributes
    ----------
    output
        Where it is.
    format
        The name of its format.
    n_cells, n_genes
        The shape.
    bytes
        Its size on disk.
    left_out
        What the format cannot hold of the dataset, or holds otherwise, in words.
    """

    output: str
    format: str
    n_cells: int
    n_genes: int
    bytes: int
    left_out: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `slaf export --json` prints it."""
        return asdict(self)


def export(
    dataset: str | os.PathLike[str] | Location | Dataset,
    output: str | os.PathLike[str],
    *,
    format: str | None = None,
    cells: Indexer = None,
    genes: Indexer = None,
    layout: Layout | None = None,
    compression: ArrayCompression | None = None,
    memory: int | None = None,
    scratch: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    strict: bool = False,
    storage_options: Mapping[str, str] | None = None,
    input_storage_options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Write a dataset, or a part of it, as a file or folder of another format.

    Values get the type back that the source had them in. Until the output is whole, and on disk
    or in its bucket, nothing is at its place, whatever becomes of this process.

    Parameters
    ----------
    dataset
        A published dataset, or the URL of one in a bucket.
    output
        What does not exist yet: a path, above which folders are made, or a URL in a bucket.
    format
        "h5ad", "zarr", "10x_h5", "10x_mtx" or "tiledb"; by the suffix of the output if None.
    cells, genes
        What to take, as for `Dataset.read`.
    layout
        "csr" or "csc", of h5ad and zarr; "csr" if None.
    compression
        Of h5ad "gzip" (if None), "zstd", "lzf" or "none"; of zarr "zstd" (if None), "gzip" or
        "none".
    memory
        Bytes that sorting for "csc" may take; 128 MiB if None.
    scratch
        The directory for what does not fit in `memory`, the output's parent if None; and for an
        output in a bucket, which is written there first, the system's for temporary files.
    overwrite
        Replace an output of the same format.
    strict
        Refuse to write what the format cannot hold whole.
    storage_options
        How to reach a bucket, by the names that Lance and obstore have for it; what is not said
        is taken from the environment.
    input_storage_options
        The same for the bucket of the dataset; `storage_options` if None.
    progress
        Told how far it is: an object with the two methods of `slaf.runtime.progress.Progress`.

    Returns
    -------
    Exported
        What was written, and what was left out.

    Raises
    ------
    TargetError
        If the format is not known or cannot hold a value; with `strict`, anything.
    SelectionError
        If cells or genes asked for are not there.
    ConflictError
        If the output is there already, or another process writes it.
    StorageError
        If the disk or a bucket refuses.
    """
    opened = (
        dataset
        if isinstance(dataset, Dataset)
        else open_dataset(dataset, storage_options=input_storage_options or storage_options)
    )
    place = destination_at(output, storage_options)
    chosen = _format_of(place, format)
    place.refuse_if_there(chosen, overwrite=overwrite)
    place.refuse_within(opened.location)
    directory = place.scratch if scratch is None else local_path(scratch)
    options = WriteOptions(
        _choice(chosen, "layout", layout, chosen.layouts) or "csr",
        _choice(chosen, "compression", compression, chosen.compressions) or "gzip",
        _DEFAULT_MEMORY if memory is None else memory,
        directory,
    )
    contents = contents_of(opened, cells, genes)
    target = chosen.open(contents, options)
    left_out = target.left_out()
    _announce(chosen, left_out, strict=strict)
    size = place.publish(
        target.write,
        chosen,
        overwrite=overwrite,
        scratch=directory,
        seen=progress or NullProgress(),
    )
    return ExportReport(str(place), chosen.name, *contents.x.shape, size, left_out)


def _format_of(place: Destination, name: str | None) -> TargetFormat:
    """The format that is named, or that the suffix of the output stands for."""
    for found in FORMATS:
        if found.name == name or (name is None and place.name.endswith(found.suffixes)):
            return found
    if name is not None:
        msg = f"there is no format {name!r} to export to; choose one of {_names()}"
    else:
        msg = f"{place}: its suffix stands for no format; name one with --format: {_names()}"
    raise TargetError(msg)


def _names() -> str:
    return ", ".join(
        f"{found.name} ({' '.join(found.suffixes)})" if found.suffixes else found.name
        for found in FORMATS
    )


def _choice(
    chosen: TargetFormat, what: str, value: Choice | None, choices: tuple[Choice, ...]
) -> Choice | None:
    """What was chosen where the format leaves a choice, or its default."""
    if value is None:
        return choices[0] if choices else None
    if value not in choices:
        have = f"choose one of {', '.join(choices)}" if choices else "it leaves none to choose"
        msg = f"{chosen.description} has no {what} {value!r}; {have}"
        raise TargetError(msg)
    return value


def _announce(chosen: TargetFormat, left_out: tuple[str, ...], *, strict: bool) -> None:
    """Say what does not fit before anything is written, or end there."""
    if not left_out:
        return
    listed = f"{chosen.description} does not hold all of the dataset: {'; '.join(left_out)}"
    if strict:
        raise TargetError(listed)
    logger.warning("%s", listed)
