"""Cooperative cancellation of threads: long loops check events that another thread sets."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

__all__ = ["check_cancelled", "inherit_cancel_events", "set_cancel_events"]

_thread = threading.local()


def set_cancel_events(*events: threading.Event) -> None:
    """Cancel the work of this thread when one of these events is set."""
    _thread.events = events


def inherit_cancel_events(event: threading.Event) -> tuple[threading.Event, ...]:
    """The cancel events of this thread and one more, for a thread that it starts."""
    return (*getattr(_thread, "events", ()), event)


def check_cancelled() -> None:
    """Raise an error if the work of this thread was cancelled.

    Raises
    ------
    CancelledError
        If one of its cancel events is set.
    """
    if any(event.is_set() for event in getattr(_thread, "events", ())):
        raise CancelledError
