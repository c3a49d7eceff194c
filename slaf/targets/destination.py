"""The path or URL of an output."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from slaf.runtime.shielded import run_shielded
from slaf.storage.urls import is_url, local_path
from slaf.targets.atomic_rename import atomic_output, check_replaceable, size_of, staging_dir

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from slaf.runtime.progress import Progress
    from slaf.storage.location import Location
    from slaf.targets.base import TargetFormat
    from slaf.targets.upload import BucketDestination

__all__ = ["LocalDestination", "destination_at"]


def destination_at(
    output: str | os.PathLike[str], storage_options: Mapping[str, str] | None
) -> LocalDestination | BucketDestination:
    """The destination at a path or URL.

    Raises
    ------
    StorageError
        If nothing can be written at the URL.
    """
    if not is_url(output):
        return LocalDestination(local_path(output))
    from slaf.targets.upload import bucket_destination

    return bucket_destination(str(output), storage_options or {})


class LocalDestination:
    """A path to which a file or folder is published whole.

    Parameters
    ----------
    path
        The path.

    Attributes
    ----------
    name
        The last part of the path.
    scratch
        The default scratch directory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = path.name
        self.scratch = path.absolute().parent

    def __str__(self) -> str:
        return str(self._path)

    def check(self, format: TargetFormat, *, overwrite: bool) -> None:
        """Check that the output may be written.

        Raises
        ------
        OutputExists
            If something exists there that was not to be replaced, or has another format.
        """
        check_replaceable(self._path, format.matches, overwrite=overwrite)

    def staging(self, scratch: Path) -> Location:  # noqa: ARG002 - it is on the disk of the output
        """The folder that an output is written in."""
        return staging_dir(self._path)

    def publish(
        self,
        write: Callable[[Path, Progress], None],
        format: TargetFormat,
        *,
        overwrite: bool,
        scratch: Path,
        progress: Progress,
    ) -> int:
        """Write the output and publish it; the number of its bytes.

        Parameters
        ----------
        write
            Writes the output to a path that does not exist.
        format
            The format.
        overwrite
            Whether to replace an output of the same format.
        scratch
            The directory in which an output for a bucket is written.
        progress
            Passed to `write`.

        Raises
        ------
        ConflictError
            If the output exists, or another process writes it.
        StorageError
            If the disk fails.
        """
        staging = self.staging(scratch)
        with atomic_output(
            self._path, format.matches, overwrite=overwrite, staging=staging
        ) as path:
            run_shielded(partial(write, path), progress)
        return size_of(self._path)
