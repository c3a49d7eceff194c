"""Executors of the parts of a run: this thread, a pool of threads, or any other executor."""

from __future__ import annotations

import threading
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from slaf.runtime.cancellation import set_cancel_events
from slaf.runtime.malloc import trim_heap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

__all__ = ["run_parts"]

Part = TypeVar("Part")
Result = TypeVar("Result")


def run_parts(
    parts: Iterable[Part],
    encode: Callable[[Part], Result],
    record: Callable[[Result], None],
    workers: int,
    *,
    executor: Executor | None = None,
    failed: Callable[[Part, BaseException], None] | None = None,
) -> None:
    """Encode parts on workers and record each when it is finished, in any order.

    When a part fails, running ones are finished and recorded, and its exception is raised. An
    interruption waits for running parts too, but cancels what they do before their first rows.

    Parameters
    ----------
    parts, encode, record
        The parts, and what is done with each: `record` is called in this thread.
    workers
        The threads, at most as many parts run at once; 0 are this thread.
    executor
        Runs `encode` in place of threads, as many at once as it likes; it is not shut down.
    failed
        Called with each part that fails, and its error.
    """
    queue = iter(parts)
    failure: BaseException | None = None
    cancelled = threading.Event()
    with _executor(workers, cancelled, executor) as pool, _set_on_interruption(cancelled):
        at_once = max(workers, 1) if executor is None else None
        running = {pool.submit(encode, part): part for part in islice(queue, at_once)}
        try:
            while running:
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    part, error = running.pop(future), _error_of(future)
                    failure = failure or error
                    if error is None:
                        record(future.result())
                        trim_heap()
                    elif failed is not None:
                        failed(part, error)
                if failure is None:
                    more = islice(queue, len(finished))
                    running |= {pool.submit(encode, part): part for part in more}
                else:
                    running = {f: part for f, part in running.items() if not f.cancel()}
        finally:
            for future in running:
                future.cancel()
    if failure is not None:
        raise failure


def _error_of(future: Future[Any]) -> BaseException | None:
    return CancelledError() if future.cancelled() else future.exception()


class _SerialExecutor(Executor):
    """An executor without workers, which runs each function when it is submitted."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - raised by the result of the future
            future.set_exception(error)
        return future


def _executor(
    workers: int, cancelled: threading.Event, executor: Executor | None
) -> AbstractContextManager[Executor]:
    if executor is not None:
        return nullcontext(executor)
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
        raise  # of a part; the others end by themselves
    except BaseException:  # Ctrl-C and SIGTERM
        event.set()
        raise
