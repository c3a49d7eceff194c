"""A file for HDF5 that hides write errors from it, because HDF5 cannot recover from them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from slaf.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SafeFile"]


class SafeFile(io.FileIO):
    """A new file that HDF5 writes to; a file-like object for h5py.

    HDF5 cannot close a file that it cannot write: the process crashes. So after a write error the
    remaining data is dropped, and :meth:`check` raises the error, at the latest on exit.

    Parameters
    ----------
    path
        The file, which must not exist.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x+")
        self._path = path
        self._error: OSError | None = None

    def __exit__(self, *error: object) -> None:
        self.close()
        self.check()

    def check(self) -> None:
        """Raise the write error.

        Raises
        ------
        StorageError
            If a write failed.
        """
        if self._error is not None:
            reason = self._error.strerror or str(self._error)
            msg = f"{self._path}: cannot write it: {reason}"
            raise StorageError(self._error.errno, msg) from self._error

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # h5py has no others
        """Fill a buffer from the file; zeros in place of dropped data."""
        n_read, size = super().readinto(buffer), len(buffer)
        memoryview(buffer)[n_read:] = bytes(size - n_read)
        return size

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        """Write data, or drop it after an error."""
        remaining = memoryview(data).cast("B")
        size = len(remaining)
        try:
            # A disk that is nearly full takes a part.
            while self._error is None and len(remaining):
                remaining = remaining[super().write(remaining) :]
        except OSError as error:  # `check` raises it
            self._error = error
        return size

    def truncate(self, size: int) -> int:  # type: ignore[override]
        """Change the size, unless there was an error."""
        try:
            if self._error is None:
                super().truncate(size)
        except OSError as error:  # `check` raises it
            self._error = error
        return size
