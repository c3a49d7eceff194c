"""One heap for all threads, so that memory does not grow with what they leave unused in theirs."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["share_one_heap"]

# https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_ARENA_MAX = -8


def share_one_heap() -> None:
    """Tell glibc to use one heap, before there are threads.

    A conversion makes a thread for each part, and glibc would give each a heap that keeps what
    its thread has freed until the part is done. What threads ask for is large and seldom; waiting
    for each other costs them nothing measurable.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
