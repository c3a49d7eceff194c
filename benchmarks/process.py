"""One command as a child process: how long it took, and the most memory it held."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["CommandFailed", "Usage", "measure"]

# Of what a command that failed has printed, so much is worth reading.
_TAIL = 4000
_UNCOMPILED = "PYTHONDONTWRITEBYTECODE"


class CommandFailed(RuntimeError):
    """A command that was measured did not end well."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a finished process took, by the system's own account.

    Attributes
    ----------
    seconds
        From its start to its end.
    cpu_seconds
        Of all its threads, and of the system for it.
    peak_bytes
        The most memory that it held at once.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def measure(command: Sequence[str | Path]) -> Usage:
    """Run a command to its end.

    Linux counts to a process what its parent held when it was started, so the command is not
    started by this process but by one that holds next to nothing: this file, as a script.

    Raises
    ------
    CommandFailed
        If its exit code is not 0; the message ends with what it printed.
    """
    launcher = [sys.executable, "-I", "-S", __file__, *map(str, command)]
    # Whoever has it set compiles every module anew with every command, which is not measured.
    env = {name: value for name, value in os.environ.items() if name != _UNCOMPILED}
    done = subprocess.run(launcher, capture_output=True, text=True, check=False, env=env)
    if done.returncode != 0:
        msg = f"{' '.join(launcher[4:])} ended with {done.returncode}:\n{done.stderr[-_TAIL:]}"
        raise CommandFailed(msg)
    return Usage(**json.loads(done.stdout))


def _launch(command: Sequence[str]) -> int:
    began = time.monotonic()
    # What it prints goes to our stderr: our stdout is for the figures.
    child = subprocess.Popen(command, stdout=sys.stderr)
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.monotonic() - began
    unit = 1 if sys.platform == "darwin" else 1024
    usage = Usage(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * unit)
    sys.stdout.write(json.dumps(asdict(usage)))
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(_launch(sys.argv[1:]))
