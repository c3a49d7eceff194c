"""Formats in: each a file of this folder, and a line in `FORMATS`."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from slaf.errors import MissingMatrix
from slaf.sources import h5ad, soma, tenx_h5, tenx_mtx
from slaf.sources.base import ReadOptions, Source, SourceFormat
from slaf.sources.detect import detect
from slaf.sources.subset import of_feature_type
from slaf.storage import input_path, on_disk, remote
from slaf.storage.staging import staged

if TYPE_CHECKING:
    import os
    from pathlib import Path

__all__ = ["FORMATS", "ReadOptions", "Source", "SourceFormat", "open_source"]

FORMATS: tuple[SourceFormat, ...] = (h5ad.FORMAT, tenx_h5.FORMAT, tenx_mtx.FORMAT, soma.FORMAT)


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
        The name of a format; found by its content if None.
    options
        Which matrix to read, and what sorting it may take.

    Raises
    ------
    UnknownFormat
        If its format is not known.
    MissingMatrix
        If it has not what the options choose.
    InputError
        If it cannot be converted.
    StorageError
        If it cannot be read.
    """
    options = options or ReadOptions()
    if hasattr(what, "obs") and hasattr(what, "var"):
        from slaf.sources.anndata import AnnDataSource

        _refuse_choices("the AnnData", frozenset(), options)
        return AnnDataSource(what, options)
    path, found = detect(input_path(what, options.storage_options), FORMATS, format)
    _refuse_choices(f"{path} ({found.description})", found.choices, options)
    source = _open(path, found, options)
    if options.feature_type is None:
        return source
    with ExitStack() as closing:
        closing.enter_context(source)
        subset = of_feature_type(source, options.feature_type)
        closing.pop_all()
    return subset


def _open(path: Path, found: SourceFormat, options: ReadOptions) -> Source:
    elsewhere = remote(path)
    if elsewhere is None or options.stage is None:
        return found.open(path, options)
    source = found.open(staged(elsewhere, on_disk(options.stage)), options)
    source.uri = str(elsewhere)
    return source


def _refuse_choices(place: str, choices: frozenset[str], options: ReadOptions) -> None:
    for name in options.choice():
        if name not in choices:
            msg = f"{place} has no {name.replace('_', ' ')} to choose"
            raise MissingMatrix(msg)
