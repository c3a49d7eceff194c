"""Columns that grow in memory, and on disk once they are large."""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["Spool"]

# Bytes of a column that are kept in memory.
_IN_MEMORY = 16 << 20


class Spool:
    """A column to which values are added, and which is then read as one array.

    Parameters
    ----------
    dtype
        The type of its values.
    scratch
        The directory for what is not kept in memory.
    """

    def __init__(self, dtype: str, scratch: str | os.PathLike[str] | None) -> None:
        self._dtype = np.dtype(dtype)
        self._scratch = scratch
        self._pieces: list[NDArray[Any]] = []
        self._nbytes = 0
        self._file: IO[bytes] | None = None

    def add(self, values: NDArray[Any]) -> None:
        """Add values, which the type holds."""
        piece = values.astype(self._dtype, copy=False)
        self._pieces.append(piece)
        self._nbytes += piece.nbytes
        if self._file is None and self._nbytes > _IN_MEMORY:
            # It has no name, so that nothing is left of it.
            self._file = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115
        if self._file is not None:
            for each in self._pieces:
                self._file.write(each.data)
            self._pieces.clear()

    def array(self) -> NDArray[Any]:
        """All values; those on disk are mapped."""
        if self._file is None:
            return np.concatenate([np.empty(0, self._dtype), *self._pieces])
        self._file.flush()
        return np.memmap(self._file, self._dtype, "r")

    def close(self) -> None:
        """Give the disk free, once the array is not used any more."""
        if self._file is not None:
            self._file.close()
