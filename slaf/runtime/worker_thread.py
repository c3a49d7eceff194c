"""A thread to which all calls of a library go that is not to be called from several."""

from __future__ import annotations

import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WorkerThread"]

P = ParamSpec("P")
T = TypeVar("T")


class WorkerThread:
    """A thread that does what it is given, one thing after the other, until it is closed.

    Whoever gives it something waits, and gets what comes of it: a value or an exception. What
    the work left on its stack when it failed is let go of in the thread too.

    Parameters
    ----------
    name
        What the thread is called.

    Examples
    --------
    >>> thread = WorkerThread("calls")
    >>> thread.call(max, 1, 2)
    2
    >>> thread.close()
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._ident = self._pool.submit(threading.get_ident).result()

    def call(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns; from within the thread itself it is called at once."""
        if threading.get_ident() == self._ident:
            return work(*args, **kwargs)
        return self._pool.submit(_done, work, *args, **kwargs).result()

    def close(self) -> None:
        """Wait for what is under way, and end the thread."""
        self._pool.shutdown()


def _done(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return work(*args, **kwargs)
    except BaseException as error:
        # The frames hold what was open in them, and the exception the frames.
        failed: BaseException | None = error
        while failed is not None:
            traceback.clear_frames(failed.__traceback__)
            failed = failed.__cause__ or failed.__context__
        raise
