"""Which format an input is of, by asking each what it recognises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slaf.errors import DamagedInput, NoSuchInput, StorageError, UnknownFormat
from slaf.sources.unsupported import UNSUPPORTED, is_dataset

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slaf.sources.base import SourceFormat

__all__ = ["detect", "find_inputs"]


# What Cell Ranger leaves in `outs/`, and for each sample of `multi` in `count/`. The file and the
# folder hold the same, the file is faster. Before 3 the folder held one for each genome.
_RESULTS = (
    "filtered_feature_bc_matrix.h5",
    "filtered_feature_bc_matrix",
    "sample_filtered_feature_bc_matrix.h5",
    "sample_filtered_feature_bc_matrix",
    "filtered_gene_bc_matrices_h5.h5",
)
_GENOMES = "filtered_gene_bc_matrices"

# What is called like one of these is refused by name, and not passed over.
_FOREIGN = (".hdf5", ".h5mu", ".loom")
_OUTS = "outs"
_MOST_FILES = 10_000


def find_inputs(
    path: Path, formats: Sequence[SourceFormat], name: str | None = None
) -> tuple[list[tuple[Path, SourceFormat]], list[Path]]:
    """All inputs at this place: the input itself, or all in a folder and the folders in it.

    Parameters
    ----------
    path
        An input, or a folder.
    formats
        Those that are looked for.
    name
        The only one to look for.

    Returns
    -------
    inputs
        Each with its format, sorted by path.
    others
        Files beside them that are no inputs.

    Raises
    ------
    UnknownFormat
        If there is none, or a file that is called like an input is none.
    NoSuchInput
        If there is nothing there.
    """
    wanted = formats if name is None else (_named(name, formats),)
    if not path.is_dir():
        return [detect(path, formats, name)], []
    _refuse_foreign(path)
    search = _Search(wanted, _FOREIGN if name is None else ())
    search.into(path)
    if not search.inputs:
        # The error says what was looked for.
        return [detect(path, formats, name)], []
    return search.inputs, search.others


class _Search:
    """What was found in a folder and the folders in it."""

    def __init__(self, formats: Sequence[SourceFormat], foreign: tuple[str, ...]) -> None:
        self.inputs: list[tuple[Path, SourceFormat]] = []
        self.others: list[Path] = []
        self._formats = formats
        self._meant = (*foreign, *(suffix for known in formats for suffix in known.suffixes))
        self._seen: set[Path] = set()
        self._looked_at = 0

    def into(self, folder: Path) -> None:
        """Take the folder, if it is an input, or what is in it."""
        if folder.resolve() in self._seen:
            return
        self._seen.add(folder.resolve())
        if any(candidate.recognises(folder) for candidate in self._formats):
            place, found = detect(folder, self._formats)
            self.inputs += [(member, found) for member in found.members(place)]
        elif any((folder / name).exists() for name in (*_RESULTS, _GENOMES)) or (
            # Several genomes are not several samples: their cells are the same.
            folder.name == _GENOMES
        ):
            self.inputs.append(detect(folder, self._formats))
        elif (folder / _OUTS).is_dir():
            self.into(folder / _OUTS)
        else:
            for child in sorted(folder.iterdir()):
                if not child.name.startswith("."):
                    self._take(child)

    def _take(self, child: Path) -> None:
        self._looked_at += 1
        if self._looked_at > _MOST_FILES:
            msg = (
                f"{child.parent}: the folder that was named holds more than {_MOST_FILES:,} files, "
                "which is more than are looked at; name the inputs themselves"
            )
            raise UnknownFormat(msg)
        if is_dataset(child):
            # Often the output itself, of a run that is taken up again.
            self.others.append(child)
        elif child.is_dir():
            self.into(child)
        elif child.name.lower().endswith(self._meant) or _recognised(child, self._formats):
            self.inputs.append(detect(child, self._formats))
        else:
            self.others.append(child)


def detect(
    path: Path, formats: Sequence[SourceFormat], name: str | None = None
) -> tuple[Path, SourceFormat]:
    """The input at this place, and the one format that recognises it or has this name.

    A folder that is no input itself stands for the filtered matrix of Cell Ranger in it, or for
    the only input that lies in it.

    Raises
    ------
    DamagedInput
        If its name is no text.
    UnknownFormat
        If none recognises it, or several do: the error lists what was looked for.
    NoSuchInput
        If there is nothing there.
    """
    _check_name(path)
    try:
        there = path.exists()
    except StorageError:
        raise
    except OSError as error:
        msg = f"{path}: cannot look at it: {error.strerror}; check the path"
        raise StorageError(error.errno, msg) from error
    if not there:
        msg = f"{path}: there is no such file or directory"
        raise NoSuchInput(msg)
    if name is not None:
        chosen = _named(name, formats)
        # Where it does not recognise anything, its own error says what it misses.
        return _only_input(path, (chosen,)) or path, chosen
    _refuse_foreign(path)
    place = _only_input(path, formats)
    if place is None:
        looked = "; ".join(f"{candidate.name}: {candidate.looks_for}" for candidate in formats)
        msg = f"{path}: no known format ({looked})"
        raise UnknownFormat(msg)
    if place != path:
        _refuse_foreign(place)
    matching = [candidate for candidate in formats if candidate.recognises(place)]
    if len(matching) > 1:
        names = ", ".join(candidate.name for candidate in matching)
        msg = f"{place}: it may be any of {names}; say which with --format"
        raise UnknownFormat(msg)
    return place, matching[0]


def _check_name(path: Path) -> None:
    """Refuse a name that is no text: what it is cannot be written down, nor printed."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        msg = f"{path}: its name is not text in UTF-8"
        raise DamagedInput(msg, remedy="rename it") from error


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
    inside = (child for child in sorted(folder.iterdir()) if not child.name.startswith("."))
    found = [child for child in inside if _recognised(child, formats)]
    if len(found) > 1:
        names = ", ".join(child.name for child in found)
        msg = f"{folder}: it holds several inputs; name one of them: {names}"
        raise UnknownFormat(msg)
    return found[0] if found else None


def _recognised(path: Path, formats: Sequence[SourceFormat]) -> bool:
    return any(candidate.recognises(path) for candidate in formats)


def _refuse_foreign(path: Path) -> None:
    for foreign in UNSUPPORTED:
        if foreign.recognises(path):
            msg = f"{path}: this is {foreign.name}: {foreign.remedy}"
            raise UnknownFormat(msg)


def _named(name: str, formats: Sequence[SourceFormat]) -> SourceFormat:
    for candidate in formats:
        if candidate.name == name:
            return candidate
    known = ", ".join(candidate.name for candidate in formats)
    msg = f"there is no format {name!r}; known are {known}"
    raise UnknownFormat(msg)
