"""Target and TargetFormat, which a format to export to implements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slaf.options import ArrayCompression, Layout, Strand
    from slaf.runtime.progress import Progress
    from slaf.targets.contents import Contents

__all__ = ["Target", "TargetFormat", "WriteOptions"]


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Layout, compression and resources of an export.

    Attributes
    ----------
    layout
        The order of entries.
    compression
        The compression of arrays.
    memory
        The bytes that sorting by gene may take.
    scratch
        The directory for what does not fit in `memory`.
    strand
        "+" or "-": the fragments of coverage that count; None for all.
    cpm
        Whether depths are counts per million reads.
    """

    layout: Layout
    compression: ArrayCompression
    memory: int
    scratch: Path
    strand: Strand | None = None
    cpm: bool = False


class Target(Protocol):
    """The contents of an export in one format.

    Attributes
    ----------
    left_out
        Messages about contents that the format cannot hold, or holds in another form.
    """

    left_out: tuple[str, ...]

    def write(self, path: Path, progress: Progress) -> None:
        """Write a new file or folder, in bounded memory.

        Raises
        ------
        TargetError
            If the format cannot hold a value.
        """


@dataclass(frozen=True, slots=True)
class TargetFormat:
    """A format to export to: one line in `FORMATS`.

    Attributes
    ----------
    name
        The value of `--format`.
    description
        The common name.
    suffixes
        The suffixes of its files.
    matches
        Whether a file or folder has this format, so that an export may replace it.
    open
        Makes the target of some contents.
    layouts, compressions
        The choices, the default first; empty if there is no choice.
    package
        The package of an extra that writing needs.
    is_packed
        Whether its arrays are compressed, unless an export says otherwise.
    has_strands
        Whether it holds coverage, with the options `strand` and `cpm`.
    marker_files
        The files or folders at the top of an output folder by which readers recognise the format,
        the indispensable one last; empty if the output is a file.
    """

    name: str
    description: str
    suffixes: tuple[str, ...]
    matches: Callable[[Path], bool]
    open: Callable[[Contents, WriteOptions], Target]
    layouts: tuple[Layout, ...] = ()
    compressions: tuple[ArrayCompression, ...] = ()
    package: str = ""
    is_packed: bool = True
    has_strands: bool = False
    marker_files: tuple[str, ...] = ()
