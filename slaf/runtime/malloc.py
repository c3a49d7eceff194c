"""Return of freed memory to the operating system, so that memory does not grow with the parts."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["trim_heap"]


def trim_heap() -> None:
    """Return the freed memory that Arrow keeps, and glibc in the heaps of threads.

    Pieces freed in any order leave holes in a heap, which the next part does not quite fill: the
    peak would grow with the number of parts.
    """
    # Where Arrow was not imported, it keeps none.
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is not None:
        pyarrow.default_memory_pool().release_unused()
    if not sys.platform.startswith("linux"):
        return
    # https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
