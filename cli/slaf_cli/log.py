"""Log lines of a command: on stderr, with times where that is no terminal, and in a file."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FILE_ONLY", "logger", "logging_of"]

logger = logging.getLogger("slaf")

# `extra` of what goes into the file of `--log-file`, and not to stderr.
FILE_ONLY: Final = {"file_only": True}


class _WithTime(logging.Formatter):
    """Lines that begin with the time in UTC, by ISO 8601."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime


@contextmanager
def logging_of(*, quiet: bool, verbose: bool, log_file: Path | None) -> Iterator[None]:
    """Log to stderr, and to the end of a file.

    Parameters
    ----------
    quiet
        Only warnings on stderr; the file has all.
    verbose
        Also every change on disk.
    log_file
        The file; None without one.
    """
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(logging.Formatter("%(message)s") if sys.stderr.isatty() else _WithTime())
    console.setLevel(logging.WARNING if quiet and not verbose else logging.NOTSET)
    console.addFilter(lambda record: not hasattr(record, "file_only"))
    handlers: list[logging.Handler] = [console]
    if log_file is not None:
        handlers.append(logging.FileHandler(log_file, encoding="utf-8"))
        handlers[-1].setFormatter(_WithTime())
    level = logger.level
    for handler in handlers:
        logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.info("begin: in %s", Path.cwd(), extra=FILE_ONLY)
    try:
        yield
    finally:
        logger.setLevel(level)
        for handler in handlers:
            logger.removeHandler(handler)
            if handler is not console:
                handler.close()
