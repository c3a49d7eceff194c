"""The library that stands before the C library: built when it is needed, armed in a process."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

__all__ = ["Action", "arm", "build", "met", "seen", "why_not"]

_SOURCE = Path(__file__).with_name("interposed.c")


class Action(IntEnum):
    """What happens at a change of a file, as `interposed.c` numbers it.

    Attributes
    ----------
    COUNT
        Nothing: the changes are counted.
    SIGNAL
        A signal comes before it.
    TEAR
        The process is killed amid it: half of a write is done, or all of anything else.
    FAIL
        It fails, once.
    FAIL_ON
        It fails, and so does everything after it that takes space (with EROFS, everything).
    CLOCK
        The clock jumps; at 0, it is off from the beginning.
    """

    COUNT = 0
    SIGNAL = 1
    TEAR = 2
    FAIL = 3
    FAIL_ON = 4
    CLOCK = 5


def why_not() -> str:
    """Why it cannot be had on this machine; nothing if it can."""
    if sys.platform != "linux":
        return "system calls are intercepted on Linux only"
    return "" if shutil.which("cc") else "there is no C compiler"


def build(folder: Path) -> Path:
    """Compile the library into a folder."""
    library = folder / "interposed.so"
    words = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(words, check=True)
    return library


def arm(folder: str | os.PathLike[str], action: Action, at: int, argument: int) -> None:
    """Let it happen in this process, at a change below a folder.

    Parameters
    ----------
    at
        The number of the change, from 0; -1 for none.
    argument
        The number of a signal or of an error, or seconds by which the clock jumps.
    """
    path = str(Path(folder).resolve()).encode()
    _library().fault_arm(path, int(action), ctypes.c_long(at), ctypes.c_long(argument))


def seen() -> int:
    """How many changes there were in this process since it was armed."""
    return _number("fault_seen")


def met() -> int:
    """How many of them failed, or whether the signal came or the clock jumped."""
    return _number("fault_met")


def _number(name: str) -> int:
    function = getattr(_library(), name)
    function.restype = ctypes.c_long
    return int(function())


def _library() -> ctypes.CDLL:
    # What was loaded before all others is found in the process itself.
    return ctypes.CDLL(None)
