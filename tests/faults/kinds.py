"""The kinds of faults: each lets a command meet one, and tells whether it did and how it ended."""

from __future__ import annotations

import errno
import signal
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from slaf.errors import ConflictError, StorageError
from slaf.runtime.progress import NullProgress
from slaf.testing.crashing import Crash, CrashingStorage, Failure, Moment
from slaf_cli.report import ExitCode
from tests.faults.disks import Disk
from tests.faults.interposer import Action
from tests.faults.operations import Annotation, Converting
from tests.faults.orders import Befallen

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.commands import Commands
    from tests.faults.operations import Operation
    from tests.faults.orders import Ended

__all__ = ["KINDS", "Kind", "Ready", "Struck"]


# Seconds, for a command that may never end.
_PATIENCE = 15
_DAY = 86_400
_JUMPS = [way * jump for way in (-1, 1) for jump in (3600, _DAY, 400 * _DAY)]
_TOLD = (ExitCode.STORAGE,)
_KILLED = (-signal.SIGKILL,)
# TileDB may crash when the disk fails under it, and it takes what it has written itself for
# something else when the clock was set back: an export is then not there, or whole.
_OF_TILEDB = (-signal.SIGSEGV, -signal.SIGABRT, ExitCode.STORAGE)
# What Rust, C++ and the system do when there is no memory; a command that does not end then is
# killed.
_ABORTED = (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGTRAP)
_EXHAUSTED = (*_TOLD, *_KILLED, *_ABORTED)


@dataclass(frozen=True)
class Ready:
    """An operation of which is known what it makes, and how it goes about it.

    Attributes
    ----------
    expected, rows
        What it makes, and row by row.
    changes, effects
        How many changes of files the system sees, and how many effects the program announces;
        of an export, none.
    seconds, bytes
        What it takes.
    """

    operation: Operation
    expected: Any
    rows: Any
    changes: int
    effects: int
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Struck:
    """Whether a command met its fault, and what is wrong with how it ended; "" if nothing."""

    met: bool
    untold: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes
    ----------
    family
        What the table sums up.
    amount
        How many the long campaign injects.
    strike
        Let a command for this output meet it.
    fits
        Whether an operation can meet it.
    most
        How many times, one after the other, a command is tried and meets it.
    disk
        Whether it takes a disk of its own.
    """

    family: str
    amount: int
    strike: Callable[[Commands, Ready, Path, random.Random], Struck]
    fits: Callable[[Operation], bool] = lambda _: True
    most: int = 3
    disk: bool = False


# Of a command whose output is whole, or was before.
_WHOLE = (0, ExitCode.CONFLICT, ExitCode.ALREADY_IN_DATASET)


def _below(output: Path) -> Path:
    return output.parent


def _at_a_change(
    action: Action, *arguments: int, codes: tuple[int, ...], when: tuple[float, float] = (0, 1)
) -> Callable[..., Struck]:
    """A fault at any change of a file."""

    def strike(commands: Commands, ready: Ready, output: Path, rng: random.Random) -> Struck:
        at = int(rng.uniform(*when) * ready.changes)
        befallen = Befallen(action, at, rng.choice(arguments or (0,)))
        words = ready.operation.words(output)
        ended = commands.run(words, _below(output), befallen)
        met = ended.met is None or ended.met > 0
        more = _OF_TILEDB if output.suffix == ".soma" else ()
        # An output that was whole already may be refused.
        return Struck(met, _untold(ended, (*codes, *more) if met else _WHOLE))

    return strike


def _untold(ended: Ended, codes: tuple[int, ...]) -> str:
    """What is wrong with how a command ended, which may end by one of these codes."""
    if ended.code in codes and (ended.code <= 0 or _is_paragraph(ended.err)):
        return ""
    return f"it ended by {ended.code}: {ended.err}"


def _is_paragraph(err: str) -> bool:
    # Before it there may be what the user was told at the beginning.
    last = err.splitlines()[-1] if err else ""
    return "Traceback" not in err and last.startswith("slaf: ")


def _at_a_time(commands: Commands, ready: Ready, output: Path, rng: random.Random) -> Struck:
    """Killed at a time that has nothing to do with what it does."""
    command = commands.start(ready.operation.words(output), _below(output), Befallen())
    ended = command.wait(kill_after=rng.uniform(0, ready.seconds))
    # An output that an earlier fault has left whole may be refused.
    return Struck(ended.code < 0, _untold(ended, (*_WHOLE, -signal.SIGKILL)))


def _effect(moment: Moment, failure: Failure) -> Callable[..., Struck]:
    """A fault at any effect that the program announces."""

    def strike(_: Commands, ready: Ready, output: Path, rng: random.Random) -> Struck:
        assert isinstance(ready.operation, Converting)
        storage = CrashingStorage(output, rng.randrange(ready.effects), moment, failure)
        try:
            ready.operation.conversion.run(storage)
        except Crash:
            return Struck(met=True)
        except StorageError as error:
            return Struck(met=True, untold="" if error.errno == errno.ENOSPC else repr(error))
        except ConflictError:
            # It was whole already.
            pass
        return Struck(met=False)

    return strike


def _with_files_of(most: int) -> Callable[..., Struck]:
    """The system lets no file grow beyond so many bytes, or fewer."""

    def strike(commands: Commands, ready: Ready, output: Path, rng: random.Random) -> Struck:
        befallen = Befallen(largest_file=rng.randrange(1, most))
        ended = commands.run(ready.operation.words(output), _below(output), befallen)
        return Struck(ended.code != 0, _untold(ended, (0, *_TOLD)))

    return strike


def _with_memory_of(least: int, most: int) -> Callable[..., Struck]:
    """The system gives no more than so many bytes of memory."""

    def strike(commands: Commands, ready: Ready, output: Path, rng: random.Random) -> Struck:
        befallen = Befallen(memory=rng.randrange(least, most))
        command = commands.start(ready.operation.words(output), _below(output), befallen)
        ended = command.wait(kill_after=_PATIENCE)
        # A library that cannot be loaded says so itself.
        unloaded = "binary is missing" in ended.err
        return Struck(ended.code != 0, "" if unloaded else _untold(ended, (0, *_EXHAUSTED)))

    return strike


def _full(commands: Commands, ready: Ready, output: Path, rng: random.Random) -> Struck:
    """A disk that fills up."""
    disk = Disk(output.parents[1])
    with disk.leaving(rng.randrange(ready.bytes)):
        ended = commands.run(ready.operation.words(output), _below(output), Befallen())
    return Struck(ended.code != 0, _untold(ended, (0, ExitCode.STORAGE)))


def _read_only(commands: Commands, ready: Ready, output: Path, _: random.Random) -> Struck:
    """A disk that cannot be written."""
    disk = Disk(output.parents[1])
    with disk.read_only():
        ended = commands.run(ready.operation.words(output), _below(output), Befallen())
    return Struck(met=True, untold=_untold(ended, (ExitCode.STORAGE,)))


class _Dying(NullProgress):
    """Is told of the work by those who do it, and lets one of them die."""

    def __init__(self, batches: int, how: BaseException) -> None:
        self._left = batches
        self._how = how
        self.died = False

    def advance(self, cells: int, nonzeros: int) -> None:
        super().advance(cells, nonzeros)
        self._left -= 1
        if self._left < 0:
            self.died = True
            raise self._how


def _dying(*hows: type[BaseException]) -> Callable[..., Struck]:
    """A worker ends amid its part."""

    def strike(_: Commands, ready: Ready, output: Path, rng: random.Random) -> Struck:
        assert isinstance(ready.operation, Converting)
        conversion = ready.operation.conversion
        dying = _Dying(rng.randrange(12), rng.choice(hows)("the worker"))
        options = conversion.options | {"progress": dying}
        if not isinstance(conversion, Annotation):
            options["workers"] = rng.randrange(3)
        untold = ""
        try:
            replace(conversion, options=options).run(output)
        except ConflictError:
            return Struck(met=False)
        except hows:
            pass
        except Exception as error:  # noqa: BLE001 - whatever else it is, it is the finding
            untold = repr(error)
        else:
            untold = "it went on" if dying.died else ""
        return Struck(dying.died, untold)

    return strike


def _together(commands: Commands, ready: Ready, output: Path, rng: random.Random) -> Struck:
    """Two processes are given the same command."""
    words = ready.operation.words(output)
    first = commands.start(words, _below(output), Befallen())
    time.sleep(rng.uniform(0, ready.seconds))
    second = commands.start(words, _below(output), Befallen())
    ended = [first.wait(), second.wait()]
    untold = [_untold(one, _WHOLE) for one in ended]
    if not any(one.code == 0 for one in ended):
        untold.append(f"neither did it: {ended}")
    return Struck(met=True, untold="; ".join(filter(None, untold)))


def _stale(commands: Commands, ready: Ready, output: Path, rng: random.Random) -> Struck:
    """A process died and left its lock."""
    lock = ready.operation.lock(output)
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(f"{rng.randrange(1 << 22, 1 << 30)}\n")
    ended = commands.run(ready.operation.words(output), _below(output), Befallen())
    return Struck(met=True, untold=_untold(ended, (0,)))


def _converts(operation: Operation) -> bool:
    return isinstance(operation, Converting)


KINDS: dict[str, Kind] = {
    # Killed by SIGKILL.
    "killed at any time": Kind("kill", 180, _at_a_time),
    "killed before a change of a file": Kind(
        "kill", 220, _at_a_change(Action.SIGNAL, signal.SIGKILL, codes=_KILLED)
    ),
    "killed amid a change of a file": Kind("kill", 120, _at_a_change(Action.TEAR, codes=_KILLED)),
    # Stopped, as far as the disk can tell.
    "crash before an effect": Kind("crash", 100, _effect(Moment.BEFORE, Failure.CRASH), _converts),
    "crash after an effect": Kind("crash", 100, _effect(Moment.AFTER, Failure.CRASH), _converts),
    # Refused by the disk.
    "full before an effect": Kind("storage", 40, _effect(Moment.BEFORE, Failure.FULL), _converts),
    "full after an effect": Kind("storage", 40, _effect(Moment.AFTER, Failure.FULL), _converts),
    "ENOSPC or EDQUOT from a change on": Kind(
        "storage", 60, _at_a_change(Action.FAIL_ON, errno.ENOSPC, errno.EDQUOT, codes=_TOLD)
    ),
    "EIO once": Kind("storage", 60, _at_a_change(Action.FAIL, errno.EIO, codes=(0, *_TOLD))),
    # Most of what a command changes last is files that it removes.
    "EIO once, near the end": Kind(
        "storage",
        30,
        _at_a_change(Action.FAIL, errno.EIO, codes=(0, *_TOLD), when=(0.85, 1)),
    ),
    "EROFS from a change on": Kind(
        "storage", 30, _at_a_change(Action.FAIL_ON, errno.EROFS, codes=_TOLD)
    ),
    "a file that may not grow": Kind("storage", 20, _with_files_of(6000)),
    "a disk that fills up": Kind("storage", 25, _full, disk=True),
    "a disk that is read-only": Kind("storage", 10, _read_only, most=1, disk=True),
    # Told to stop.
    "SIGTERM": Kind(
        "stop", 30, _at_a_change(Action.SIGNAL, signal.SIGTERM, codes=(ExitCode.TERMINATED,))
    ),
    "Ctrl-C": Kind(
        "stop", 30, _at_a_change(Action.SIGNAL, signal.SIGINT, codes=(ExitCode.INTERRUPTED,))
    ),
    # And the rest of what happens to programs.
    "no more memory": Kind("other", 12, _with_memory_of(24 << 20, 96 << 20), most=1),
    "MemoryError in a worker": Kind("other", 20, _dying(MemoryError), _converts),
    "a worker that ends": Kind("other", 20, _dying(SystemExit, RuntimeError), _converts),
    "the clock jumps": Kind("other", 20, _at_a_change(Action.CLOCK, *_JUMPS, codes=(0,)), most=1),
    "two processes": Kind("other", 20, _together, most=1),
    "a stale lock": Kind("other", 20, _stale, most=1),
}
