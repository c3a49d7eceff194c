"""Commands of `slaf` in processes that are warm already, so that a thousand are cheap."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Listener
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.interposer import build
from tests.faults.orders import Befallen, Ended, Order

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import TracebackType
    from typing import Any, Self

__all__ = ["Command", "Commands"]

_ROOT = Path(__file__).parents[2]
_PATIENCE = 60
# Two may be wanted at once.
_WARM = 2


class Commands:
    """Where commands are run, in processes of which two are always warm.

    Parameters
    ----------
    folder
        Where what it needs itself is put.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listener = Listener(str(folder / "orders"))
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            env=os.environ | {"LD_PRELOAD": str(build(folder)), "LANCE_LOG": "error"},
        )
        self._codes: dict[int, int] = {}
        self._begun = 0
        for _ in range(_WARM):
            self._warm()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for _ in range(_WARM):
            self._listener.accept().close()
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.close()
        self._zygote.wait(_PATIENCE)
        self._zygote.stdout.close()
        self._listener.close()

    def start(self, words: tuple[str, ...], below: Path, befallen: Befallen) -> Command:
        """Begin a command; `below` is the folder of which changes count."""
        connection = self._listener.accept()
        # The next one warms up while this one runs.
        self._warm()
        pid = connection.recv()
        self._begun += 1
        out, err = (str(self._folder / f"{self._begun}.{name}") for name in ("out", "err"))
        # It may be killed before it opens it.
        Path(err).touch()
        connection.send(Order(words, str(below), befallen, out, err))
        return Command(self, connection, pid, Path(err))

    def run(self, words: tuple[str, ...], below: Path, befallen: Befallen) -> Ended:
        """Run a command to its end."""
        return self.start(words, below, befallen).wait()

    def code_of(self, pid: int) -> int:
        """How a process ended."""
        assert self._zygote.stdout is not None
        while pid not in self._codes:
            ended, code = map(int, self._zygote.stdout.readline().split())
            self._codes[ended] = code
        return self._codes.pop(pid)

    def _warm(self) -> None:
        assert self._zygote.stdin is not None
        self._zygote.stdin.write(f"{self._listener.address}\n".encode())
        self._zygote.stdin.flush()


class Command:
    """A command that runs."""

    def __init__(
        self, commands: Commands, connection: Connection[Any, Any], pid: int, err: Path
    ) -> None:
        self._commands = commands
        self._connection = connection
        self._err = err
        self._began = time.perf_counter()
        self.pid = pid

    def wait(self, *, kill_after: float | None = None) -> Ended:
        """Wait for its end, and kill it if that has not come after so many seconds."""
        patience = _PATIENCE if kill_after is None else kill_after
        seen = met = None
        if self._connection.poll(patience):
            with suppress(EOFError):
                seen, met = self._connection.recv()
        else:
            os.kill(self.pid, signal.SIGKILL)
            assert kill_after is not None, f"it did not end: {self._err.read_text()}"
        seconds = time.perf_counter() - self._began
        self._connection.close()
        code = self._commands.code_of(self.pid)
        return Ended(code, self._err.read_text(errors="replace"), seen, met, seconds)
