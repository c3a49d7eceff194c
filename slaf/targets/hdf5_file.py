"""The file under HDF5, which never tells it that the disk refused: it would not get over that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slaf.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["SafeFile"]


class SafeFile:
    """A new file that HDF5 writes through; what h5py calls a file-like object.

    HDF5 cannot close a file that it cannot write, and ends the process by a fault of its own.
    So when the disk refuses the rest is dropped unseen, and whoever writes is told by
    :meth:`check`, at the latest at the end.

    Parameters
    ----------
    path
        The file, which does not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("x+b", buffering=0)
        self._refused: OSError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self.check()

    def check(self) -> None:
        """Raise what was not told to HDF5.

        Raises
        ------
        StorageError
            If the disk refused.
        """
        if self._refused is not None:
            reason = self._refused.strerror or str(self._refused)
            msg = f"{self._path}: cannot write it: {reason}"
            raise StorageError(self._refused.errno, msg) from self._refused

    def seek(self, position: int, whence: int = 0) -> int:
        """As a file does."""
        return self._file.seek(position, whence)

    def tell(self) -> int:
        """As a file does."""
        return self._file.tell()

    def read(self, size: int) -> bytes:
        """As a file does; zeros for what was dropped."""
        return self._file.read(size).ljust(size, b"\0")

    def write(self, data: memoryview) -> int:
        """As a file does."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            # A disk that is about to be full takes some of it.
            while self._refused is None and len(rest):
                rest = rest[self._file.write(rest) :]
        except OSError as error:  # `check` raises it
            self._refused = error
        return size

    def truncate(self, size: int) -> int:
        """As a file does."""
        try:
            if self._refused is None:
                self._file.truncate(size)
        except OSError as error:  # `check` raises it
            self._refused = error
        return size

    def flush(self) -> None:
        """Nothing: nothing is held back."""
