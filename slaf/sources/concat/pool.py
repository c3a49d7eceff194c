"""Keep few inputs open: those that are read, and the last few that were."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slaf.errors import DamagedInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from slaf.sources.base import Source

__all__ = ["SourcePool"]


# Inputs that stay open although no thread reads them.
_MAX_IDLE = 2


class SourcePool:
    """The open inputs of one source.

    One source may have thousands of files, which cannot be open at once. Closing an input also
    frees the scratch of its sorted matrices, and its tables.

    Parameters
    ----------
    opens
        Opens each input.
    """

    def __init__(self, opens: Sequence[Callable[[], Source]]) -> None:
        self._opens = opens
        self._open: OrderedDict[int, Source] = OrderedDict()
        self._n_readers = [0] * len(opens)
        self._identities: dict[int, Mapping[str, Any]] = {}
        self._lock = threading.RLock()

    @contextmanager
    def lease(self, index: int) -> Iterator[Source]:
        """An input, open until this context is left.

        Raises
        ------
        DamagedInput
            If the input was changed since it was opened first.
        """
        with self._lock:
            source = self._acquire(index)
            self._n_readers[index] += 1
        try:
            yield source
        finally:
            with self._lock:
                self._n_readers[index] -= 1
                self._close_idle(_MAX_IDLE)

    def close(self) -> None:
        """Close all."""
        with self._lock:
            self._n_readers = [0] * len(self._opens)
            self._close_idle(0)

    def _acquire(self, index: int) -> Source:
        if index in self._open:
            self._open.move_to_end(index)
            return self._open[index]
        source = self._opens[index]()
        identity = dict(source.info.identity)
        if self._identities.setdefault(index, identity) != identity:
            uri = source.info.uri
            source.__exit__()
            msg = f"{uri}: it was changed while it was read; leave it as it is and retry"
            raise DamagedInput(msg)
        self._open[index] = source
        return source

    def _close_idle(self, keep: int) -> None:
        idle = [index for index in self._open if not self._n_readers[index]]
        for index in idle[: max(len(idle) - keep, 0)]:
            self._open.pop(index).__exit__()
