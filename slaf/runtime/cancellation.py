"""Whether anybody still wants what a thread is at: what takes minutes asks now and then."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

__all__ = ["check_cancelled", "inherit_cancel_events", "set_cancel_events"]

_here = threading.local()


def set_cancel_events(*given_up: threading.Event) -> None:
    """Let the work of this thread be wanted until one of these events is set."""
    _here.given_up = given_up


def inherit_cancel_events(given_up: threading.Event) -> tuple[threading.Event, ...]:
    """What gives up the work of this thread, and one more: for a thread that works for it."""
    return (*getattr(_here, "given_up", ()), given_up)


def check_cancelled() -> None:
    """Nothing, if the work of this thread is wanted.

    Raises
    ------
    CancelledError
        If nobody wants it any more.
    """
    if any(event.is_set() for event in getattr(_here, "given_up", ())):
        raise CancelledError
