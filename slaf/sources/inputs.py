"""What several inputs are brought together from, before any of it is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slaf.manifest import SourceRecord
    from slaf.sources.base import ReadOptions, Source

__all__ = ["Existing", "Input"]


@dataclass(frozen=True, slots=True)
class Input:
    """An input that is opened when it is read.

    Attributes
    ----------
    place
        Where it is.
    open
        Opens it, again and again.
    options
        How it is read.
    prefix
        What to put before each of its cell ids.
    """

    place: str
    open: Callable[[ReadOptions], Source]
    options: ReadOptions
    prefix: str = ""

    def opened(self) -> Source:
        """The input, open for reading."""
        return self.open(self.options)


@dataclass(frozen=True, slots=True)
class Existing:
    """What comes before the inputs and is made of several itself: a dataset, say.

    Attributes
    ----------
    source
        Its cells, with all that stands beside its matrix.
    records
        The inputs that it was made of.
    unses
        Gives the uns of each of these.
    """

    source: Source
    records: tuple[SourceRecord, ...]
    unses: Callable[[], Sequence[Mapping[str, Any]]]
