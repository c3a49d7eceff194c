"""Where an export is put: a path of this machine, or a URL of a bucket."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from slaf.errors import TargetError
from slaf.runtime.shielded import run_shielded
from slaf.storage.urls import is_url, local_path
from slaf.targets.atomic_rename import atomic_output, refuse_if_there, size_of, staging_dir

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from slaf.runtime.progress import Progress
    from slaf.storage.location import Location
    from slaf.targets.base import TargetFormat

__all__ = ["Destination", "destination_at"]


class Destination(Protocol):
    """A place for a file or a folder, which appears there when it is whole."""

    name: str
    """The last part of its address."""
    scratch: Path
    """Where what it takes to write it is put, unless another directory is chosen."""

    def __str__(self) -> str: ...

    def refuse_within(self, dataset: Location) -> None:
        """Check that it would not lie among the files of a dataset."""

    def refuse_if_there(self, format: TargetFormat, *, overwrite: bool) -> None:
        """Check that it may be written.

        Raises
        ------
        OutputExists
            If something is there that was not asked to be replaced, or is of another kind.
        """

    def publish(
        self,
        write: Callable[[Path, Progress], None],
        format: TargetFormat,
        *,
        overwrite: bool,
        scratch: Path,
        seen: Progress,
    ) -> int:
        """Have it written to a path where nothing is, and put it in place; its bytes.

        Raises
        ------
        ConflictError
            If it is there already, or another process writes it.
        StorageError
            If the disk or the bucket refuses.
        """


def destination_at(
    place: str | os.PathLike[str], storage_options: Mapping[str, str] | None
) -> Destination:
    """The output at a path or a URL.

    Raises
    ------
    StorageError
        If it is a URL at which nothing can be written.
    """
    if not is_url(place):
        return _LocalDestination(local_path(place))
    from slaf.targets.upload import bucket_destination

    return bucket_destination(str(place), storage_options or {})


class _LocalDestination:
    """A path; an `Output`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = path.name
        self.scratch = path.absolute().parent

    def __str__(self) -> str:
        return str(self._path)

    def refuse_within(self, dataset: Location) -> None:
        if dataset.is_remote:
            return
        if dataset.path.resolve() in self._path.resolve().parents:
            msg = f"{self}: it would lie in the dataset; name an output outside of it"
            raise TargetError(msg)

    def refuse_if_there(self, format: TargetFormat, *, overwrite: bool) -> None:
        refuse_if_there(self._path, format.is_one, overwrite=overwrite)

    def publish(
        self,
        write: Callable[[Path, Progress], None],
        format: TargetFormat,
        *,
        overwrite: bool,
        scratch: Path,  # noqa: ARG002 - it is written beside where it will be
        seen: Progress,
    ) -> int:
        with atomic_output(
            self._path, format.is_one, overwrite=overwrite, workshop=staging_dir(self._path)
        ) as workplace:
            run_shielded(partial(write, workplace), seen)
        return size_of(self._path)
