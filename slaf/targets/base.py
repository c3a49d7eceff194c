"""What a format has to offer to be exported to: the Target protocol and the TargetFormat record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slaf.options import ArrayCompression, Layout
    from slaf.runtime.progress import Progress
    from slaf.targets.contents import Contents

__all__ = ["Target", "TargetFormat", "WriteOptions"]


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How an output is to be written.

    Attributes
    ----------
    layout
        Cell after cell, or gene after gene.
    compression
        How arrays are packed.
    memory
        Bytes that sorting may take, where genes are to come first.
    scratch
        The directory for what does not fit in `memory`.
    """

    layout: Layout
    compression: ArrayCompression
    memory: int
    scratch: Path


class Target(Protocol):
    """What a dataset becomes in one format."""

    def left_out(self) -> tuple[str, ...]:
        """What the format cannot hold of it, or holds otherwise, in words."""

    def write(self, path: Path, seen: Progress) -> None:
        """Write all of it, in bounded memory, to a place where nothing is yet.

        Raises
        ------
        TargetError
            If a value turns up that the format cannot hold.
        """


@dataclass(frozen=True, slots=True)
class TargetFormat:
    """A format of outputs: one line in `FORMATS`.

    Attributes
    ----------
    name
        What `--format` takes.
    description
        What people call it.
    suffixes
        The ends of names that stand for it.
    is_one
        Whether what is at this place is of this format, and may be replaced by another.
    open
        What the contents become in it.
    layouts, compressions
        What it leaves to choose, the default first; empty if nothing.
    marks
        Of a folder, the files or folders at its top by which readers know it, the one without
        which it is nothing last; empty for a file.
    """

    name: str
    description: str
    suffixes: tuple[str, ...]
    is_one: Callable[[Path], bool]
    open: Callable[[Contents, WriteOptions], Target]
    layouts: tuple[Layout, ...] = ()
    compressions: tuple[ArrayCompression, ...] = ()
    marks: tuple[str, ...] = ()
