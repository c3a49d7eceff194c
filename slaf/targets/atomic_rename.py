"""An output is written under another name, made durable, and then renamed."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from slaf.errors import OutputExists, StorageError
from slaf.storage.location import Location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = [
    "atomic_output",
    "refuse_if_there",
    "remove_empty",
    "remove_with_retries",
    "size_of",
    "staging_dir",
]


# Beside what is written: a folder that was in its place, until the new one is.
_REPLACED = "replaced"

# Seconds, for threads that are about to end.
_PAUSES = (0.1, 0.4)


def staging_dir(output: Path) -> Location:
    """Where an output is written: a hidden folder beside it, on the same disk."""
    return Location(output.parent / f".{output.name}.new")


def refuse_if_there(output: Path, is_one: Callable[[Path], bool], *, overwrite: bool) -> None:
    """Check that the output may be written.

    Raises
    ------
    OutputExists
        If something is there that was not asked to be replaced, or is of another kind.
    """
    if not os.path.lexists(output):
        return
    if not overwrite:
        msg = f"{output}: it exists already; --overwrite replaces it"
        raise OutputExists(msg)
    if output.is_symlink() or not is_one(output):
        msg = f"{output}: what is there is no output of this format, and is not replaced; remove it"
        raise OutputExists(msg)


@contextmanager
def atomic_output(
    output: Path, is_one: Callable[[Path], bool], *, overwrite: bool, workshop: Location
) -> Iterator[Path]:
    """Surround the writing of an output: what is written to the path given becomes it at the end.

    A process that is killed leaves nothing at the output; what it leaves in the workshop, the
    next one for the same output removes.

    Parameters
    ----------
    output
        Where it is to be.
    is_one
        Whether what is there may be replaced.
    overwrite
        Replace it.
    workshop
        Where it is written: `workshop_of` the output.

    Raises
    ------
    ConflictError
        If the output is there already, or another process writes it.
    StorageError
        If the disk refuses.
    """
    refuse_if_there(output, is_one, overwrite=overwrite)
    remove_empty(workshop)
    with workshop.lock():
        _sweep(workshop, output)
        try:
            yield workshop.path / output.name
            workshop.sync(_everything(workshop, output.name))
            refuse_if_there(output, is_one, overwrite=overwrite)
            _put_in_place(workshop, output)
        except BaseException:
            remove_with_retries(lambda: _sweep(workshop, output))
            raise
        _sweep(workshop, output)


def remove_with_retries(sweep: Callable[[], None]) -> None:
    """Remove what was written by an export that was ended.

    That is to be told, and not that a thread of the format's library still writes there: what
    stays after all, the next one removes.
    """
    for pause in _PAUSES:
        with suppress(StorageError):
            sweep()
            return
        time.sleep(pause)


def remove_empty(workshop: Location) -> None:
    """Remove the folder of a process that was stopped as soon as it had made it.

    The lock would take it for somebody's own, and leave it.
    """
    if workshop.exists():
        # It is not empty if a process is at work there, or was.
        with workshop.mutation("remove", "."), suppress(OSError):
            workshop.path.rmdir()


def _put_in_place(workshop: Location, output: Path) -> None:
    # Over a folder that is not empty nothing can be renamed.
    if output.is_dir():
        _rename(workshop, output, workshop.path / _REPLACED, "set aside")
    _rename(workshop, workshop.path / output.name, output, "publish")


def _sweep(workshop: Location, output: Path) -> None:
    """Remove what was not published, and bring back what was about to be replaced."""
    if (workshop.path / _REPLACED).exists() and not os.path.lexists(output):
        _rename(workshop, workshop.path / _REPLACED, output, "bring back")
    for name in (output.name, _REPLACED):
        workshop.remove(name)


def _rename(workshop: Location, old: Path, new: Path, action: str) -> None:
    try:
        with workshop.mutation(action, old.name):
            old.replace(new)
            for folder in (new.parent, old.parent):
                Location(folder).sync(["."])
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(error.errno, f"{new}: cannot write it: {error.strerror}") from error


def _everything(workshop: Location, name: str) -> list[str]:
    """The files and folders of the output, relative to the workshop."""
    top = workshop.path / name
    if not top.is_dir():
        return [name]
    folders = (os.path.relpath(root, workshop.path) for root, _, _ in os.walk(top))
    return [*workshop.list(name), *folders]


def size_of(path: Path) -> int:
    """The bytes of a file, or of all files of a folder."""
    return Location(path).size() if path.is_dir() else path.stat().st_size
