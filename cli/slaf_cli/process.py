"""What the program sets for its own process, which a library may not set for others."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

from slaf_cli.report import ExitCode

__all__ = ["end", "keep_one_heap", "open_what_is_closed", "set_up"]

# https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
# The most that glibc takes for it.
_LARGEST_IN_HEAP = 32 << 20
_KEPT = 512 << 20

# Python looks for cycles after so many new objects. Imports alone make 200,000, most of which stay.
_OBJECTS = 100_000


def set_up() -> None:
    """Choose what libraries ask for once, when they are loaded; what is chosen already stays."""
    from slaf.runtime.resources import cpu_count

    open_what_is_closed()
    for name, value in (
        # Lance's own log is for those who ask for it.
        ("LANCE_LOG", "error"),
        # It would leave two cores to reading and writing, which hardly need one.
        ("LANCE_CPU_THREADS", str(cpu_count())),
        # Rows that it reads together for an index: with 8,192, which it takes otherwise, it is
        # busier handing them on than looking at them.
        ("LANCE_DEFAULT_BATCH_SIZE", str(1 << 16)),
        # Nothing is multiplied here, and its threads wait for work by running in circles.
        ("OPENBLAS_NUM_THREADS", "1"),
    ):
        os.environ.setdefault(name, value)
    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])
    keep_one_heap()


def open_what_is_closed() -> None:
    """Let what is printed where a shell has closed the stream (`>&-`) go nowhere.

    Otherwise Python has no stream there, and the next file that is opened gets its number: what
    libraries print would be written into a table.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            mode = os.O_RDONLY if name == "stdin" else os.O_WRONLY
            opened = os.open(os.devnull, mode)  # it gets the least number that is free: this one
            setattr(sys, name, os.fdopen(opened, "r" if name == "stdin" else "w"))


def keep_one_heap() -> None:
    """Tell glibc to use one heap, before there are threads, and not to shrink it all the time.

    A conversion makes a thread for each part, and glibc would give each a heap that keeps what
    its thread has freed until the part is done. What threads ask for is large and seldom; waiting
    for each other costs them nothing measurable.

    Its arrays are of a few sizes, over and over: returned to the system, their pages would be
    mapped and cleared again for each batch. What is kept is what was in use at once, and after
    each part it is given back.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


def end(code: int) -> NoReturn:
    """End the process as it is.

    To take every library down first takes a fifth of a second, and frees what the system frees
    anyway.
    """
    try:
        with suppress(BrokenPipeError):  # nobody reads it any more
            sys.stdout.flush()
    except OSError as error:
        # What was to be printed is not all there, which must not pass for success.
        print(f"the output cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201
        code = code or ExitCode.STORAGE
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(code)
