"""Refuse a disk that is surely too small, before the first byte is written."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Final

from slaf.errors import StorageError

if TYPE_CHECKING:
    from slaf.storage.location import Location

__all__ = ["LEAST_SHARE", "check_free"]

logger = logging.getLogger("slaf")

# Data that compresses far better than any that was measured takes more than this share.
LEAST_SHARE: Final = 0.2


def check_free(location: Location, least: int, likely: int, use: str, remedy: str) -> None:
    """Refuse a disk with less free space than is needed, and warn if it may not be enough.

    Parameters
    ----------
    location
        A place on the disk, which need not exist; in a bucket all fits.
    least, likely
        The bytes that are surely needed, and those that are likely to be.
    use
        The reason in the message: the thing that is written, and its bytes.
    remedy
        The place to name instead, for messages.

    Raises
    ------
    StorageError
        If fewer than `least` bytes are free.
    """
    free = location.free()
    if free is None:
        return
    told = f"{location}: {free:,} bytes are free there, but {use}"
    if least > free:
        raise StorageError(errno.ENOSPC, f"{told}: make room, or name {remedy}")
    if likely > free:
        logger.warning("%s", told)
