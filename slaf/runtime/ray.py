"""A Ray cluster as an executor: tasks of Ray core, which Ray repeats if a node is lost."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

import ray

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RayExecutor"]

# How often Ray runs a task again whose node or process was lost; an exception is no such loss.
_RETRIES = 20


class RayExecutor(Executor):
    """An executor whose functions are tasks of a Ray cluster, one core each.

    Parameters
    ----------
    address
        The address of the cluster, as `ray.init` takes it; None for that of the environment
        variable RAY_ADDRESS, or for a new one on this machine.
    """

    def __init__(self, address: str | None = None) -> None:
        self._began = not ray.is_initialized()
        if self._began:
            ray.init(address=address, log_to_driver=False)
        self._task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_outcome)
        self._references: dict[Future[Any], Any] = {}

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start a task; its exceptions are those of the function, not of Ray."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        reference = self._task.remote(function, args, kwargs)
        self._references[future] = reference
        reference.future().add_done_callback(lambda done: self._finish(future, done))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as it is declared
        """Leave the cluster, and cancel its tasks on request; one that was made here ends."""
        del wait
        if cancel_futures:
            for reference in list(self._references.values()):
                ray.cancel(reference)
        if self._began:
            ray.shutdown()

    def _finish(self, future: Future[Any], done: Future[Any]) -> None:
        self._references.pop(future, None)
        lost = done.exception()
        result, error = (None, lost) if lost is not None else done.result()
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _outcome(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Exception | None]:
    """The result of a function, or its exception, which Ray would wrap."""
    try:
        return function(*args, **kwargs), None
    except Exception as error:  # noqa: BLE001 - raised by the result of the future
        return None, error
