"""The epoch of config.json: a stale writer's conditional put fails once it has grown."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from slaf.format.validation import CHECKSUM_KEY, checksum_error, with_checksum

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slaf.storage.location import Location

__all__ = ["EPOCH", "epoch_of", "locked", "remove_stale_lock"]

EPOCH: Final = "epoch"
_CONFIG: Final = "config.json"


@contextmanager
def locked(location: Location) -> Iterator[None]:
    """Be the only writer at a location; taking the lock over from another begins an epoch.

    In a bucket a writer that lost its lock may still be sending config.json, on the condition that
    it replaces the one that it has read. Another epoch makes that another content.

    Raises
    ------
    Locked
        If another process writes there.
    """
    with location.lock(partial(_begin_epoch, location)):
        yield


def remove_stale_lock(location: Location) -> None:
    """Remove the lock that a killed process left; its epoch ends as well.

    Raises
    ------
    Locked
        If the process lives.
    """
    location.sweep(partial(_begin_epoch, location))


def epoch_of(data: Mapping[str, Any]) -> int:
    """The epoch that a config.json states; 0 where none was begun.

    Raises
    ------
    ValueError
        If it is not a whole number from 0.
    """
    epoch = data.get(EPOCH, 0)
    if type(epoch) is not int or epoch < 0:
        msg = f"{EPOCH} is {str(epoch)[:60]!r}, but must be a whole number from 0"
        raise ValueError(msg)
    return epoch


def _begin_epoch(location: Location) -> None:
    """Write config.json again with the next epoch; one that is damaged stays as it is."""
    raw = location.read(_CONFIG) or b""
    try:
        data = json.loads(raw)
        sealed, epoch = data.pop(CHECKSUM_KEY, None), epoch_of(data) + 1
    except (AttributeError, RecursionError, TypeError, ValueError):
        return
    if sealed is not None and checksum_error(raw, {CHECKSUM_KEY: sealed}):
        return
    indent = 1 if b"\n" in raw.rstrip() else None
    data |= {EPOCH: epoch}
    text = json.dumps(data, indent=indent, ensure_ascii=False).encode()
    location.put(_CONFIG, text if sealed is None else with_checksum(data, indent=indent))
