"""Time and peak memory of one command, run as a child process."""

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

# Characters of a failed command's output to report.
_TAIL = 4000
_UNCOMPILED = "PYTHONDONTWRITEBYTECODE"


class CommandFailed(RuntimeError):
    """A measured command failed."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage of a finished process, as the system reports it.

    Attributes
    ----------
    seconds
        Time from start to end.
    cpu_seconds
        CPU time of all its threads, and of the system for it.
    peak_bytes
        Peak memory.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def measure(command: Sequence[str | Path]) -> Usage:
    """Run a command to its end.

    On Linux the peak of a child includes the memory of its parent at the fork, so a small process
    starts the command: this file as a script.

    Raises
    ------
    CommandFailed
        If its exit code is not 0; the message ends with its output.
    """
    launcher = [sys.executable, "-I", "-S", __file__, *map(str, command)]
    # With this variable every command would compile every module again.
    env = {name: value for name, value in os.environ.items() if name != _UNCOMPILED}
    done = subprocess.run(launcher, capture_output=True, text=True, check=False, env=env)
    if done.returncode != 0:
        msg = f"{' '.join(launcher[4:])} ended with {done.returncode}:\n{done.stderr[-_TAIL:]}"
        raise CommandFailed(msg)
    return Usage(**json.loads(done.stdout))


def _launch(command: Sequence[str]) -> int:
    began = time.monotonic()
    # Its output goes to our stderr; our stdout has the figures.
    child = subprocess.Popen(command, stdout=sys.stderr)
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.monotonic() - began
    unit = 1 if sys.platform == "darwin" else 1024
    usage = Usage(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * unit)
    sys.stdout.write(json.dumps(asdict(usage)))
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(_launch(sys.argv[1:]))
