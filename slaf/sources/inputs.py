"""The formats to read, and inputs of them: found, opened, and opened again by their records."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from slaf.errors import MissingMatrix, NoSuchInput, UnknownFormat
from slaf.options import ReadOptions
from slaf.sources import REGISTERED, loom, mudata, scdl
from slaf.sources.anndata import h5ad, zarr
from slaf.sources.bam import source as bam
from slaf.sources.base import HasSource
from slaf.sources.concat.members import Input
from slaf.sources.detect import format_named
from slaf.sources.feature_types import FEATURE_TYPE, subset_or_close
from slaf.sources.search import find_inputs
from slaf.sources.soma import experiment as soma
from slaf.sources.tenx import h5 as tenx_h5
from slaf.sources.tenx import mtx as tenx_mtx
from slaf.storage.download import download
from slaf.storage.paths import as_remote, input_path, is_anndata, reopened
from slaf.storage.urls import local_path, redacted

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from slaf.format.config import SourceRecord
    from slaf.sources.base import Inputs, Source, SourceFormat
    from slaf.sources.search import LeftOut

__all__ = [
    "FORMATS",
    "InputList",
    "as_inputs",
    "choices_of",
    "open_source",
    "recorded_input",
]

logger = logging.getLogger("slaf")

# The paths that a message lists.
_LISTED = 3

FORMATS: list[SourceFormat] = REGISTERED
FORMATS[:0] = [
    h5ad.FORMAT,
    zarr.FORMAT,
    mudata.FORMAT,
    loom.FORMAT,
    tenx_h5.FORMAT,
    tenx_mtx.FORMAT,
    soma.FORMAT,
    scdl.FORMAT,
    bam.FORMAT,
]


def open_source(
    what: str | os.PathLike[str] | Any,
    format: str | None = None,
    options: ReadOptions | None = None,
) -> Source:
    """Open an input for reading.

    Parameters
    ----------
    what
        A path or a URL, or an AnnData in memory.
    format
        The name of a format; detected by content if None.
    options
        The matrix to read, and the memory for sorting.

    Raises
    ------
    UnknownFormat
        If its format is not known.
    MissingMatrix
        If it lacks what the options choose.
    InputError
        If it cannot be converted.
    StorageError
        If it cannot be read.
    """
    options = options or ReadOptions()
    if isinstance(what, HasSource):
        return _open_view(what, options)
    if is_anndata(what):
        return _open_anndata(what, options)
    path = input_path(what, options.storage_options)
    (first, known), *others = find_inputs(path, FORMATS, format).inputs
    if others:
        names = ", ".join(str(one) for one, _ in [(first, known), *others])
        msg = f"{path}: it holds several inputs; name one of them: {names}"
        raise UnknownFormat(msg)
    return _open(first, known, options)


@dataclass(frozen=True, slots=True)
class InputList:
    """Inputs that were found, and files that are none.

    Attributes
    ----------
    inputs
        Each to be opened when it is read.
    left_out
        Other files of the folders, and the reason for each.
    """

    inputs: list[Input]
    left_out: tuple[LeftOut, ...]

    @property
    def places(self) -> list[str]:
        """The paths and URLs of what is read."""
        return [
            place
            for one in self.inputs
            for place in ((one.uri,) if one.reads is None else one.reads)
        ]


def as_inputs(
    what: Inputs,
    format: str | None,
    options: ReadOptions,
    *,
    before: Sequence[str] = (),
) -> InputList:
    """Find all inputs, each to be opened when it is read.

    Parameters
    ----------
    what
        A path, a URL, an AnnData in memory, or a list of these; a folder means all inputs in it,
        and a pattern like ``samples/*.h5ad`` all that match.
    format
        The format of all; detected by content if None.
    options
        The matrix to read, and the memory for sorting.
    before
        The URIs of earlier inputs, from which those in memory are told apart.

    Raises
    ------
    UnknownFormat
        If the format of one is not known.
    NoSuchInput
        If there is nothing at a path, or the list is empty.
    """
    found: list[Input] = []
    left_out: list[LeftOut] = []
    n_in_memory = sum(uri.startswith("<AnnData") for uri in before)
    for at, one in enumerate(what if isinstance(what, list | tuple) else [what]):
        if isinstance(one, HasSource):
            info = one.as_source().info
            found.append(Input(info.uri, partial(_open_view, one), options, reads=info.places))
            continue
        if is_anndata(one):
            n_in_memory += 1
            opens = partial(_open_anndata, one, number=n_in_memory)
            found.append(Input("AnnData", opens, options, reads=()))
            continue
        inside = find_inputs(input_path(one, options.storage_options), FORMATS, format)
        left_out += inside.left_out
        folder = at if len(inside.inputs) > 1 else None
        found += [
            Input(
                str(file),
                partial(_open, reopened(file), known),
                options,
                folder=folder,
                choices=known.choices,
            )
            for file, known in inside.inputs
        ]
    if not found:
        msg = "there is no input; name at least one"
        raise NoSuchInput(msg)
    _check_named_tables(len(found), options)
    _log_left_out(left_out)
    return InputList(found, tuple(left_out))


def recorded_input(
    record: SourceRecord, options: ReadOptions, directory: str | os.PathLike[str]
) -> Input:
    """An input that a plan or a dataset records, to be opened where it is.

    Parameters
    ----------
    record
        The record, whose choices take precedence over the options.
    options
        How it is read.
    directory
        The directory of a relative path.

    Raises
    ------
    UnknownFormat
        If its format is not known here.
    """
    choice: dict[str, Any] = dict(record.choice)
    options = replace(options, matrix=record.matrix, **choice)
    path = input_path(record.uri, options.storage_options)
    if as_remote(path) is None:
        path = directory / path
    format = format_named(record.format, FORMATS)
    return Input(
        str(path),
        partial(_open, path, format),
        options,
        record.prefix,
        sample=record.sample,
        sheet=record.sheet,
    )


def _check_named_tables(n_inputs: int, options: ReadOptions) -> None:
    named = [f"--{name}" for name in ("barcodes", "features") if getattr(options, name) is not None]
    if named and n_inputs > 1:
        msg = (
            f"{' and '.join(named)} name tables of one matrix, but there are {n_inputs:,} inputs; "
            "convert one, and add each of the others with `slaf append`"
        )
        raise UnknownFormat(msg)


def _log_left_out(left_out: Sequence[LeftOut]) -> None:
    """Log what is in the folders and not taken, by reason."""
    by_reason: dict[str, list[str]] = {}
    for one in left_out:
        by_reason.setdefault(one.reason, []).append(redacted(one.path))
    for reason, paths in by_reason.items():
        more = f", and {len(paths) - _LISTED:,} more" if len(paths) > _LISTED else ""
        logger.info("left out, %s: %s%s", reason, ", ".join(paths[:_LISTED]), more)


def _open_anndata(adata: Any, options: ReadOptions, number: int = 1) -> Source:
    from slaf.sources.anndata.memory import AnnDataSource

    _check_choices("the AnnData", frozenset(), options)
    source = AnnDataSource(adata, options, number)
    source.reading = options
    return source


def _open_view(view: HasSource, options: ReadOptions) -> Source:
    source = view.as_source()
    _check_choices(f"{source.info.uri}, a view,", frozenset(), options)
    if options.matrix not in {"X", source.info.matrix}:
        msg = f"{source.info.uri}: a view has its matrix; choose another where slaf.scan makes it"
        raise MissingMatrix(msg)
    source.reading = options
    return source


def choices_of(
    what: Inputs, format: str | None, storage_options: Mapping[str, str] | None = None
) -> frozenset[str]:
    """The further choices that all of these inputs have: genome, feature type, measurement.

    Raises
    ------
    UnknownFormat, NoSuchInput
        As `as_inputs` does.
    """
    several: Sequence[Any] = what if isinstance(what, list | tuple) else [what]
    choices = [
        known.choices
        for one in several
        if not (is_anndata(one) or isinstance(one, HasSource))
        for _, known in find_inputs(input_path(one, storage_options), FORMATS, format).inputs
    ]
    return frozenset.intersection(*choices) if choices else frozenset()


def _open(path: Path, format: SourceFormat, options: ReadOptions) -> Source:
    _check_choices(f"{path} ({format.description})", format.choices, options)
    remote = as_remote(path)
    if remote is None or options.stage is None:
        source = format.open(reopened(path), options)
    else:
        source = format.open(download(remote, local_path(options.stage)), options)
        source.info = replace(source.info, uri=str(remote))
    source.reading = options
    if options.feature_type is None:
        return source
    return subset_or_close(source, FEATURE_TYPE, options.feature_type)


def _check_choices(label: str, choices: frozenset[str], options: ReadOptions) -> None:
    for name, value in options.choice().items():
        if name not in choices:
            option = f"--{'no-' if value is False else ''}{name.replace('_', '-')}"
            msg = f"{label} has no {name.replace('_', ' ')} to choose; leave {option} out"
            raise MissingMatrix(msg)
