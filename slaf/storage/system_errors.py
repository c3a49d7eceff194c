"""Errors of the operating system: locks, descriptors, full disks, handles that went stale."""

from __future__ import annotations

import errno
import os
import re
from typing import Final

from slaf.errors import StorageError

__all__ = ["system_errno", "system_error"]

_PERMISSIONS: Final = "check the permissions of the file and its folders"
_REMEDIES: Final = {
    errno.EAGAIN: (
        "another program has it open for writing: close it there; or, where nothing writes to it, "
        "set HDF5_USE_FILE_LOCKING=FALSE"
    ),
    errno.ENOLCK: "its disk has no locks: set HDF5_USE_FILE_LOCKING=FALSE",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n), or use fewer workers",
    errno.ENFILE: "the machine has too many files open: close programs, or use fewer workers",
    errno.EIO: "the disk or its network failed: check it, and run the same command again",
    errno.ESTALE: "the file was replaced or its network disk restarted: run the same command again",
    errno.ETIMEDOUT: "its network disk does not answer: check it, and run the same command again",
    errno.ENOSPC: "make room on the disk, and run the same command again",
    errno.EDQUOT: "make room in your quota, and run the same command again",
    errno.EROFS: "the disk is read-only: name another place",
    errno.ENOMEM: "the memory of this machine is used up: use fewer workers",
    errno.EACCES: _PERMISSIONS,
    errno.EPERM: _PERMISSIONS,
}

# As HDF5 puts it into the text of its errors.
_ERRNO: Final = re.compile(r"errno = (\d+)")


def system_errno(error: BaseException) -> int | None:
    """The number of a refusal by the system, also where HDF5 repeats it; None of other errors."""
    number = error.errno if isinstance(error, OSError) else None
    named = _ERRNO.search(str(error))
    if number is None and named:
        number = int(named[1])
    return number if number in _REMEDIES else None


def system_error(label: str, verb: str, error: BaseException) -> StorageError:
    """The error to raise where the system refused to `verb` a file, with what helps.

    Parameters
    ----------
    label
        The file, for the message.
    verb
        What was refused: read, write, remove.
    error
        The error of Python, or of HDF5.
    """
    number = system_errno(error)
    if number is None:
        number = getattr(error, "errno", None)
        reason = getattr(error, "strerror", None) or str(error)
        return StorageError(number, f"{label}: cannot {verb} it: {reason}")
    return StorageError(
        number, f"{label}: cannot {verb} it: {os.strerror(number)}; {_REMEDIES[number]}"
    )
