"""Output files and folders, written under a temporary name and then renamed."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from slaf.errors import OutputExists, StorageError
from slaf.storage.location import Location
from slaf.storage.paths import as_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = [
    "atomic_output",
    "check_replaceable",
    "locked_staging",
    "remove_with_retries",
    "size_of",
    "staging_dir",
]


# The name in the staging directory of the folder that the output replaces.
_REPLACED = "replaced"

# Seconds between attempts, for threads of a library that are about to end.
_PAUSES = (0.1, 0.4)


def staging_dir(output: Path) -> Location:
    """The directory to write an output in: hidden, in the same folder, on the same disk."""
    return Location(output.parent / f".{output.name}.new")


def check_replaceable(output: Path, matches: Callable[[Path], bool], *, overwrite: bool) -> None:
    """Check that an output does not exist, or may be replaced; symbolic links never are.

    Parameters
    ----------
    output
        A path, local or remote.
    matches
        Whether a file or folder has the format of the output.
    overwrite
        Whether an output of the same format may be replaced.

    Raises
    ------
    OutputExists
        If the output must not be written.
    """
    is_remote = as_remote(output) is not None
    if not (output.exists() if is_remote else os.path.lexists(output)):
        return
    if not overwrite:
        msg = f"{output}: it exists already; --overwrite replaces it"
        raise OutputExists(msg)
    if not matches(output) or (not is_remote and output.is_symlink()):
        msg = f"{output}: it exists and has another format, so it is not replaced; remove it"
        raise OutputExists(msg)


@contextmanager
def atomic_output(
    output: Path, matches: Callable[[Path], bool], *, overwrite: bool, staging: Location
) -> Iterator[Path]:
    """A temporary path to write an output to, which is renamed to the output at the end.

    If the process is killed, no output exists; the next process with the same output removes
    what is left in the staging directory.

    Parameters
    ----------
    output
        The final path.
    matches
        Whether a file or folder at the final path may be replaced.
    overwrite
        Whether to replace it.
    staging
        The directory to write in: `staging_dir` of the output.

    Raises
    ------
    ConflictError
        If the output exists, or another process writes it.
    StorageError
        If the disk fails.
    """
    check_replaceable(output, matches, overwrite=overwrite)
    with locked_staging(staging, lambda: _clean_up(staging, output)):
        yield staging.path / output.name
        staging.sync(_files_and_folders(staging, output.name))
        check_replaceable(output, matches, overwrite=overwrite)
        _publish(staging, output)
        _clean_up(staging, output)


@contextmanager
def locked_staging(staging: Location, clean_up: Callable[[], None]) -> Iterator[None]:
    """The lock of a staging directory, which is cleaned up before the block and after an error."""
    _remove_empty(staging)
    with staging.lock():
        clean_up()
        try:
            yield
        except BaseException:  # also Ctrl-C and SIGTERM
            remove_with_retries(clean_up)
            raise


def remove_with_retries(remove: Callable[[], None]) -> None:
    """Remove the files of a failed export, as far as the disk allows.

    Threads of the format's library may still write, and the first error counts more. The next
    export removes what remains.
    """
    for pause in _PAUSES:
        with suppress(StorageError):
            remove()
            return
        time.sleep(pause)


def _remove_empty(staging: Location) -> None:
    """Remove the empty staging directory of a process that was stopped right after creating it.

    The lock would take it for a folder of the user, and keep it.
    """
    if staging.exists():
        # `rmdir` fails if another process has written to it.
        with staging.mutation("remove", "."), suppress(OSError):
            staging.path.rmdir()


def _publish(staging: Location, output: Path) -> None:
    # No rename replaces a folder that has files.
    if output.is_dir():
        _rename(staging, output, staging.path / _REPLACED, "set aside")
    _rename(staging, staging.path / output.name, output, "publish")


def _clean_up(staging: Location, output: Path) -> None:
    """Remove what was not published, and restore a folder that was not replaced."""
    if (staging.path / _REPLACED).exists() and not os.path.lexists(output):
        _rename(staging, staging.path / _REPLACED, output, "bring back")
    for name in (output.name, _REPLACED):
        staging.remove(name)


def _rename(staging: Location, old: Path, new: Path, action: str) -> None:
    try:
        with staging.mutation(action, old.name):
            old.replace(new)
            for folder in (new.parent, old.parent):
                Location(folder).sync(["."])
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(error.errno, f"{new}: cannot write it: {error.strerror}") from error


def _files_and_folders(staging: Location, name: str) -> list[str]:
    """The files and folders of the output, relative to the staging directory."""
    top = staging.path / name
    if not top.is_dir():
        return [name]
    folders = (os.path.relpath(root, staging.path) for root, _, _ in os.walk(top))
    return [*staging.list(name), *folders]


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    return Location(path).size() if path.is_dir() else path.stat().st_size
