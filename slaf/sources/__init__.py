"""Formats in: each a file of this folder, and a line in `FORMATS`."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from slaf.errors import MissingMatrix, NoSuchInput
from slaf.options import ReadOptions
from slaf.sources.anndata import h5ad
from slaf.sources.concat.members import Input
from slaf.sources.detect import detect, find_inputs
from slaf.sources.feature_types import of_feature_type
from slaf.sources.glob import expand_glob
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
    if is_anndata(what):
        from slaf.sources.anndata.memory import AnnDataSource

        _refuse_choices("the AnnData", frozenset(), options)
        return AnnDataSource(what, options)
    place = input_path(what, options.storage_options)
    return _open(*detect(place, FORMATS, format), options)


def as_inputs(
    what: Inputs,
    format: str | None,
    options: ReadOptions,
    *,
    prefixed: bool = False,
    before: Sequence[str] = (),
) -> list[Input]:
    """All inputs that something stands for, each to be opened when it is read.

    Parameters
    ----------
    what
        A path, a URL, an AnnData in memory, or a list of these; a folder stands for all inputs
        in it, and a pattern like ``samples/*.h5ad`` for all that match.
    format
        The format of all; found by the content of each if None.
    options
        Which matrix of each to read, and what sorting may take.
    prefixed
        Put the name of its input before each cell id.
    before
        The addresses of inputs that come before these, from which they are told.

    Raises
    ------
    UnknownFormat
        If the format of one is not known.
    NoSuchInput
        If there is nothing at a path, or the list is empty.
    """
    opens: list[tuple[str, Callable[[ReadOptions], Source]]] = []
    in_memory = sum(place.startswith("<AnnData") for place in before)
    several: Sequence[Any] = what if isinstance(what, list | tuple) else [what]
    for one in several:
        if is_anndata(one):
            in_memory += 1
            opens.append(("AnnData", partial(_of_anndata, one, in_memory)))
            continue
        for place in expand_glob(input_path(one, options.storage_options)):
            found, others = find_inputs(place, FORMATS, format)
            if others:
                names = ", ".join(path.name for path in others)
                logger.info("%s: no inputs, and left out: %s", redacted(str(place)), names)
            opens += [(str(path), partial(_open, reopened(path), known)) for path, known in found]
    if not opens:
        msg = "there is no input; name at least one"
        raise NoSuchInput(msg)
    places = [place for place, _ in opens]
    prefixes = [""] * len(places)
    if prefixed:
        prefixes = list(cell_id_prefixes([*before, *places])[len(before) :])
    return [
        Input(place, opening, options, prefix)
        for (place, opening), prefix in zip(opens, prefixes, strict=True)
    ]


def _of_anndata(adata: Any, number: int, options: ReadOptions) -> Source:
    source = open_source(adata, None, options)
    if number > 1:
        # So that errors, and `source_file`, tell it from those before it.
        source.uri = f"<AnnData {number}>"
    return source


def choices_of(
    what: Inputs, format: str | None, storage_options: Mapping[str, str] | None = None
) -> frozenset[str]:
    """What all of these inputs leave to choose, beside the matrix.

    Raises
    ------
    UnknownFormat, NoSuchInput
        As `as_inputs` does.
    """
    several: Sequence[Any] = what if isinstance(what, list | tuple) else [what]
    found = [
        known.choices
        for one in several
        if not is_anndata(one)
        for place in expand_glob(input_path(one, storage_options))
        for _, known in find_inputs(place, FORMATS, format)[0]
    ]
    return frozenset.intersection(*found) if found else frozenset()


def _open(path: Path, found: SourceFormat, options: ReadOptions) -> Source:
    _refuse_choices(f"{path} ({found.description})", found.choices, options)
    source = _opened(path, found, options)
    if options.feature_type is None:
        return source
    with ExitStack() as closing:
        closing.enter_context(source)
        subset = of_feature_type(source, options.feature_type)
        closing.pop_all()
    return subset


def _opened(path: Path, found: SourceFormat, options: ReadOptions) -> Source:
    elsewhere = as_remote(path)
    if elsewhere is None or options.stage is None:
        return found.open(reopened(path), options)
    source = found.open(download(elsewhere, local_path(options.stage)), options)
    source.uri = str(elsewhere)
    return source


def _refuse_choices(place: str, choices: frozenset[str], options: ReadOptions) -> None:
    for name in options.choice():
        if name not in choices:
            option = f"--{name.replace('_', '-')}"
            msg = f"{place} has no {name.replace('_', ' ')} to choose; leave {option} out"
            raise MissingMatrix(msg)
