"""An output in a bucket: written to a folder of this machine, and uploaded when it is whole."""

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

from slaf.errors import ConflictError, OutputExists, StorageError, TargetError
from slaf.runtime.shielded import run_shielded
from slaf.storage.location import Location
from slaf.storage.object_store import ObjectStore
from slaf.storage.paths import input_path
from slaf.storage.urls import BUCKETS, redacted, scheme_of
from slaf.targets.atomic_rename import remove_empty, remove_with_retries, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from slaf.runtime.progress import Progress
    from slaf.targets.base import TargetFormat

__all__ = ["BucketDestination", "bucket_destination", "staging_url"]


# What is not larger is sent at once. Of a larger object so much, or more, is a piece: S3 takes
# 10,000 of them.
_PIECE = 8 << 20
_MOST_PIECES = 9000

# Objects that are sent, or removed, at a time.
_AT_ONCE = 4

# In the workshop: which objects of a folder are about to be removed and put.
_NOTE = "uploading.json"
logger = logging.getLogger(__name__)


def bucket_destination(url: str, options: Mapping[str, str]) -> BucketDestination:
    """The output at a URL.

    Raises
    ------
    StorageError
        If nothing can be written there.
    """
    if scheme_of(url) not in BUCKETS:
        msg = f"{redacted(url)}: an input may be there, but an output is on a disk or in a bucket"
        raise StorageError(msg)
    if not urlsplit(url).path.strip("/"):
        msg = f"{redacted(url)}: this is a bucket; name an output in it"
        raise StorageError(msg)
    return BucketDestination(url, options, Location(staging_url(url), options))


class BucketDestination:
    """A URL; an :class:`slaf.targets.destination.Destination`.

    An object appears whole. Of a folder the objects by which readers know it come last; and those
    of an older one that it replaces go first, when the new one is whole on this machine. What was
    uploaded by a process that was stopped is known by a note in the workshop, which is a prefix
    beside the output, and also holds the lock.

    Parameters
    ----------
    url
        Of the object, or of what is to be the prefix of several.
    options
        How to reach it.
    workshop
        The prefix beside it: at `workshop_url` of its URL.
    """

    def __init__(self, url: str, options: Mapping[str, str], workshop: Location) -> None:
        url = url.rstrip("/")
        above, _, name = url.rpartition("/")
        self.name = unquote(name)
        self.scratch = Path(tempfile.gettempdir())
        self._url = url
        self._options = options
        self._above = ObjectStore(above, options)
        self._workshop = workshop

    def __str__(self) -> str:
        return redacted(self._url)

    def refuse_within(self, dataset: Location) -> None:
        """Check that it would not lie among the objects of a dataset."""
        if f"{self}/".startswith(f"{dataset}/"):
            msg = f"{self}: it would lie in the dataset; name an output outside of it"
            raise TargetError(msg)

    def refuse_if_there(self, format: TargetFormat, *, overwrite: bool) -> None:
        """Check that it may be written; what an export left that was stopped may be removed."""
        if self._workshop.read(_NOTE) is None:
            self._refuse_if_there(format, overwrite=overwrite)

    def publish(
        self,
        write: Callable[[Path, Progress], None],
        format: TargetFormat,
        *,
        overwrite: bool,
        scratch: Path,
        seen: Progress,
    ) -> int:
        """Have it written to a scratch folder, and upload it; its bytes."""
        with self._workshop.lock():
            self._sweep()
            self._refuse_if_there(format, overwrite=overwrite)
            with self._written(
                scratch, lambda path: run_shielded(partial(write, path), seen)
            ) as path:
                size = size_of(path)
                logger.info("uploading %s (%s bytes)", self, f"{size:,}")
                self._refuse_if_there(format, overwrite=overwrite)
                if format.marks:
                    run_shielded(partial(self._put_folder, path, format), seen)
                else:
                    run_shielded(partial(self._put_file, path, format, overwrite=overwrite), seen)
        return size

    @contextmanager
    def _written(self, scratch: Path, write: Callable[[Path], None]) -> Iterator[Path]:
        """The path in a scratch folder to which it was written, until the block ends."""
        # As many as there are outputs of this name in buckets.
        told = xxhash.xxh3_64_hexdigest(str(self).encode())
        place = Location(scratch / f".{self.name}-{told}.new")
        remove_empty(place)
        with place.lock():
            place.remove(self.name)
            try:
                path = place.path / self.name
                try:
                    write(path)
                except StorageError as error:
                    # An error of this machine, and not of a bucket.
                    if error.errno is not None:
                        error.add_note(
                            f"{self} is written there first; --scratch chooses the folder"
                        )
                    raise
                yield path
            finally:
                remove_with_retries(lambda: place.remove(self.name))

    def _refuse_if_there(self, format: TargetFormat, *, overwrite: bool) -> None:
        there = input_path(self._url, self._options)
        if not there.exists():
            return
        if not overwrite:
            msg = f"{self}: it exists already; --overwrite replaces it"
            raise OutputExists(msg)
        if not format.is_one(there):
            msg = (
                f"{self}: what is there is no output of this format, and is not replaced; remove it"
            )
            raise OutputExists(msg)

    def _put_file(
        self,
        path: Path,
        format: TargetFormat,
        seen: Progress,
        *,
        overwrite: bool,
    ) -> None:
        def look() -> None:
            with self._workshop.mutation("publish", self.name):
                self._refuse_if_there(format, overwrite=overwrite)

        self._put(self.name, path, seen, look, new=not overwrite)

    def _put_folder(self, path: Path, format: TargetFormat, seen: Progress) -> None:
        """Put the objects of a folder in the place of those that are there."""
        files = {f"{self.name}/{name}": path / name for name in Location(path).list(".")}
        old = self._above.sizes(self.name)
        plain, marks = self._by_mark(files, format)
        old_plain, old_marks = self._by_mark(old, format)
        note = {"remove": [*old_plain, *old_marks], "put": [*plain, *marks]}
        self._workshop.put(_NOTE, json.dumps(note).encode())

        def put(name: str) -> None:
            self._put(name, files[name], seen, _not_at_all, new=name in marks)

        try:
            for name in reversed(old_marks):
                self._remove(name)
            _at_once(self._remove, old_plain)
            _at_once(put, plain)
            for name in marks:
                put(name)
        except BaseException as error:
            self._give_up(error)
            raise
        self._workshop.remove(_NOTE)

    def _by_mark(self, names: Iterable[str], format: TargetFormat) -> tuple[list[str], list[str]]:
        """Those that mark nothing, and those that do, in the order of the marks."""
        tops = {name: name.removeprefix(f"{self.name}/").partition("/")[0] for name in names}
        marks = [name for mark in format.marks for name in sorted(tops) if tops[name] == mark]
        return sorted(tops.keys() - marks), marks

    def _put(
        self, name: str, file: Path, seen: Progress, look: Callable[[], None], *, new: bool
    ) -> None:
        """Put an object, after a look; where it is `new`, and one request, over none."""
        size = file.stat().st_size
        with self._workshop.mutation("upload", name):
            seen.advance(0, 0)
            if size > _PIECE:
                piece = max(_PIECE, -(-size // _MOST_PIECES))
                self._above.upload(name, _pieces(file, piece, seen, look), piece)
                return
            look()
            if new:
                self._above.swap(name, file.read_bytes(), None)
            else:
                self._above.put(name, file.read_bytes())

    def _remove(self, name: str) -> None:
        with self._workshop.mutation("remove", name):
            self._above.delete([name])

    def _sweep(self) -> None:
        """Remove what was uploaded of a folder that did not become whole."""
        raw = self._workshop.read(_NOTE)
        if raw is None:
            return
        note: dict[str, list[str]] = json.loads(raw)
        there = set(self._above.sizes(self.name))
        # Nothing was removed yet, or all was put.
        if not any(names and there.issuperset(names) for names in note.values()):
            _at_once(self._remove, sorted(there & {*note["remove"], *note["put"]}))
        self._workshop.remove(_NOTE)

    def _give_up(self, error: BaseException) -> None:
        """Remove what was uploaded, or say that it stays."""
        try:
            self._sweep()
        except (StorageError, ConflictError):
            error.add_note(
                f"objects of it stay below {self}/, and nothing can be read of them: the next "
                "export to there removes them"
            )


def staging_url(url: str) -> str:
    """The prefix beside an output where its lock is, and the note of what is being uploaded."""
    above, _, name = url.rstrip("/").rpartition("/")
    return f"{above}/.{name}.new"


def _pieces(file: Path, size: int, seen: Progress, look: Callable[[], None]) -> Iterator[bytes]:
    with file.open("rb") as data:
        while piece := data.read(size):
            seen.advance(0, 0)
            yield piece
    # In a thread of its own: this one is amid a call of obstore, which allows of no second.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(look).result()


def _at_once(work: Callable[[str], None], names: Sequence[str]) -> None:
    """Do it for several at a time; none is under way any more when one fails."""
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="slaf-upload")
    try:
        for _ in pool.map(work, names):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def _not_at_all() -> None:
    """Nothing is looked for."""
