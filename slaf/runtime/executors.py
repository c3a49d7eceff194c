"""Executors of the parts of a run: this thread, or a pool of threads."""

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

__all__ = ["run_parts"]

Part = TypeVar("Part")
Result = TypeVar("Result")


def run_parts(
    parts: Iterable[Part],
    encode: Callable[[Part], Result],
    record: Callable[[Result], None],
    workers: int,
) -> None:
    """Encode parts on workers and record each when it is finished, in any order.

    At most as many parts as workers run at once; 0 workers are this thread. When a part fails,
    running ones are finished and recorded, and its exception is raised. An interruption waits for
    running parts too, but cancels what they do before their first rows.
    """
    queue = iter(parts)
    failure: BaseException | None = None
    cancelled = threading.Event()
    with _executor(workers, cancelled) as pool, _set_on_interruption(cancelled):
        running = {pool.submit(encode, part) for part in islice(queue, max(workers, 1))}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                error = future.exception()
                failure = failure or error
                if error is None:
                    record(future.result())
                    trim_heap()
            if failure is None:
                running |= {pool.submit(encode, part) for part in islice(queue, len(finished))}
    if failure is not None:
        raise failure


class _SerialExecutor(Executor):
    """An executor without workers, which runs each function when it is submitted."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - raised by the result of the future
            future.set_exception(error)
        return future


def _executor(workers: int, cancelled: threading.Event) -> Executor:
    if workers == 0:
        return _SerialExecutor()
    return ThreadPoolExecutor(
        workers, thread_name_prefix="slaf", initializer=set_cancel_events, initargs=(cancelled,)
    )


@contextmanager
def _set_on_interruption(event: threading.Event) -> Iterator[None]:
    try:
        yield
    except Exception:
        raise
    except BaseException:
        event.set()
        raise
