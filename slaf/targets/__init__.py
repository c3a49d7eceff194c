"""Formats out: each a file of this folder, and a line in `FORMATS`."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from slaf.dataset import Dataset, open_dataset
from slaf.errors import TargetError
from slaf.progress import Unwatched
from slaf.storage import Location, on_disk
from slaf.targets import h5ad, soma, tenx_h5, tenx_mtx, zarr
from slaf.targets.apart import apart
from slaf.targets.base import Compression, Layout, Target, TargetFormat, WriteOptions
from slaf.targets.contents import contents_of
from slaf.targets.publish import publication, refuse_if_there, workshop_of

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    from slaf.progress import Progress
    from slaf.selection import Selector

__all__ = ["FORMATS", "Exported", "Target", "TargetFormat", "export"]

FORMATS: tuple[TargetFormat, ...] = (
    h5ad.FORMAT,
    zarr.FORMAT,
    tenx_h5.FORMAT,
    tenx_mtx.FORMAT,
    soma.FORMAT,
)

_DEFAULT_MEMORY = 128 << 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Exported:
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
    cells: Selector = None,
    genes: Selector = None,
    layout: str | None = None,
    compression: str | None = None,
    memory: int | None = None,
    scratch: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    strict: bool = False,
    storage_options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write a dataset, or a part of it, as a file or folder of another format.

    Values get the type back that the source had them in. Until the output is whole and on disk
    nothing is at its place, whatever becomes of this process.

    Parameters
    ----------
    dataset
        A published dataset, or the URL of one in a bucket.
    output
        What does not exist yet, on this machine; folders above it are made.
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
        The directory for what does not fit in `memory`; the output's parent if None.
    overwrite
        Replace an output of the same format.
    strict
        Refuse to write what the format cannot hold whole.
    storage_options
        How to reach the bucket of the dataset, by the names that Lance and obstore have for it;
        what is not said is taken from the environment.
    progress
        Told how far it is: an object with the two methods of `slaf.progress.Progress`.

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
        If the disk refuses.
    """
    opened = (
        dataset
        if isinstance(dataset, Dataset)
        else open_dataset(dataset, storage_options=storage_options)
    )
    path = on_disk(output)
    chosen = _format_of(path, format)
    refuse_if_there(path, chosen.is_one, overwrite=overwrite)
    _refuse_inside(path, opened)
    directory = path.absolute().parent if scratch is None else on_disk(scratch)
    options = WriteOptions(
        Layout(_choice(chosen, "layout", layout, chosen.layouts) or Layout.CSR),
        Compression(
            _choice(chosen, "compression", compression, chosen.compressions) or Compression.GZIP
        ),
        _DEFAULT_MEMORY if memory is None else memory,
        directory,
    )
    contents = contents_of(opened, cells, genes)
    target = chosen.open(contents, options)
    left_out = target.left_out()
    _announce(chosen, left_out, strict=strict)
    with publication(
        path, chosen.is_one, overwrite=overwrite, workshop=workshop_of(path)
    ) as workplace:
        apart(partial(target.write, workplace), progress or Unwatched())
    return Exported(str(path), chosen.name, *contents.x.shape, _size(path), left_out)


def _refuse_inside(path: Path, dataset: Dataset) -> None:
    """Check that the output would not lie among the files of the dataset."""
    if dataset.location.is_remote:
        return
    if dataset.location.path.resolve() in path.resolve().parents:
        msg = f"{path}: it would lie in the dataset; name an output outside of it"
        raise TargetError(msg)


def _format_of(path: Path, name: str | None) -> TargetFormat:
    """The format that is named, or that the suffix of the output stands for."""
    for found in FORMATS:
        if found.name == name or (name is None and path.name.endswith(found.suffixes)):
            return found
    if name is not None:
        msg = f"there is no format {name!r} to export to; choose one of {_names()}"
    else:
        msg = f"{path}: its suffix stands for no format; name one with --format: {_names()}"
    raise TargetError(msg)


def _names() -> str:
    return ", ".join(
        f"{found.name} ({' '.join(found.suffixes)})" if found.suffixes else found.name
        for found in FORMATS
    )


def _choice(chosen: TargetFormat, what: str, value: str | None, choices: tuple[str, ...]) -> str:
    """What was chosen where the format leaves a choice, or its default."""
    if value is None:
        return choices[0] if choices else ""
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


def _size(path: Path) -> int:
    if path.is_dir():
        return Location(path).size()
    return path.stat().st_size
