"""Settings of the whole process, which only the program makes and not the library."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

from slaf_cli.report import ExitCode

__all__ = ["end", "keep_one_heap", "open_closed_streams", "set_up"]

# https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
# Largest threshold that glibc accepts.
_LARGEST_IN_HEAP = 32 << 20
_KEPT = 512 << 20

# Python looks for cycles after so many new objects. Imports alone make 200,000, most of which stay.
_OBJECTS = 300_000


def set_up(command: str) -> None:
    """Set what libraries read when they are loaded, and how this process allocates.

    Parameters
    ----------
    command
        The first word of the command line: the name of a command, an option, or nothing.
    """
    from slaf.runtime.resources import cpu_count

    open_closed_streams()
    for name, value in (
        # Lance logs warnings by default.
        ("LANCE_LOG", "error"),
        # By default Lance leaves two cores to I/O, which hardly needs one. Processes at one plan
        # share the cores: with one thread each, four on two cores take some 5 % less CPU.
        ("LANCE_CPU_THREADS", "1" if command == "part" else str(cpu_count())),
        # Rows that Lance reads at once for an index: with 8,192, its default, passing batches on
        # takes longer than indexing them. No more than a page of a lazy table has.
        ("LANCE_DEFAULT_BATCH_SIZE", str(1 << 16)),
        # No matrix is multiplied here, and idle threads of OpenBLAS spin.
        ("OPENBLAS_NUM_THREADS", "1"),
    ):
        os.environ.setdefault(name, value)
    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])
    keep_one_heap()


def open_closed_streams() -> None:
    """Open `/dev/null` for each standard stream that a shell has closed (`>&-`).

    Otherwise the next file that is opened gets the stream's number, and text that libraries print
    would be written into a table.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            mode = os.O_RDONLY if name == "stdin" else os.O_WRONLY
            opened = os.open(os.devnull, mode)  # gets the lowest free number: this one
            setattr(sys, name, os.fdopen(opened, "r" if name == "stdin" else "w"))


def keep_one_heap() -> None:
    """Make glibc use one heap and shrink it rarely; call it before threads are started.

    A conversion starts a thread for each part, and glibc would give each a heap that keeps freed
    memory until the part is done. Threads allocate large arrays and seldom, so that sharing a heap
    costs no measurable time.

    Arrays have a few sizes that repeat: if their memory were returned to the system, its pages
    would be mapped and cleared again for each batch. The heap is trimmed after each part.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


def end(code: int) -> NoReturn:
    """End the process without unloading libraries, which takes a fifth of a second."""
    try:
        with suppress(BrokenPipeError):  # the reader has gone
            sys.stdout.flush()
    except OSError as error:
        # The output is incomplete, which must not pass for success.
        print(f"the output cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201
        code = code or ExitCode.STORAGE
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(code)
