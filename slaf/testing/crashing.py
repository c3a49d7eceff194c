"""A location that fails on purpose, to test runs that are stopped."""

from __future__ import annotations

import errno
import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from slaf.errors import StorageError
from slaf.storage.location import Location

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Crash", "CrashingStorage", "Effect", "Failure", "Moment"]

_FREEING = frozenset({"clean", "remove", "unlock"})


class Crash(BaseException):
    """Stands for the end of the process: no later effect reaches the disk."""


class Failure(StrEnum):
    """The failure at the chosen effect.

    Attributes
    ----------
    CRASH
        :class:`Crash` is raised at this and every later effect.
    KILL
        The process kills itself by SIGKILL, without any clean-up.
    FULL
        The disk is full: :class:`~slaf.errors.StorageError` is raised at this effect and at every
        later one that does not free space.
    """

    CRASH = "crash"
    KILL = "kill"
    FULL = "full"


class Moment(StrEnum):
    """Whether the failure precedes the effect or follows it, also if the effect itself failed."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Effect:
    """One change to stored files; :meth:`slaf.storage.location.Location.mutation` announces it."""

    action: str
    name: str

    def __str__(self) -> str:
        return f"{self.action} {self.name}"


class CrashingStorage(Location):
    """A location that records every effect on the disk, and fails at one of them.

    Without `at` it only records the effects. With several threads, the order of effects and the
    one that fails depend on the threads.

    Parameters
    ----------
    path, storage_options
        The directory, or its URL and options for its bucket.
    at
        The position, from 0, of the effect that fails; None for none.
    moment
        Whether it fails before or after the change.
    failure
        The kind of failure.

    Attributes
    ----------
    effects
        The effects so far, in the order of their starts.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     storage = CrashingStorage(directory, at=1)
    ...     storage.put("a.txt", b"written")
    ...     try:
    ...         storage.put("b.txt", b"not written")
    ...     except Crash as crash:
    ...         print(crash)
    ...     storage.list(".")
    before put b.txt
    ['a.txt']
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        at: int | None = None,
        moment: Moment = Moment.BEFORE,
        failure: Failure = Failure.CRASH,
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(path, storage_options)
        self.effects: list[Effect] = []
        self._at = at
        self._moment = moment
        self._failure = failure
        self._failed_at = ""
        self._lock = threading.Lock()

    @contextmanager
    def mutation(self, action: str, name: str) -> Iterator[None]:
        """Record one change of stored files, and fail if its position is `at`.

        Raises
        ------
        Crash, StorageError
            According to `failure`.
        """
        effect = Effect(action, name)
        with self._lock:
            number = len(self.effects)
            self.effects.append(effect)
            self._fail(effect, now=(number, Moment.BEFORE) == (self._at, self._moment))
        try:
            with super().mutation(action, name):
                yield
        finally:
            with self._lock:
                self._fail(effect, now=(number, Moment.AFTER) == (self._at, self._moment))

    def _fail(self, effect: Effect, *, now: bool) -> None:
        """Fail if this effect is the chosen one, or an earlier one was."""
        if now:
            self._failed_at = f"{self._moment} {effect}"
        if not self._failed_at:
            return
        if self._failure is Failure.CRASH:
            raise Crash(self._failed_at)
        if self._failure is Failure.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if effect.action not in _FREEING or now:
            raise StorageError(errno.ENOSPC, f"{self}: no space left on device, {self._failed_at}")
