"""A lock in a bucket: an object that its holder renews, and that expires when it does not."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from slaf.errors import Locked, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from slaf.storage.object_store import ObjectStore

__all__ = ["LEASE_SECONDS", "Lease", "LeaseRecord", "is_expired"]

LEASE_SECONDS = 60.0

# Fractions of the lease: after the first it is renewed, and with the second left its holder stops.
_RENEW_AFTER, _MARGIN = 0.25, 0.1

# Servers give times in whole seconds.
_CLOCK_PRECISION = 2.0

# https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: after the state, the name and the pid
_START_TIME_FIELD = 18

# A clock that counts while a laptop sleeps, which the monotonic clock of Linux does not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

# Holders of this process that have given up their lock.
_ABANDONED: set[str] = set()


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """Content of the lock: its holder and its length.

    Attributes
    ----------
    holder
        A unique id of this acquisition of the lock.
    host, pid
        The process, for messages.
    machine, started
        The running system to which `pid` belongs, and the start time of the process; empty where
        they are not known.
    seconds
        The length of the lease, counted from the last write of the object.
    renewals
        The number of renewals so far.
    """

    holder: str
    host: str
    pid: int
    machine: str
    started: str
    seconds: float
    renewals: int = 0

    @classmethod
    def of_this_process(cls, seconds: float) -> LeaseRecord:
        """A new lease of this process."""
        machine, pid = _machine(), os.getpid()
        return cls(uuid4().hex, socket.gethostname(), pid, machine, _start_time(pid), seconds)

    @classmethod
    def from_bytes(cls, data: bytes) -> LeaseRecord | None:
        """The record that `to_bytes` wrote; None for other content."""
        try:
            return cls(**json.loads(data))
        except (TypeError, ValueError):
            return None

    def to_bytes(self) -> bytes:
        """The record as JSON."""
        return json.dumps(asdict(self)).encode()

    def abandon(self) -> None:
        """Record that this process does not hold the lock, whatever the bucket contains."""
        _ABANDONED.add(self.holder)

    def is_abandoned(self) -> bool:
        """Whether the holder gave it up, or is a dead process of this machine."""
        if self.holder in _ABANDONED:
            return True
        if not self.machine or self.machine != _machine():
            return False
        return _start_time(self.pid) != self.started


class Lease:
    """A held lease, renewed by a thread; a :class:`slaf.storage.backend.Lock`.

    Parameters
    ----------
    objects
        The prefix that holds the object.
    name
        The object.
    record, version
        Its content, and the version that this content has.
    requested
        A time not after the write of the object.
    ended
        Called when the lock is cleaned up, and when it is released.

    taken_over
        Whether another process held the lock before, and may still be writing.
    """

    def __init__(
        self,
        objects: ObjectStore,
        name: str,
        record: LeaseRecord,
        version: dict[str, str],
        *,
        requested: float,
        ended: Callable[[], None],
        taken_over: bool,
    ) -> None:
        self.taken_over = taken_over
        self._objects = objects
        self._name = name
        self._record = record
        self._version = version
        self._valid_until = requested + record.seconds * (1 - _MARGIN)
        self._ended = ended
        self._lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="slaf-lease", daemon=True)
        self._thread.start()

    @staticmethod
    def now() -> float:
        """The time on the clock of leases."""
        return time.clock_gettime(_CLOCK)

    def check(self) -> None:
        """Raise an error if the lease is lost, or was not renewed in time.

        Raises
        ------
        Locked
            If another process may hold it by now.
        """
        if not self._is_valid():
            msg = (
                f"{self._objects}: the lock was lost: it could not be renewed in time, and "
                "another process may be writing here; nothing more was written: run the same "
                "command again to finish"
            )
            raise Locked(msg)

    def clean_up(self) -> None:
        """Remove the object, if it still belongs to this lease."""
        self._ended()
        self._stop_renewing()
        if self._is_valid():
            self._objects.delete([self._name])

    def release(self) -> None:
        """Stop renewing it; an object that `clean_up` did not remove does not count as held."""
        self._ended()
        self._stop_renewing()
        self._record.abandon()

    def _is_valid(self) -> bool:
        return not self._lost and self.now() <= self._valid_until

    def _stop_renewing(self) -> None:
        self._stop.set()
        self._thread.join(self._record.seconds)

    def _renew(self) -> None:
        while not self._stop.wait(self._record.seconds * _RENEW_AFTER):
            requested = self.now()
            if requested > self._valid_until:
                self._lost = True
                return
            renewed = replace(self._record, renewals=self._record.renewals + 1)
            try:
                self._version = self._objects.swap(self._name, renewed.to_bytes(), self._version)
            except Locked:
                self._lost = True
                return
            except StorageError:
                continue  # the network may recover before the lease expires
            self._record = renewed
            self._valid_until = requested + renewed.seconds * (1 - _MARGIN)


def is_expired(record: LeaseRecord | None, age: float) -> bool:
    """Whether another process may take a lock that was last written `age` seconds ago."""
    if record is None:
        return age > LEASE_SECONDS + _CLOCK_PRECISION
    return age > record.seconds + _CLOCK_PRECISION or record.is_abandoned()


def _machine() -> str:
    """The running system and its namespace of process ids; empty if it has no name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """The start time of a process, by the clock of its system; empty if it does not run."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if state in {"Z", "X"} else rest[_START_TIME_FIELD]
