"""Objects below a URL, by name: get, put, swap, list, delete."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError, PreconditionError

from slaf.errors import Locked, NoSuchBucket, SlafError, StorageError, StorageUnavailable
from slaf.storage.errors import storage_error
from slaf.storage.object_options import lance_options, open_store
from slaf.storage.urls import is_web, redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from obstore import GetOptions, ListResult, ObjectMeta

__all__ = ["ObjectStore"]

T = TypeVar("T")


# A conditional put whose answer was lost may have been done: obstore does not send it again, so it
# is repeated here, unless the attempts have taken this many seconds already.
_ATTEMPTS, _MAX_SECONDS = 3, 20.0
_CONCURRENT_PIECES = 4


class ObjectStore:
    """Objects below a URL, by name; errors of obstore are raised as errors of SLAF.

    Parameters
    ----------
    url
        A prefix of a bucket, or an address of the web, whose one object has the name "".
    options
        Credentials and settings.

    Attributes
    ----------
    is_web
        Whether it is an address of the web.
    url, options
        The parameters, which may be secret.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self.is_web = is_web(url)
        self.url = url if self.is_web else url.rstrip("/")
        self.options = dict(options)
        self._label = redacted(url).rstrip("/")
        self._store = open_store(self.url, options)

    def __str__(self) -> str:
        return self._label

    @property
    def lance_options(self) -> dict[str, str]:
        """Storage options for Lance, with retries and timeouts, which may be secret."""
        return lance_options(self.url, self.options)

    def get(self, name: str) -> tuple[bytes, dict[str, str]] | None:
        """An object and its version; None if it does not exist, in a bucket that does."""

        def read() -> tuple[bytes, dict[str, str]]:
            answer = obstore.get(self._store, name)
            return bytes(answer.bytes()), _version(answer.meta)

        return self._unless_missing("read", name, read)

    def get_range(self, name: str, start: int, stop: int, etag: str | None) -> bytes | None:
        """Some bytes of an object; None if it has another etag by now."""
        options: GetOptions = {"range": (start, stop)}
        if etag is not None:
            options["if_match"] = etag
        with self._errors("read", name):
            try:
                return bytes(obstore.get(self._store, name, options=options).bytes())
            except PreconditionError:
                return None

    def put(self, name: str, data: bytes) -> None:
        """Put an object, replacing any of this name."""
        with self._errors("write", name):
            obstore.put(self._store, name, data, use_multipart=False)

    def upload(self, name: str, pieces: Iterator[bytes], size: int) -> None:
        """Put an object of pieces that need not fit in memory, replacing any of this name.

        It appears after the last piece. An error of `pieces` is raised here, and the pieces that
        were sent are discarded.

        Parameters
        ----------
        name
            The object.
        pieces
            Its content.
        size
            The bytes of each piece but the last.
        """
        with self._errors("write", name):
            obstore.put(
                self._store, name, pieces, chunk_size=size, max_concurrency=_CONCURRENT_PIECES
            )

    def swap(self, name: str, data: bytes, over: Mapping[str, str] | None) -> dict[str, str]:
        """Put an object in place of the version `over`, or of none; its new version.

        Raises
        ------
        Locked
            If the object has another version.
        """
        mode: Any = "create" if over is None else dict(over)
        begun = time.monotonic()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._errors("write", name):
                    return self._swap_once(name, data, mode)
            except StorageUnavailable:
                if attempt == _ATTEMPTS or time.monotonic() - begun > _MAX_SECONDS:
                    raise
        raise AssertionError  # the last attempt returns or raises

    def sizes(self, prefix: str) -> dict[str, int]:
        """The bytes of each object below a prefix, by its name."""
        return {meta["path"]: meta["size"] for meta in self.list(prefix)}

    def list(self, prefix: str) -> Sequence[ObjectMeta]:
        """The metadata of each object below a prefix."""
        with self._errors("list", prefix):
            return [meta for chunk in obstore.list(self._store, prefix or None) for meta in chunk]

    def children(self, prefix: str) -> ListResult[Sequence[ObjectMeta]]:
        """The objects and prefixes directly below a prefix."""
        with self._errors("list", prefix):
            return obstore.list_with_delimiter(self._store, prefix or None)

    def head(self, name: str) -> ObjectMeta | None:
        """The metadata of an object; None if it does not exist, in a bucket that does."""

        def read() -> ObjectMeta:
            if self.is_web:
                # A signed address is signed for GET alone.
                return obstore.get(self._store, name, options={"range": (0, 1)}).meta
            return obstore.head(self._store, name)

        return self._unless_missing("read", name, read)

    def size_of(self, name: str) -> int | None:
        """The bytes of an object; None if it does not exist."""
        meta = self.head(name)
        return None if meta is None else meta["size"]

    def copy(self, name: str, to: str) -> None:
        """Copy an object, replacing any of the other name."""
        with self._errors("write", to):
            obstore.copy(self._store, name, to)

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; missing ones are skipped."""
        for name in names:
            self._unless_missing("remove", name, partial(obstore.delete, self._store, name))

    def _swap_once(self, name: str, data: bytes, mode: Any) -> dict[str, str]:
        try:
            return _version(obstore.put(self._store, name, data, mode=mode, use_multipart=False))
        except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
            if _is_missing_bucket(error):
                raise
        except (NotSupportedError, NotImplementedError) as error:
            msg = (
                f"{self}: this storage has no conditional writes, without which two processes "
                "could write at once; convert to a disk, and copy the dataset"
            )
            raise StorageError(msg) from error
        return self._version_of(name, data)

    def _version_of(self, name: str, data: bytes) -> dict[str, str]:
        """The version of an object that an earlier request, whose answer was lost, has put."""
        stored = self.get(name)
        if stored is not None and stored[0] == data:
            return stored[1]
        msg = f"{self}/{name}: another process has written it meanwhile"
        raise Locked(msg)

    def _unless_missing(self, verb: str, name: str, request: Callable[[], T]) -> T | None:
        """The answer to a request; None if the object does not exist, in a bucket that does."""
        with self._errors(verb, name):
            try:
                return request()
            except FileNotFoundError as error:
                if _is_missing_bucket(error):
                    raise
                return None

    @contextmanager
    def _errors(self, verb: str, name: str) -> Iterator[None]:
        try:
            yield
        except SlafError:
            raise
        except (BaseError, OSError) as error:
            label = f"{self}/{name}" if name else str(self)
            raise storage_error(label, verb, error) from None


def _is_missing_bucket(error: BaseException) -> bool:
    return isinstance(storage_error("", "", error), NoSuchBucket)


def _version(meta: Mapping[str, Any]) -> dict[str, str]:
    """The etag and version of an object, which identify its content."""
    return {key: meta[key] for key in ("e_tag", "version") if meta.get(key)}
