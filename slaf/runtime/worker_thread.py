"""A thread for all calls of a library that must not be called from several threads."""

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
    """A thread that runs one function after another until it is closed.

    The caller waits for the return value, or the exception. Objects on the stack of a function
    that failed are freed in the thread too.

    Parameters
    ----------
    name
        The name of the thread.

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
        """The return value of `work`; a call from the thread itself runs at once."""
        if threading.get_ident() == self._ident:
            return work(*args, **kwargs)
        return self._pool.submit(_run, work, *args, **kwargs).result()

    def close(self) -> None:
        """Wait for the function that runs, and end the thread."""
        self._pool.shutdown()


def _run(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return work(*args, **kwargs)
    except BaseException as error:
        # Whatever it is: an exception keeps the frames alive, and those their open objects.
        failed: BaseException | None = error
        while failed is not None:
            traceback.clear_frames(failed.__traceback__)
            failed = failed.__cause__ or failed.__context__
        raise
