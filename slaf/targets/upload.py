"""Output in a bucket: written to a local scratch directory, then uploaded."""

from __future__ import annotations

import json
import logging
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import xxhash

from slaf.errors import ConflictError, StorageError
from slaf.runtime.shielded import run_shielded
from slaf.storage.location import Location
from slaf.storage.object_store import ObjectStore
from slaf.storage.paths import input_path
from slaf.storage.urls import BUCKETS, redacted, scheme_of
from slaf.targets.atomic_rename import (
    check_replaceable,
    locked_staging,
    remove_with_retries,
    size_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from slaf.runtime.progress import Progress
    from slaf.targets.base import TargetFormat

__all__ = ["BucketDestination", "bucket_destination", "staging_url"]


# Smaller files are uploaded in one request. The parts of a multipart upload have this size or
# more: S3 allows 10,000 of them.
_PART_SIZE = 8 << 20
_MAX_PARTS = 9000

# Objects that are uploaded, or removed, at a time.
_N_THREADS = 4

# The file in the staging prefix that lists the objects of a folder to remove and to put.
_JOURNAL = "uploading.json"
logger = logging.getLogger(__name__)


def bucket_destination(url: str, options: Mapping[str, str]) -> BucketDestination:
    """The destination at a URL.

    Raises
    ------
    StorageError
        If nothing can be written there.
    """
    if scheme_of(url) not in BUCKETS:
        msg = f"{redacted(url)}: only inputs can be there; an output is on a disk or in a bucket"
        raise StorageError(msg)
    if not urlsplit(url).path.strip("/"):
        msg = f"{redacted(url)}: this is a bucket; name an output in it"
        raise StorageError(msg)
    return BucketDestination(url, options, Location(staging_url(url), options))


class BucketDestination:
    """A URL in a bucket; it is used like a `slaf.targets.destination.LocalDestination`.

    A single object is published whole. The objects of a folder are uploaded when all of it is in
    scratch: those of an older output are removed first, the marker files of the format are put
    last. A journal in the staging prefix, which also has the lock, lists the objects of an upload
    that was stopped.

    Parameters
    ----------
    url
        The URL of the object, or the prefix of the folder.
    options
        Storage options.
    staging
        The staging prefix, at `staging_url` of the URL.
    """

    def __init__(self, url: str, options: Mapping[str, str], staging: Location) -> None:
        url = url.rstrip("/")
        parent, _, name = url.rpartition("/")
        self.name = unquote(name)
        self.scratch = Path(tempfile.gettempdir())
        self._url = url
        self._options = options
        self._objects = ObjectStore(parent, options)
        self._staging = staging

    def __str__(self) -> str:
        return redacted(self._url)

    def check(self, format: TargetFormat, *, overwrite: bool) -> None:
        """Check that the output may be written; the rest of a stopped export may be removed."""
        if self._staging.read(_JOURNAL) is None:
            self._check(format, overwrite=overwrite)

    def staging(self, scratch: Path) -> Location:
        """The folder that an output is written in, before it is uploaded."""
        # Outputs of other buckets may have the same name.
        url_hash = xxhash.xxh3_64_hexdigest(str(self).encode())
        return Location(scratch / f".{self.name}-{url_hash}.new")

    def publish(
        self,
        write: Callable[[Path, Progress], None],
        format: TargetFormat,
        *,
        overwrite: bool,
        scratch: Path,
        progress: Progress,
    ) -> int:
        """Write the output to scratch and upload it; the number of its bytes."""
        with self._staging.lock():
            self._clean_up()
            self._check(format, overwrite=overwrite)
            with self._written(scratch, write, progress) as path:
                size = size_of(path)
                logger.info("uploading %s (%s bytes)", self, f"{size:,}")
                self._check(format, overwrite=overwrite)
                if format.marker_files:
                    upload = partial(self._upload_folder, path, format)
                else:
                    upload = partial(self._upload_file, path, format, overwrite=overwrite)
                run_shielded(upload, progress)
        return size

    @contextmanager
    def _written(
        self, scratch: Path, write: Callable[[Path, Progress], None], progress: Progress
    ) -> Iterator[Path]:
        """The output in the scratch directory, until the block ends."""
        folder = self.staging(scratch)

        def clean_up() -> None:
            folder.remove(self.name)

        with locked_staging(folder, clean_up):
            path = folder.path / self.name
            try:
                run_shielded(partial(write, path), progress)
            except StorageError as error:
                # Errors of the local disk have a number, those of a bucket have none.
                if error.errno is not None:
                    error.add_note(f"{self} is written there first; --scratch chooses the folder")
                raise
            yield path
            remove_with_retries(clean_up)

    def _check(self, format: TargetFormat, *, overwrite: bool) -> None:
        output = input_path(self._url, self._options)
        check_replaceable(output, format.matches, overwrite=overwrite)

    def _upload_file(
        self, path: Path, format: TargetFormat, progress: Progress, *, overwrite: bool
    ) -> None:
        def check() -> None:
            with self._staging.mutation("publish", self.name):
                self._check(format, overwrite=overwrite)

        self._put(self.name, path, progress, check, new=not overwrite)

    def _upload_folder(self, path: Path, format: TargetFormat, progress: Progress) -> None:
        """Replace the objects of the output by those of a folder."""
        files = {f"{self.name}/{name}": path / name for name in Location(path).list(".")}
        others, markers = self._by_marker(files, format)
        old_others, old_markers = self._by_marker(self._objects.sizes(self.name), format)
        journal = {"remove": [*old_others, *old_markers], "put": [*others, *markers]}
        self._staging.put(_JOURNAL, json.dumps(journal).encode())

        def put(name: str) -> None:
            self._put(name, files[name], progress, lambda: None, new=name in markers)

        try:
            for name in reversed(old_markers):
                self._remove(name)
            _in_threads(self._remove, old_others)
            _in_threads(put, others)
            for name in markers:
                put(name)
        except BaseException as error:  # also Ctrl-C and SIGTERM
            self._clean_up_after(error)
            raise
        self._staging.remove(_JOURNAL)

    def _by_marker(self, names: Iterable[str], format: TargetFormat) -> tuple[list[str], list[str]]:
        """Objects that are no marker files or below, and those that are, in the format's order."""
        tops = {name: name.removeprefix(f"{self.name}/").partition("/")[0] for name in names}
        markers = [
            name for marker in format.marker_files for name in sorted(tops) if tops[name] == marker
        ]
        return sorted(tops.keys() - markers), markers

    def _put(
        self, name: str, file: Path, progress: Progress, check: Callable[[], None], *, new: bool
    ) -> None:
        """Put an object, which appears after the check; if `new` and small, only if none exists."""
        size = file.stat().st_size
        with self._staging.mutation("upload", name):
            progress.advance(0, 0)
            if size > _PART_SIZE:
                part_size = max(_PART_SIZE, -(-size // _MAX_PARTS))
                self._objects.upload(name, _parts(file, part_size, progress, check), part_size)
                return
            check()
            if new:
                self._objects.swap(name, file.read_bytes(), None)
            else:
                self._objects.put(name, file.read_bytes())

    def _remove(self, name: str) -> None:
        with self._staging.mutation("remove", name):
            self._objects.delete([name])

    def _clean_up(self) -> None:
        """Remove the objects of a folder that was uploaded in part."""
        raw = self._staging.read(_JOURNAL)
        if raw is None:
            return
        journal: dict[str, list[str]] = json.loads(raw)
        existing = set(self._objects.sizes(self.name))
        # Else no object was removed yet, or all were put.
        if not any(names and existing.issuperset(names) for names in journal.values()):
            listed = {*journal["remove"], *journal["put"]}
            _in_threads(self._remove, sorted(existing & listed))
        self._staging.remove(_JOURNAL)

    def _clean_up_after(self, error: BaseException) -> None:
        """Remove what was uploaded, or add a note that it remains."""
        try:
            self._clean_up()
        except (StorageError, ConflictError):
            error.add_note(
                f"some of its objects remain below {self}/, where no reader finds an output: the "
                "next export to there removes them"
            )


def staging_url(url: str) -> str:
    """The prefix next to an output for its lock and journal."""
    parent, _, name = url.rstrip("/").rpartition("/")
    return f"{parent}/.{name}.new"


def _parts(
    file: Path, part_size: int, progress: Progress, check: Callable[[], None]
) -> Iterator[bytes]:
    with file.open("rb") as data:
        while part := data.read(part_size):
            progress.advance(0, 0)
            yield part
    # In a thread: this one is in a call of obstore, which is not reentrant.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(check).result()


def _in_threads(work: Callable[[str], None], names: Sequence[str]) -> None:
    """Work on several names at a time; after an error, wait for those that have begun."""
    pool = ThreadPoolExecutor(_N_THREADS, thread_name_prefix="slaf-upload")
    try:
        for _ in pool.map(work, names):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
