"""The inputs of one source that are open: those being read, and the last few that were."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from slaf.errors import DamagedInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from slaf.sources.base import Source

__all__ = ["SourcePool"]


# Inputs that nobody reads at the moment, and which are kept open nevertheless.
_OPEN = 2


class SourcePool:
    """The inputs that are open: those being read, and the last few that were.

    Thousands of files may be one source, but not open at once; and what an input that is not
    in cell order spilled is given back when it is closed.
    """

    def __init__(self, opens: Sequence[Callable[[], Source]]) -> None:
        self._opens = opens
        self._open: OrderedDict[int, Source] = OrderedDict()
        self._readers = [0] * len(opens)
        self.identities: dict[int, Mapping[str, Any]] = {}
        self._lock = threading.RLock()

    @contextmanager
    def lease(self, index: int) -> Iterator[Source]:
        """An input, open until this is left."""
        with self._lock:
            source = self._take(index)
            self._readers[index] += 1
        try:
            yield source
        finally:
            with self._lock:
                self._readers[index] -= 1
                self._put_away(_OPEN)

    def close(self) -> None:
        """Close all."""
        with self._lock:
            self._readers = [0] * len(self._opens)
            self._put_away(0)

    def _take(self, index: int) -> Source:
        if index in self._open:
            self._open.move_to_end(index)
            return self._open[index]
        source = self._opens[index]()
        with ExitStack() as failing:
            failing.enter_context(source)
            identity = source.identity()
            if self.identities.setdefault(index, identity) != identity:
                msg = f"{source.uri}: it was changed while it was read; leave it as it is and retry"
                raise DamagedInput(msg)
            failing.pop_all()
        self._open[index] = source
        return source

    def _put_away(self, most: int) -> None:
        idle = [index for index in self._open if not self._readers[index]]
        for index in idle[: max(len(idle) - most, 0)]:
            self._open.pop(index).__exit__(None, None, None)
