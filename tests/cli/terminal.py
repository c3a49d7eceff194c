"""Somebody who types commands: in this process, in another, or at a terminal."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import termios
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import slaf
from slaf_cli.app import make_app

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

__all__ = [
    "SLAF",
    "TIME",
    "Ended",
    "StopsAfter",
    "at_terminal",
    "in_shell",
    "run",
    "start",
    "stop_after",
    "stopped",
    "wait_until",
]

SLAF = str(Path(sys.executable).with_name("slaf"))
# What a log line begins with, off a terminal and in files.
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit code, and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)

    def failed(self, code: int) -> str:
        """The one paragraph that says why it ended with this code, and nothing else."""
        assert self.code == code, self.err
        assert "Traceback" not in self.err
        last = self.err.splitlines()[-1]
        assert last.startswith("slaf: ")
        return last

    def succeeded(self) -> Ended:
        """Itself, if it ended with 0."""
        assert self.code == 0, self.err
        return self


def run(*words: str | Path) -> Ended:
    """Run a command in this process."""
    ended = CliRunner().invoke(make_app(words), [str(word) for word in words])
    return Ended(ended.exit_code, ended.stdout, ended.stderr)


def start(*words: str | Path) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    return subprocess.Popen(
        [SLAF, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def at_terminal(*words: str | Path) -> tuple[int, str]:
    """Run a command at a terminal of 120 columns; its exit code and its output.

    Bars show each change, however soon it follows another.
    """
    terminal, command_end = os.openpty()
    termios.tcsetwinsize(command_end, (40, 120))
    process = subprocess.Popen(
        [SLAF, *map(str, words)],
        stdout=command_end,
        stderr=command_end,
        env=os.environ | {"TQDM_MININTERVAL": "0"},
    )
    os.close(command_end)
    printed = b""
    # Linux ends the last read of a terminal whose other side is closed by an error.
    with suppress(OSError):
        while piece := os.read(terminal, 1 << 16):
            printed += piece
    os.close(terminal)
    return process.wait(), printed.decode()


def in_shell(shell: str, env: dict[str, str], typed: str, expected: str) -> str:
    """Type into an interactive shell until it writes what is expected; all that it wrote."""
    terminal, shell_end = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", shell, "-i"],
        env=env,
        stdin=shell_end,
        stdout=shell_end,
        stderr=shell_end,
    )
    os.close(shell_end)
    written = b""
    # The quotes tell what is printed from the echo of what is typed.
    for text, answer in (("echo READ''Y\r", "READY"), (typed, expected)):
        os.write(terminal, text.encode())
        with suppress(OSError):
            while answer.encode() not in written and select.select([terminal], [], [], 60)[0]:
                written += os.read(terminal, 1 << 16)
    os.close(terminal)
    process.kill()
    process.wait()
    return written.decode()


def wait_until(condition: Callable[[], bool], seconds: float = 240) -> None:
    """Return when it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


class _Stopped(Exception):
    """A conversion that somebody stopped."""


class StopsAfter:
    """Stops a conversion after some cells."""

    def __init__(self, cells: int) -> None:
        self.left = cells

    def begin(self, cells: int, nonzeros: int, total_cells: int) -> None:
        """The work begins."""

    def advance(self, cells: int, nonzeros: int) -> None:  # noqa: ARG002 - as Progress has it
        """Stop when all of them are done."""
        self.left -= cells
        if self.left < 0:
            raise _Stopped


def stopped() -> AbstractContextManager[Any]:
    """A block whose run `StopsAfter` stops."""
    return pytest.raises(_Stopped)


def stop_after(
    cells: int, source: Path | list[Path], output: Path, *, appends: bool = False, **options: Any
) -> None:
    """Leave a conversion or an append that was stopped after about so many cells."""
    call = slaf.append if appends else slaf.convert
    with stopped():
        call(source, output, progress=StopsAfter(cells), **options)
