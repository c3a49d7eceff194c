"""A location that breaks on purpose, to see what is left of a conversion that is stopped."""

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
    """The process ended here, as far as the disk can tell."""


class Failure(StrEnum):
    """What happens at the effect that was chosen.

    Attributes
    ----------
    CRASH
        :class:`Crash` is raised, there and at every later effect: the dead change nothing.
    KILL
        The process kills itself by SIGKILL, so that not even the interpreter ends in order.
    FULL
        The disk is full: :class:`~slaf.errors.StorageError` is raised, there and at every later
        effect that does not free space.
    """

    CRASH = "crash"
    KILL = "kill"
    FULL = "full"


class Moment(StrEnum):
    """Whether it happens before the effect or after it, be it that the effect failed."""

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

    Without `at` it only records, which is how to learn what there is to fail at. It may be
    used by several threads; then the order of effects, and which of them fails, is theirs.

    Parameters
    ----------
    path, storage_options
        The directory, or its URL and how to reach it.
    at
        The position, from 0, of the effect that fails; None for none.
    moment
        Whether it fails before anything is changed or once all is.
    failure
        How.

    Attributes
    ----------
    effects
        The effects so far, in the order in which they began.

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
        """Record one change to what is stored, and fail if it is the one.

        Raises
        ------
        Crash, StorageError
            As `failure` says.
        """
        effect = Effect(action, name)
        with self._lock:
            number = len(self.effects)
            self.effects.append(effect)
            self._fail_if(self._is(number, Moment.BEFORE), effect)
        try:
            with super().mutation(action, name):
                yield
        finally:
            with self._lock:
                self._fail_if(self._is(number, Moment.AFTER), effect)

    def _is(self, number: int, moment: Moment) -> bool:
        return number == self._at and moment is self._moment

    def _fail_if(self, now: bool, effect: Effect) -> None:  # noqa: FBT001 - what the name asks
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
