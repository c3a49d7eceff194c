"""Mappings that are made, or whose values are made, on first access."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TypeVar

__all__ = ["DeferredMapping", "LazyMapping"]

T = TypeVar("T")


class LazyMapping(Mapping[str, T]):
    """Values by name, made on access; several threads may read it.

    Parameters
    ----------
    names
        The keys, in order.
    make
        Makes the value of a key.
    keep
        Whether to make each value only once.

    Examples
    --------
    >>> squares = LazyMapping(["2", "3"], lambda name: int(name) ** 2)
    >>> list(squares), squares["3"]
    (['2', '3'], 9)
    """

    def __init__(
        self, names: Iterable[str], make: Callable[[str], T], *, keep: bool = False
    ) -> None:
        self._names = dict.fromkeys(names)
        self._make = make
        self._keep = keep
        self._made: dict[str, T] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._names)})"

    def __getitem__(self, name: str) -> T:
        if name not in self._names:
            raise KeyError(name)
        if not self._keep:
            return self._make(name)
        with self._lock:
            if name not in self._made:
                self._made[name] = self._make(name)
            return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class DeferredMapping(Mapping[str, T]):
    """A mapping that is made as a whole on first access.

    Parameters
    ----------
    make
        Makes the mapping.

    Examples
    --------
    >>> DeferredMapping(lambda: {"2": 4})["2"]
    4
    """

    def __init__(self, make: Callable[[], Mapping[str, T]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> Mapping[str, T]:
        return self._make()

    def __getitem__(self, name: str) -> T:
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)
