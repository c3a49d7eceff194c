"""Patterns of inputs, like samples/*.h5ad, on a disk and in a bucket."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import takewhile
from typing import TYPE_CHECKING

from slaf.errors import NoSuchInput
from slaf.storage.paths import as_remote, has_wildcards

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["expand_glob", "fixed_parent", "is_pattern"]


def is_pattern(path: Path) -> bool:
    """Whether a path stands for all that match it.

    A path that exists is never a pattern, and an address of the web is none.
    """
    remote = as_remote(path)
    return has_wildcards(str(path)) and not (remote and remote.is_web) and not path.exists()


def expand_glob(path: Path) -> list[Path]:
    """All paths that match a pattern, in order.

    ``*``, ``?`` and ``[…]`` stand for parts of one name, as in a shell.

    Raises
    ------
    NoSuchInput
        If nothing matches.
    """
    matches = sorted(_matches(path))
    if not matches:
        msg = f"{path}: nothing matches this pattern; name an input, or a folder of inputs"
        raise NoSuchInput(msg)
    return matches


def fixed_parent(path: Path) -> str:
    """The folders of a pattern before its first wildcard."""
    parts = str(path).split("/")
    return "/".join(takewhile(lambda part: not has_wildcards(part), parts[:-1]))


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
