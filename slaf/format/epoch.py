"""The epoch of config.json, which makes the conditional put of a stale writer fail."""

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
    """Hold the lock of a location; taking it over from another process begins an epoch.

    In a bucket, a writer that lost its lock may still send config.json, on the condition that it
    replaces the content that it has read. A new epoch changes that content.

    Raises
    ------
    Locked
        If another process writes there.
    """
    with location.lock(partial(_begin_epoch, location)):
        yield


def remove_stale_lock(location: Location) -> None:
    """Remove the lock of a killed process, and begin an epoch.

    Raises
    ------
    Locked
        If the process is alive.
    """
    location.break_stale_lock(partial(_begin_epoch, location))


def epoch_of(data: Mapping[str, Any]) -> int:
    """The epoch in the data of a config.json; 0 without one.

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
    """Write config.json with the next epoch, unless it is damaged."""
    raw = location.read(_CONFIG) or b""
    try:
        data = json.loads(raw)
        checksum, epoch = data.pop(CHECKSUM_KEY, None), epoch_of(data) + 1
    except (AttributeError, RecursionError, TypeError, ValueError):
        return
    if checksum is not None and checksum_error(raw, {CHECKSUM_KEY: checksum}):
        return
    indent = 1 if b"\n" in raw.rstrip() else None
    data |= {EPOCH: epoch}
    text = json.dumps(data, indent=indent, ensure_ascii=False).encode()
    location.put(_CONFIG, text if checksum is None else with_checksum(data, indent=indent))
