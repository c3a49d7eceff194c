"""What a part has freed goes back to the system, so that memory is the same for each of them."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["trim_heap"]


def trim_heap() -> None:
    """Return the memory that was freed and that glibc keeps, in the heap of every thread.

    Of large pieces freed in any order a heap keeps holes, which the next part does not quite
    fill: the peak would grow with the number of parts. Elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    # https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
