"""Formats in: each a file of this folder, and a line in `FORMATS`."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from slaf.errors import MissingMatrix, NoSuchInput
from slaf.options import ReadOptions
from slaf.sources.anndata import h5ad
from slaf.sources.base import HasSource
from slaf.sources.concat.members import Input
from slaf.sources.detect import detect, expand_glob, find_inputs
from slaf.sources.feature_types import of_feature_type
from slaf.sources.names import cell_id_prefixes
from slaf.sources.soma import experiment as soma
from slaf.sources.tenx import h5 as tenx_h5
from slaf.sources.tenx import mtx as tenx_mtx
from slaf.storage.download import download
from slaf.storage.paths import as_remote, input_path, is_anndata, reopened
from slaf.storage.urls import local_path, redacted

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from slaf.sources.base import Inputs, Source, SourceFormat

__all__ = ["FORMATS", "as_inputs", "choices_of", "open_source"]

logger = logging.getLogger("slaf")
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
    return _open(*detect(path, FORMATS, format), options)


def as_inputs(
    what: Inputs,
    format: str | None,
    options: ReadOptions,
    *,
    prefixed: bool = False,
    before: Sequence[str] = (),
) -> list[Input]:
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
    prefixed
        Put the name of its input before each cell id.
    before
        The URIs of earlier inputs, whose names and prefixes must differ.

    Raises
    ------
    UnknownFormat
        If the format of one is not known.
    NoSuchInput
        If there is nothing at a path, or the list is empty.
    """
    opens: list[tuple[str, Callable[[ReadOptions], Source]]] = []
    n_in_memory = sum(uri.startswith("<AnnData") for uri in before)
    several: Sequence[Any] = what if isinstance(what, list | tuple) else [what]
    for one in several:
        if isinstance(one, HasSource):
            opens.append((one.as_source().info.uri, partial(_open_view, one)))
            continue
        if is_anndata(one):
            n_in_memory += 1
            opens.append(("AnnData", partial(_open_anndata, one, number=n_in_memory)))
            continue
        for path in expand_glob(input_path(one, options.storage_options)):
            files, others = find_inputs(path, FORMATS, format)
            if others:
                names = ", ".join(other.name for other in others)
                logger.info("%s: no inputs, and left out: %s", redacted(str(path)), names)
            opens += [(str(file), partial(_open, reopened(file), known)) for file, known in files]
    if not opens:
        msg = "there is no input; name at least one"
        raise NoSuchInput(msg)
    uris = [uri for uri, _ in opens]
    prefixes = [""] * len(uris)
    if prefixed:
        prefixes = list(cell_id_prefixes([*before, *uris])[len(before) :])
    return [
        Input(uri, opening, options, prefix)
        for (uri, opening), prefix in zip(opens, prefixes, strict=True)
    ]


def _open_anndata(adata: Any, options: ReadOptions, number: int = 1) -> Source:
    from slaf.sources.anndata.memory import AnnDataSource

    _check_choices("the AnnData", frozenset(), options)
    return AnnDataSource(adata, options, number)


def _open_view(view: HasSource, options: ReadOptions) -> Source:
    source = view.as_source()
    _check_choices(f"{source.info.uri}, a view,", frozenset(), options)
    if options.matrix not in {"X", source.info.matrix}:
        msg = f"{source.info.uri}: a view has its matrix; choose another where slaf.scan makes it"
        raise MissingMatrix(msg)
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
        for path in expand_glob(input_path(one, storage_options))
        for _, known in find_inputs(path, FORMATS, format)[0]
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
    if options.feature_type is None:
        return source
    with ExitStack() as closing:
        closing.enter_context(source)
        subset = of_feature_type(source, options.feature_type)
        closing.pop_all()
    return subset


def _check_choices(label: str, choices: frozenset[str], options: ReadOptions) -> None:
    for name in options.choice():
        if name not in choices:
            option = f"--{name.replace('_', '-')}"
            msg = f"{label} has no {name.replace('_', ' ')} to choose; leave {option} out"
            raise MissingMatrix(msg)
