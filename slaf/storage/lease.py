"""A lock in a bucket: an object that its holder renews, and that runs out when it does not."""

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
    from slaf.storage.object_store import ObjectStore

__all__ = ["LEASE_SECONDS", "Lease", "LeaseRecord", "is_expired"]

LEASE_SECONDS = 60.0

# Of the lease: how soon it is renewed, and how much of it is left when its holder lets go.
_RENEWED_AFTER, _MARGIN = 0.25, 0.1

# Servers give times in whole seconds.
_GRAIN = 2.0

# https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: behind the state, the name and the pid
_START_TIME = 18

# What counts while a laptop sleeps, which the monotonic clock of Linux does not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

# The locks that this process held, and holds no more.
_LET_GO: set[str] = set()


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What the lock says of its holder.

    Attributes
    ----------
    holder
        Tells this holding of the lock from all others.
    host, pid
        The process, for people.
    machine, started
        The running system that `pid` is a number in, and when the process began in it; empty
        where that cannot be told.
    seconds
        How long the lease is, from the moment in which the object was last written.
    renewals
        How often it was renewed.
    """

    holder: str
    host: str
    pid: int
    machine: str
    started: str
    seconds: float
    renewals: int = 0

    @classmethod
    def mine(cls, seconds: float) -> LeaseRecord:
        """One for this process."""
        machine, pid = _machine(), os.getpid()
        return cls(uuid4().hex, socket.gethostname(), pid, machine, _started(pid), seconds)

    @classmethod
    def of(cls, data: bytes) -> LeaseRecord | None:
        """As `to_bytes` wrote it; None if it is not that."""
        try:
            return cls(**json.loads(data))
        except (TypeError, ValueError):
            return None

    def to_bytes(self) -> bytes:
        """As the object holds it."""
        return json.dumps(asdict(self)).encode()

    def let_go(self) -> None:
        """Note that this process does not hold it, whatever is in the bucket."""
        _LET_GO.add(self.holder)

    def is_dead(self) -> bool:
        """Whether its holder is no more, as far as this machine can tell, or has let go of it."""
        if self.holder in _LET_GO:
            return True
        if not self.machine or self.machine != _machine():
            return False
        return _started(self.pid) != self.started


class Lease:
    """A lock that is held, and renewed from a thread of its own; a `Hold`.

    Parameters
    ----------
    objects
        Where it lies.
    name
        The object.
    ticket, version
        What was written there, and the version that it has.
    begun
        The time at which that was asked for, which is not after it was done.
    """

    def __init__(
        self,
        objects: ObjectStore,
        name: str,
        ticket: LeaseRecord,
        version: dict[str, str],
        begun: float,
    ) -> None:
        self._objects = objects
        self._name = name
        self._ticket = ticket
        self._version = version
        self._until = begun + ticket.seconds * (1 - _MARGIN)
        self._lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="slaf-lease", daemon=True)
        self._thread.start()

    @staticmethod
    def now() -> float:
        """The time that leases are counted by."""
        return time.clock_gettime(_CLOCK)

    def check(self) -> None:
        """Raise an error if the lease is lost, or could not be renewed in time.

        Raises
        ------
        Locked
            If another process may hold it by now.
        """
        if self._lost or self.now() > self._until:
            msg = (
                f"{self._objects}: the lock was lost, for it could not be renewed in time, and "
                "another process may be writing here; nothing more was written: run the same "
                "command again to finish"
            )
            raise Locked(msg)

    def tidy(self) -> None:
        """Remove the object, if it is still this lease's."""
        self._stop()
        if not self._lost and self.now() <= self._until:
            self._objects.delete([self._name])

    def release(self) -> None:
        """Renew it no more; what `tidy` could not remove holds off nobody in this process."""
        self._stop()
        self._ticket.let_go()

    def _stop(self) -> None:
        self._ended.set()
        self._thread.join(self._ticket.seconds)

    def _keep(self) -> None:
        while not self._ended.wait(self._ticket.seconds * _RENEWED_AFTER):
            begun = self.now()
            if begun > self._until:
                self._lost = True
                return
            renewed = replace(self._ticket, renewals=self._ticket.renewals + 1)
            try:
                self._version = self._objects.swap(self._name, renewed.to_bytes(), self._version)
            except Locked:
                self._lost = True
                return
            except StorageError:
                continue  # the network may come back before the lease runs out
            self._ticket = renewed
            self._until = begun + renewed.seconds * (1 - _MARGIN)


def is_expired(ticket: LeaseRecord | None, age: float) -> bool:
    """Whether a lock that was last written so many seconds ago holds no one off any more."""
    if ticket is None:
        return age > LEASE_SECONDS + _GRAIN
    return age > ticket.seconds + _GRAIN or ticket.is_dead()


def _machine() -> str:
    """The running system, and the numbering of processes in it; empty if it has no name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process began, in its system's time; empty if there is none that is alive."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if state in {"Z", "X"} else rest[_START_TIME]
