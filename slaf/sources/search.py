"""Find the inputs in a folder, or among what matches a pattern: each sample once, or ask."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slaf.errors import UnknownFormat
from slaf.sources.detect import detect, format_named, recognising
from slaf.sources.glob import expand_glob, fixed_parent, is_pattern
from slaf.sources.hdf5.file import opened_once
from slaf.sources.layouts import LAYOUTS
from slaf.sources.unsupported import DERIVED
from slaf.storage.paths import check_exists, is_dataset

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from slaf.sources.base import SourceFormat
    from slaf.sources.layouts import Layout

__all__ = ["Found", "LeftOut", "find_inputs"]

# Files with these suffixes are refused by name, not skipped.
_UNSUPPORTED_SUFFIXES = (".hdf5",)
# Files and folders without an input that are looked at; of inputs there may be any number.
_MOST_OTHERS = 10_000

# What forms of one sample differ in: the droplets or spots, the size of bins, and the suffix.
_STATES = re.compile(r"(?:^|(?<=[^a-z]))(?:raw|filtered|unfiltered)(?![a-z])")
_BINS = re.compile(r"\d+\s?(?:um|µm)(?![a-z])")
_SUFFIXES = re.compile(r"(?:\.(?:h5ad|h5mu|hdf5|h5|loom|zarr|zip|mtx|gz))+$")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something in a folder that is not taken as an input.

    Attributes
    ----------
    path
        Its path or URL.
    reason
        Why, in words.
    """

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """The inputs at a path.

    Attributes
    ----------
    inputs
        Each with its format, in the order of paths.
    left_out
        What else was found.
    """

    inputs: list[tuple[Path, SourceFormat]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Add what was found elsewhere."""
        self.inputs.extend(other.inputs)
        self.left_out.extend(other.left_out)

    def leave(self, path: Path, reason: str) -> None:
        """Add something that is not taken."""
        self.left_out.append(LeftOut(str(path), reason))


def find_inputs(path: Path, formats: Sequence[SourceFormat], name: str | None = None) -> Found:
    """All inputs at a path: the input itself, or those that a folder or a pattern stands for.

    Where the layout of a tool says which matrix stands for a sample, that is taken. Forms of one
    sample (raw and filtered, sizes of bins, types of files) are never all taken.

    Parameters
    ----------
    path
        An input, a folder, or a pattern.
    formats
        The known formats.
    name
        The only format to look for.

    Raises
    ------
    UnknownFormat
        If there is none, a file with the suffix of an input is none, or several are forms of one
        sample and nothing says which is meant.
    NoSuchInput
        If nothing is at the path, or matches it.
    """
    wanted = formats if name is None else (format_named(name, formats),)
    search = _Search(wanted, _UNSUPPORTED_SUFFIXES if name is None else ())
    if is_pattern(path):
        found, root = search.among(expand_glob(path)), fixed_parent(path)
    else:
        check_exists(path)
        if not path.is_dir():
            return Found([(path, detect(path, formats, name))])
        found, root = search.folder(path), str(path)
    if not found.inputs:
        if search.refusal is not None:
            raise search.refusal
        # Its error says what is known.
        return Found([(path, detect(path, formats, name))], found.left_out)
    return _each_sample_once(found, root)


class _Search:
    """Looks at folders, each once."""

    def __init__(self, formats: Sequence[SourceFormat], unsupported: tuple[str, ...]) -> None:
        self.refusal: UnknownFormat | None = None
        self._formats = formats
        self._suffixes = (*unsupported, *(suffix for one in formats for suffix in one.suffixes))
        self._visited: set[Path] = set()
        self._n_others = 0

    def among(self, paths: Sequence[Path]) -> Found:
        """The inputs among some paths, each of which may be a folder."""
        children: dict[Path, list[Path]] = {}
        for path in paths:
            children.setdefault(path.parent, []).append(path)
        found = Found()
        for parent, some in children.items():
            found.add(self._among(parent, some, None))
        return found

    def folder(self, folder: Path) -> Found:
        """The folder itself, if it is an input, or the inputs in it."""
        if folder.resolve() in self._visited:
            return Found()
        self._visited.add(folder.resolve())
        matching = recognising(folder, self._formats)
        if matching and (len(matching) > 1 or matching[0].members is None):
            return Found([(folder, detect(folder, matching))])
        children = (child for child in sorted(folder.iterdir()) if not child.name.startswith("."))
        return self._among(folder, list(children), matching[0] if matching else None)

    def _among(self, folder: Path, children: list[Path], known: SourceFormat | None) -> Found:
        """The inputs among the children of a folder, which may hold matrices of a known format."""
        names = {child.name: child for child in children}
        found, exclusive = self._by_layouts(folder, names, known)
        if exclusive is not None:
            for child in names.values():
                found.leave(child, f"no part of the results of {exclusive.tool}")
            return found
        found.add(_members(folder, known, names))
        for child in list(names.values()):
            inside = self._at(child)
            self._n_others += not inside.inputs
            if self._n_others > _MOST_OTHERS:
                msg = (
                    f"{folder}: the folder that was named holds more than {_MOST_OTHERS:,} files "
                    "that are no inputs, which is more than are looked at; name the inputs "
                    "themselves"
                )
                raise UnknownFormat(msg)
            found.add(inside)
        found.inputs.sort(key=lambda one: one[0])
        return found

    def _by_layouts(
        self, folder: Path, names: dict[str, Path], known: SourceFormat | None
    ) -> tuple[Found, Layout | None]:
        """What layouts take, and the one that leaves nothing else; removes names that are done."""
        found = Found()
        used: list[tuple[str, Path]] = []
        exclusive: Layout | None = None
        for layout in LAYOUTS:
            if layout.folder and not re.fullmatch(layout.folder, folder.resolve().name):
                continue
            for sample, choices in _samples(layout, folder, names).items():
                taken = self._first(layout, folder, choices, known, names)
                if not taken.inputs:
                    continue
                used.append((layout.tool, taken.inputs[0][0]))
                found.add(taken)
                _leave(layout, sample, folder, names, found)
                if layout.is_exclusive and not sample:
                    exclusive = exclusive or layout
        if exclusive is not None and len({tool for tool, _ in used}) > 1:
            raise _ask(
                folder, [path for _, path in used], "matrices of one sample by several tools"
            )
        return found, exclusive

    def _first(
        self,
        layout: Layout,
        folder: Path,
        choices: Iterable[dict[str, Path]],
        known: SourceFormat | None,
        names: dict[str, Path],
    ) -> Found:
        """What the best of the choices holds that hold anything."""
        for paths in choices:
            holding = Found()
            n_holding = 0
            for path in paths.values():
                inside = _members(folder, known, names) if path == folder else self._at(path)
                n_holding += bool(inside.inputs)
                holding.add(inside)
            if layout.asks and n_holding > 1:
                raise _ask(folder, [path for path, _ in holding.inputs], "forms of one sample")
            if holding.inputs:
                for name in paths:
                    holding.left_out[:] = [
                        one for one in holding.left_out if one.path != str(folder / name)
                    ]
                return holding
        return Found()

    def _at(self, child: Path) -> Found:
        """The inputs at a child of a folder."""
        found = Found()
        if is_dataset(child):
            # Often the output of a run that is resumed.
            found.leave(child, "a SLAF dataset")
        elif child.is_dir():
            return self.folder(child)
        else:
            with opened_once():
                self._add_file(child, found)
        return found

    def _add_file(self, child: Path, found: Found) -> None:
        """Add a file that is an input, or leave it out."""
        if derived := next((one for one in DERIVED if one.recognises(child)), None):
            self.refusal = self.refusal or derived.refusal(child)
            found.leave(child, derived.name)
        elif child.name.lower().endswith(self._suffixes) or recognising(child, self._formats):
            found.inputs.append((child, detect(child, self._formats)))
        else:
            found.leave(child, "no input")


def _members(folder: Path, known: SourceFormat | None, names: dict[str, Path]) -> Found:
    """The inputs in a folder of a format that keeps several; removes the names that they use."""
    if known is None or known.members is None:
        return Found()
    members, used = known.members(folder)
    for name in used:
        names.pop(name, None)
    return Found([(member, known) for member in members])


def _samples(
    layout: Layout, folder: Path, names: dict[str, Path]
) -> dict[str, list[dict[str, Path]]]:
    """For each sample the paths that may stand for it, by name: the best choices first."""
    samples: dict[str, list[dict[str, Path]]] = {}
    for rank, pattern in enumerate(layout.takes):
        for sample, name, path in _matches(pattern, folder, names):
            choices = samples.setdefault(sample, [{} for _ in layout.takes])
            choices[rank][name] = path
    return {
        sample: choices
        for sample, choices in samples.items()
        if not layout.needs or _any_name(layout.needs, sample, names)
    }


def _matches(pattern: str, folder: Path, names: dict[str, Path]) -> Iterator[tuple[str, str, Path]]:
    if pattern == ".":
        yield "", ".", folder
        return
    head, _, below = pattern.partition("/")
    for name, child in names.items():
        if matched := re.fullmatch(head, name):
            path = child / below if below else child
            if not below or path.exists():
                yield matched.groupdict().get("sample") or "", name, path


def _any_name(patterns: Iterable[str], sample: str, names: Iterable[str]) -> bool:
    return any(_fullmatch(pattern, sample, name) for pattern in patterns for name in names)


def _fullmatch(pattern: str, sample: str, name: str) -> bool:
    return bool(re.fullmatch(pattern.replace("{sample}", re.escape(sample)), name))


def _leave(layout: Layout, sample: str, folder: Path, names: dict[str, Path], found: Found) -> None:
    """Leave out what the layout names; removes the names that are done."""
    taken = {str(path) for path, _ in found.inputs}
    for name, child in list(names.items()):
        below = f"{folder / name}/"
        if any(path == str(child) or path.startswith(below) for path in taken):
            del names[name]
            continue
        for pattern, reason in layout.leaves:
            if _fullmatch(pattern, sample, name):
                found.leave(child, f"{reason} ({layout.tool})")
                del names[name]
                break


def _each_sample_once(found: Found, root: str) -> Found:
    """The inputs without second forms of a file.

    Raises
    ------
    UnknownFormat
        If several are forms of one sample.
    """
    forms: dict[str, list[tuple[Path, SourceFormat]]] = {}
    for path, format in found.inputs:
        forms.setdefault(_sample_key(str(path), root), []).append((path, format))
    single = Found(left_out=list(found.left_out))
    for some in forms.values():
        first, *others = sorted(some, key=lambda one: (one[1].name, one[0].is_dir()))
        for other, format in others:
            if not _is_same_matrix(first, (other, format)):
                raise _ask_forms(root, [path for path, _ in some])
            single.leave(other, f"another form of {first[0]}")
        single.inputs.append(first)
    single.inputs.sort(key=lambda one: one[0])
    _check_one_state([path for path, _ in single.inputs], root)
    return single


def _check_one_state(paths: Sequence[Path], root: str) -> None:
    """Refuse samples with raw matrices only among others with filtered ones: they are incomplete.

    Raises
    ------
    UnknownFormat
        Naming the raw ones.
    """
    states: dict[bool, list[Path]] = {}
    for path in paths:
        if words := _STATES.findall(str(path).removeprefix(root).lower()):
            states.setdefault(words[-1] == "filtered", []).append(path)
    if len(states) > 1:
        raw = ", ".join(str(path).removeprefix(f"{root}/") for path in states[False])
        msg = (
            f"{root}: some samples have a filtered matrix, and others all droplets only: {raw}; "
            "bring their filtered matrices, move them away, or name each input"
        )
        raise UnknownFormat(msg)


def _is_same_matrix(one: tuple[Path, SourceFormat], other: tuple[Path, SourceFormat]) -> bool:
    """Whether one is the other packed, or as a folder: of one name, but for its suffix."""
    names = {_SUFFIXES.sub("", path.name.lower()) for path, _ in (one, other)}
    if len(names) > 1 or one[0].parent != other[0].parent:
        return False
    formats = {one[1].name, other[1].name}
    return formats == {"10x_h5", "10x_mtx"} or (formats == {"10x_mtx"} and one[0].is_file())


def _sample_key(path: str, root: str) -> str:
    """A path without the words that tell forms of one sample apart."""
    parts = path.removeprefix(root).lower().split("/")
    parts[-1] = _SUFFIXES.sub("", parts[-1])
    words = (re.split(r"[\s._-]+", _BINS.sub("um", _STATES.sub("", part))) for part in parts)
    return "/".join(filter(None, ("_".join(filter(None, some)) for some in words)))


def _ask(folder: Path, paths: Sequence[Path], what: str) -> UnknownFormat:
    names = ", ".join(str(path).removeprefix(f"{folder}/") for path in paths)
    msg = f"{folder}: these are {what}; name the one that is meant: {names}"
    return UnknownFormat(msg)


def _ask_forms(root: str, paths: Sequence[Path]) -> UnknownFormat:
    names = ", ".join(str(path).removeprefix(f"{root}/") for path in paths)
    msg = (
        f"{root}: by their names these are forms of one sample (raw and filtered, sizes of bins, "
        "types of files), and their cells would be taken twice; name the one that is meant: "
        f"{names}"
    )
    return UnknownFormat(msg)
