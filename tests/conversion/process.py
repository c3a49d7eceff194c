"""A conversion or an append in a process of its own, which may be killed while it runs."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import slaf
from slaf.errors import SlafError
from slaf.runtime.progress import NullProgress
from slaf.storage.location import Location
from slaf.testing.crashing import CrashingStorage, Failure
from tests.forked import FORKED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

__all__ = ["KILLED", "ConvertingProcess"]

KILLED = -9

# So long a machine that is busy otherwise may keep it waiting.
_PATIENCE = 240


class ConvertingProcess:
    """`slaf.convert` or `slaf.append` in another process, begun by :meth:`go`.

    Parameters
    ----------
    source, output, options
        The call.
    appends
        Whether it appends; else it converts.
    then
        What to call it with after that, each time when it is told to :meth:`go` again.
    kill_before
        The effect, counted from 0, before which the process kills itself by SIGKILL.
    hold_after
        The number of batches after which it holds still until it is told to :meth:`go` on.
    largest_file
        The bytes beyond which the system lets no file of it grow.
    """

    def __init__(
        self,
        source: Path | list[Path],
        output: Path | str,
        options: Mapping[str, Any],
        *,
        appends: bool = False,
        then: Sequence[Path] = (),
        kill_before: int | None = None,
        hold_after: int | None = None,
        largest_file: int | None = None,
    ) -> None:
        self._connection, theirs = FORKED.Pipe()
        call = _Call(
            [source, *then], output, dict(options), appends, kill_before, hold_after, largest_file
        )
        self._process = FORKED.Process(target=_convert, args=(theirs, call), daemon=True)
        self._process.start()
        theirs.close()
        assert self.says() == "ready"

    def go(self) -> None:
        """Let it begin, or go on."""
        self._connection.send("go")

    def says(self) -> str:
        """What it says next: "ready", "held", "done", or the name of an error."""
        assert self._connection.poll(_PATIENCE), "the process says nothing"
        return str(self._connection.recv())

    def kill(self) -> None:
        """Kill it by SIGKILL."""
        self._process.kill()

    def wait(self) -> int:
        """Its exit code, once it ended; `KILLED` if it was killed."""
        self._process.join(_PATIENCE)
        assert self._process.exitcode is not None, "the process does not end"
        self._connection.close()
        return self._process.exitcode


@dataclass(frozen=True)
class _Call:
    sources: list[Path | list[Path]]
    output: Path | str
    options: dict[str, Any]
    appends: bool
    kill_before: int | None
    hold_after: int | None
    largest_file: int | None


class _Holding(NullProgress):
    """Holds a run still when so many batches are done."""

    def __init__(self, connection: Connection[Any, Any], batches: int) -> None:
        self._connection = connection
        self._left = batches

    def advance(self, cells: int, nonzeros: int) -> None:
        super().advance(cells, nonzeros)
        self._left -= 1
        if self._left == 0:
            self._connection.send("held")
            self._connection.recv()


def _convert(connection: Connection[Any, Any], call: _Call) -> None:
    """What the process does."""
    reach = call.options.get("storage_options")
    location = Location(call.output, reach)
    if call.kill_before is not None:
        location = CrashingStorage(
            call.output, call.kill_before, failure=Failure.KILL, storage_options=reach
        )
    if call.hold_after is not None:
        call.options["progress"] = _Holding(connection, call.hold_after)
    if call.largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (call.largest_file, call.largest_file))
    # Imports what is needed, before the clock starts.
    run = slaf.append if call.appends else slaf.convert
    connection.send("ready")
    for source in call.sources:
        connection.recv()
        try:
            run(source, location, **call.options)
        except SlafError as error:
            connection.send(type(error).__name__)
        else:
            connection.send("done")
