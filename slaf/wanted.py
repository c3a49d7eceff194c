"""Whether anybody still wants what a thread is at: what takes minutes asks now and then."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

__all__ = ["also_until", "go_on_while_wanted", "until"]

_here = threading.local()


def until(*given_up: threading.Event) -> None:
    """Let the work of this thread be wanted until one of these events is set."""
    _here.given_up = given_up


def also_until(given_up: threading.Event) -> tuple[threading.Event, ...]:
    """What gives up the work of this thread, and one more: for a thread that works for it."""
    return (*getattr(_here, "given_up", ()), given_up)


def go_on_while_wanted() -> None:
    """Nothing, if the work of this thread is wanted.

    Raises
    ------
    CancelledError
        If nobody wants it any more.
    """
    if any(event.is_set() for event in getattr(_here, "given_up", ())):
        raise CancelledError
