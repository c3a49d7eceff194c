"""The parts that remain, on an executor, each recorded once it is on disk."""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from slaf.runtime.cancellation import set_cancel_events
from slaf.runtime.malloc import trim_heap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["executor", "run_parts"]

Part = TypeVar("Part")
Result = TypeVar("Result")


@contextmanager
def _set_by_interruption(given_up: threading.Event) -> Iterator[None]:
    try:
        yield
    except Exception:
        raise
    except BaseException:
        given_up.set()
        raise


class SerialExecutor(Executor):
    """An executor with no workers: it does the work when it is asked."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)
        return future


def executor(workers: int, given_up: threading.Event) -> Executor:
    """What runs parts: this thread for 0 workers, else so many threads.

    Parameters
    ----------
    workers
        How many.
    given_up
        Ends, once it is set, what they do not need to finish.
    """
    if workers == 0:
        return SerialExecutor()
    return ThreadPoolExecutor(
        workers, thread_name_prefix="slaf", initializer=set_cancel_events, initargs=(given_up,)
    )


def run_parts(
    parts: Iterable[Part],
    encode: Callable[[Part], Result],
    record: Callable[[Result], None],
    workers: int,
) -> None:
    """Encode parts and record each as it is finished, in whatever order that is.

    No more parts are begun at once than there are workers. When one fails, those under way
    are waited for and recorded, and its exception is raised. When this thread is interrupted they
    are waited for, but not for what comes before the first of their rows.
    """
    waiting = iter(parts)
    running: set[Future[Result]] = set()
    given_up = threading.Event()
    with executor(workers, given_up) as pool, _set_by_interruption(given_up):
        failure: BaseException | None = None
        while True:
            while failure is None and len(running) < max(workers, 1):
                more = list(islice(waiting, 1))
                if not more:
                    break
                running.add(pool.submit(encode, *more))
            if not running:
                break
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                error = future.exception()
                if error is None:
                    record(future.result())
                    trim_heap()
                else:
                    failure = failure or error
        if failure is not None:
            raise failure
