"""slaf.export: a dataset, or a part of it, as a file or folder of another format."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from slaf.dataset.dataset import View, open_dataset
from slaf.errors import TargetError
from slaf.options import ReadOptions
from slaf.runtime.progress import NullProgress
from slaf.storage.overlap import check_apart
from slaf.storage.urls import local_path
from slaf.targets import FORMATS
from slaf.targets.base import TargetFormat, WriteOptions
from slaf.targets.contents import contents_of
from slaf.targets.destination import destination_at
from slaf.targets.export_size import check_export_space

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from slaf.options import ArrayCompression, Layout, Strand
    from slaf.runtime.progress import Progress
    from slaf.storage.location import Location

__all__ = ["ExportReport", "check_format", "export"]

_DEFAULT_MEMORY = 128 << 20
Choice = TypeVar("Choice", bound=str)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """Format, shape and size of an output.

    Attributes
    ----------
    output
        The path or URL.
    format
        The name of the format.
    n_cells, n_genes
        The shape.
    bytes
        The size on disk.
    left_out
        Messages about contents that the format cannot hold, or holds in another form.
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
    dataset: str | os.PathLike[str] | Location | View,
    output: str | os.PathLike[str],
    *,
    format: str | None = None,
    layout: Layout | None = None,
    compression: ArrayCompression | None = None,
    strand: Strand | None = None,
    cpm: bool = False,
    memory: int | None = None,
    scratch: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    strict: bool = False,
    storage_options: Mapping[str, str] | None = None,
    input_storage_options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Write a dataset, or a part of it, as a file or folder of another format.

    Values have the type of the source. The output appears at once when all of it is on disk or in
    its bucket; if the process is killed before, no output exists.

    Parameters
    ----------
    dataset
        A published dataset or its path or URL, or a view of one or of inputs, as
        ``dataset["cell_type = 'B cell'"]``.
    output
        A path, whose parent folders are created, or a URL in a bucket.
    format
        "h5ad", "zarr", "10x_h5", "10x_mtx", "tiledb", "scdl" or "bigwig"; by the suffix of the
        output if None.
    layout
        "csr" or "csc", for h5ad and zarr; "csr" if None.
    compression
        For h5ad "gzip" (if None), "zstd", "lzf" or "none"; for zarr "zstd" (if None), "gzip" or
        "none".
    strand
        For bigwig, "+" or "-": the fragments of one strand; all if None.
    cpm
        For bigwig, divide depths by the millions of reads of the sample.
    memory
        Bytes that sorting for "csc" may take; 128 MiB if None.
    scratch
        The directory for what does not fit in `memory`, and for an output in a bucket, which is
        written there first. If None, the output's parent, or the system's temporary directory.
    overwrite
        Whether to replace an output of the same format.
    strict
        Whether to raise an error if the format cannot hold all of the dataset.
    storage_options
        Storage options of the bucket, by the names of Lance and obstore; other options are taken
        from the environment.
    input_storage_options
        Storage options of the dataset's bucket; `storage_options` if None.
    progress
        An object with the two methods of `slaf.runtime.progress.Progress`.

    Returns
    -------
    ExportReport
        Format, shape and size of the output, and what was left out.

    Raises
    ------
    TargetError
        If the format is unknown or cannot hold a value; with `strict`, any of the contents.
    ConflictError
        If the output exists, or another process writes it.
    StorageError
        If a disk or bucket fails.
    """
    opened = (
        dataset
        if isinstance(dataset, View)
        else open_dataset(dataset, storage_options=input_storage_options or storage_options)
    )
    if opened.n_obs == 0 < opened.origin.n_obs:
        logger.warning("%s: no cell is selected", opened.label)
    destination = destination_at(output, storage_options)
    target_format = _format_of(destination.name, format)
    check_apart(destination, opened.source.info.places)
    destination.check(target_format, overwrite=overwrite)
    directory = destination.scratch if scratch is None else local_path(scratch)
    options = WriteOptions(
        _choice(target_format, "layout", layout, target_format.layouts) or "csr",
        _choice(target_format, "compression", compression, target_format.compressions) or "gzip",
        _DEFAULT_MEMORY if memory is None else memory,
        directory,
        strand,
        cpm,
    )
    if not target_format.has_strands and (strand is not None or cpm):
        msg = f"{target_format.description} has no strands and no counts per million; use bigwig"
        raise TargetError(msg)
    contents = contents_of(opened, ReadOptions(memory=options.memory, scratch=directory))
    target = target_format.open(contents, options)
    left_out = target.left_out
    if contents.coverage is not None and not target_format.has_strands:
        left_out = (*left_out, "coverage is left out")
    _report_left_out(target_format, left_out, strict=strict)
    is_packed = target_format.is_packed and compression != "none"
    staging = destination.staging(directory)
    check_export_space(staging, opened, target_format, is_packed=is_packed)
    size = destination.publish(
        target.write,
        target_format,
        overwrite=overwrite,
        scratch=directory,
        progress=progress or NullProgress(),
    )
    shape = contents.x.shape
    return ExportReport(str(destination), target_format.name, *shape, size, left_out)


def check_format(name: str, compression: ArrayCompression | None) -> None:
    """Check that there is a format of this name, and that it has this compression.

    Raises
    ------
    TargetError
        If not.
    """
    target_format = _format_of("", name)
    _choice(target_format, "compression", compression, target_format.compressions)


def _format_of(output: str, name: str | None) -> TargetFormat:
    """The format of a name, or of the suffix of the output."""
    for each in FORMATS:
        if each.name == name or (name is None and output.endswith(each.suffixes)):
            return each
    names = ", ".join(
        f"{each.name} ({' '.join(each.suffixes)})" if each.suffixes else each.name
        for each in FORMATS
    )
    if name is not None:
        msg = f"there is no format {name!r} to export to; choose one of {names}"
    else:
        msg = f"{output}: no format has this suffix; name one with --format: {names}"
    raise TargetError(msg)


def _choice(
    target_format: TargetFormat, option: str, value: Choice | None, choices: tuple[Choice, ...]
) -> Choice | None:
    """The value of an option, or its default; None if the format has no choices."""
    if value is None:
        return choices[0] if choices else None
    if value not in choices:
        remedy = f"choose one of {', '.join(choices)}" if choices else "leave the option out"
        msg = f"{target_format.description} has no {option} {value!r}; {remedy}"
        raise TargetError(msg)
    return value


def _report_left_out(
    target_format: TargetFormat, left_out: tuple[str, ...], *, strict: bool
) -> None:
    """Log what the format cannot hold, or raise it."""
    if not left_out:
        return
    msg = f"{target_format.description} does not hold all of the dataset: {'; '.join(left_out)}"
    if strict:
        raise TargetError(msg)
    logger.warning("%s", msg)
