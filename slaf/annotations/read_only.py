"""uns and slots that refuse assignments, which would be lost, and name the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from slaf.errors import ReadOnlyError
from slaf.runtime.lazy import LazyMapping

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ReadOnlyDict", "ReadOnlyMapping", "refuse"]

T = TypeVar("T")


def refuse(name: str) -> NoReturn:
    """Refuse an assignment.

    Raises
    ------
    ReadOnlyError
        Always.
    """
    copy = "copy()" if name in {"obs", "var", "raw.var", "uns"} else "to_memory()"
    msg = (
        f"{name} is not changed by assignment: what is on disk would stay as it is; store it with "
        f"annotate, or change a copy in memory: .{copy}"
    )
    raise ReadOnlyError(msg)


class ReadOnlyMapping(LazyMapping[T]):
    """Elements of a slot by name, read on access.

    Parameters
    ----------
    slot
        The name of the slot, for errors.
    names, make
        As for `LazyMapping`.
    """

    def __init__(self, slot: str, names: Any, make: Callable[[str], T]) -> None:
        super().__init__(names, make)
        self._slot = slot

    def __repr__(self) -> str:
        return f"{self._slot}: {', '.join(self) or 'nothing'}"

    def __getitem__(self, name: str) -> T:
        try:
            return super().__getitem__(name)
        except KeyError:
            if name in self:
                raise
            names = ", ".join(map(repr, self)) or "nothing"
            msg = f"{self._slot} has no {name!r}; it has {names}"
            raise KeyError(msg) from None

    def __setitem__(self, name: str, value: Any) -> NoReturn:
        refuse(self._slot)

    def __delitem__(self, name: str) -> NoReturn:
        refuse(self._slot)


class ReadOnlyDict(dict[str, Any]):
    """The uns of a view; `copy` gives a plain dictionary that can be changed."""

    def copy(self) -> dict[str, Any]:
        """A plain dictionary."""
        return dict(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return ReadOnlyDict, (dict(self),)

    def _refuse(self, *_arguments: Any, **_keywords: Any) -> NoReturn:
        refuse("uns")

    __setitem__ = __delitem__ = pop = popitem = _refuse
    clear = update = setdefault = __ior__ = _refuse
