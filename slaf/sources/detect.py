"""Find inputs and their formats: in files, folders and patterns."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from slaf.errors import NoSuchInput, UnknownFormat
from slaf.sources.unsupported import UNSUPPORTED, check_known_otherwise, is_dataset
from slaf.storage.paths import as_remote, check_exists, has_wildcards

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from slaf.sources.base import SourceFormat

__all__ = ["detect", "expand_glob", "find_inputs"]

# The results of Cell Ranger in `outs/`, and for each sample of `multi` in `count/`. The file and
# the folder hold the same, the file is faster. Before version 3 each genome had a folder.
_RESULTS = (
    "filtered_feature_bc_matrix.h5",
    "filtered_feature_bc_matrix",
    "sample_filtered_feature_bc_matrix.h5",
    "sample_filtered_feature_bc_matrix",
    "filtered_gene_bc_matrices_h5.h5",
)
_GENOMES = "filtered_gene_bc_matrices"
_OUTS = "outs"

# Files with these suffixes are refused by name, not skipped.
_UNSUPPORTED_SUFFIXES = (".hdf5", ".h5mu", ".loom")
_MAX_FILES = 10_000


def expand_glob(path: Path) -> list[Path]:
    """The path itself, or, if it is a pattern, all paths that match it, in order.

    ``*``, ``?`` and ``[…]`` stand for parts of one name, as in a shell. A path that exists is never
    a pattern.

    Raises
    ------
    NoSuchInput
        If nothing matches.
    """
    remote = as_remote(path)
    if not has_wildcards(str(path)) or (remote and remote.is_web) or path.exists():
        return [path]
    matches = sorted(_matches(path))
    if not matches:
        msg = f"{path}: nothing matches this pattern; name an input, or a folder of inputs"
        raise NoSuchInput(msg)
    return matches


def _matches(path: Path) -> Iterator[Path]:
    if path.parent == path:
        # The root of a disk, or a bucket, whose name is never a pattern.
        yield path
        return
    for folder in _matches(path.parent) if has_wildcards(str(path.parent)) else [path.parent]:
        if not has_wildcards(path.name):
            if (folder / path.name).exists():
                yield folder / path.name
        elif folder.is_dir():
            # Hidden files match only a pattern that begins with a dot, as in a shell.
            yield from (
                child
                for child in folder.iterdir()
                if fnmatchcase(child.name, path.name)
                and (not child.name.startswith(".") or path.name.startswith("."))
            )


def find_inputs(
    path: Path, formats: Sequence[SourceFormat], name: str | None = None
) -> tuple[list[tuple[Path, SourceFormat]], list[Path]]:
    """All inputs at a path: the input itself, or all in a folder and its folders.

    Parameters
    ----------
    path
        An input, or a folder.
    formats
        The known formats.
    name
        The only format to look for.

    Returns
    -------
    inputs
        Each with its format, sorted by path.
    others
        The other files of the folders.

    Raises
    ------
    UnknownFormat
        If there is none, or a file with the suffix of an input is none.
    NoSuchInput
        If nothing is at the path.
    """
    wanted = formats if name is None else (_named(name, formats),)
    if not path.is_dir():
        return [detect(path, formats, name)], []
    _check_supported(path)
    search = _Search(wanted, _UNSUPPORTED_SUFFIXES if name is None else ())
    search.visit(path)
    if not search.inputs:
        # Its error lists the known formats.
        return [detect(path, formats, name)], []
    return search.inputs, search.others


class _Search:
    """The inputs and other files in a folder and its folders."""

    def __init__(self, formats: Sequence[SourceFormat], unsupported: tuple[str, ...]) -> None:
        self.inputs: list[tuple[Path, SourceFormat]] = []
        self.others: list[Path] = []
        self._formats = formats
        self._suffixes = (*unsupported, *(suffix for one in formats for suffix in one.suffixes))
        self._visited: set[Path] = set()
        self._n_files = 0

    def visit(self, folder: Path) -> None:
        """Add the folder, if it is an input, or its inputs."""
        if folder.resolve() in self._visited:
            return
        self._visited.add(folder.resolve())
        if _recognised(folder, self._formats):
            path, format = detect(folder, self._formats)
            self.inputs += [(member, format) for member in format.members(path)]
        elif any((folder / name).exists() for name in (*_RESULTS, _GENOMES)) or (
            # Several genomes are not several samples: their cells are the same.
            folder.name == _GENOMES
        ):
            self.inputs.append(detect(folder, self._formats))
        elif (folder / _OUTS).is_dir():
            self.visit(folder / _OUTS)
        else:
            for child in sorted(folder.iterdir()):
                if not child.name.startswith("."):
                    self._add(child)

    def _add(self, child: Path) -> None:
        self._n_files += 1
        if self._n_files > _MAX_FILES:
            msg = (
                f"{child.parent}: the folder that was named holds more than {_MAX_FILES:,} files, "
                "which is more than are looked at; name the inputs themselves"
            )
            raise UnknownFormat(msg)
        if is_dataset(child):
            # Often the output of a run that is resumed.
            self.others.append(child)
        elif child.is_dir():
            self.visit(child)
        elif child.name.lower().endswith(self._suffixes) or _recognised(child, self._formats):
            self.inputs.append(detect(child, self._formats))
        else:
            self.others.append(child)


def detect(
    path: Path, formats: Sequence[SourceFormat], name: str | None = None
) -> tuple[Path, SourceFormat]:
    """The input at a path, and the one format that recognises it or has this name.

    A folder that is no input itself stands for the filtered matrix of Cell Ranger in it, or for its
    only input.

    Raises
    ------
    DamagedInput
        If its name is not text.
    UnknownFormat
        If no format recognises it, or several do: the error lists the formats.
    NoSuchInput
        If nothing is at the path.
    """
    check_exists(path)
    if name is not None:
        chosen = _named(name, formats)
        # If it is not recognised, the format itself says what is missing.
        return _only_input(path, (chosen,)) or path, chosen
    _check_supported(path)
    input_path = _only_input(path, formats)
    if input_path is None:
        check_known_otherwise(path)
        looked_for = "; ".join(f"{format.name}: {format.looks_for}" for format in formats)
        msg = f"{path}: no known format ({looked_for})"
        raise UnknownFormat(msg)
    if input_path != path:
        _check_supported(input_path)
    matching = [format for format in formats if format.recognises(input_path)]
    if len(matching) > 1:
        names = ", ".join(format.name for format in matching)
        msg = f"{input_path}: it may be any of {names}; say which with --format"
        raise UnknownFormat(msg)
    return input_path, matching[0]


def _only_input(path: Path, formats: Sequence[SourceFormat]) -> Path | None:
    """The input itself, or the only one in a folder; None if there is none."""
    if _recognised(path, formats):
        return path
    if not path.is_dir():
        return None
    for name in _RESULTS:
        if (path / name).exists() and _recognised(path / name, formats):
            return path / name
    folder = path / _GENOMES if (path / _GENOMES).is_dir() else path
    children = (child for child in sorted(folder.iterdir()) if not child.name.startswith("."))
    # A dataset in a folder is often the output.
    inputs = [c for c in children if _recognised(c, formats) and not is_dataset(c)]
    if len(inputs) > 1:
        names = ", ".join(child.name for child in inputs)
        msg = f"{folder}: it holds several inputs; name one of them: {names}"
        raise UnknownFormat(msg)
    return inputs[0] if inputs else None


def _recognised(path: Path, formats: Sequence[SourceFormat]) -> bool:
    return any(format.recognises(path) for format in formats)


def _check_supported(path: Path) -> None:
    for unsupported in UNSUPPORTED:
        if unsupported.recognises(path):
            msg = f"{path}: this is {unsupported.name}: {unsupported.remedy}"
            raise UnknownFormat(msg)


def _named(name: str, formats: Sequence[SourceFormat]) -> SourceFormat:
    for format in formats:
        if format.name == name:
            return format
    known = ", ".join(format.name for format in formats)
    msg = f"there is no format {name!r}; known are {known}"
    raise UnknownFormat(msg)
