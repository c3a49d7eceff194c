"""What a verification checked, and the differences that it found."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from slaf.errors import DamagedDataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["SHOWN_OF_A_KIND", "Comparison", "Difference", "DifferenceLog", "Report"]

SHOWN_OF_A_KIND = 10


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it should be.

    Attributes
    ----------
    kind
        What sort of thing: "value", "digest", "offsets", "cells", "config" …
    where
        The place, for people: the cell and gene, the column, the rows.
    expected
        What the proof or the source says.
    found
        What the dataset says.
    """

    kind: str
    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.kind}, {self.where}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked, and what was found.

    Attributes
    ----------
    dataset
        Its location.
    checks
        What was compared, in words.
    differences
        The first of each kind.
    counts
        How many there are of each kind.
    """

    dataset: str
    checks: tuple[str, ...]
    differences: tuple[Difference, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """As `slaf verify --json` prints it."""
        return asdict(self) | {"ok": self.ok, "counts": dict(self.counts)}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What of two things was compared, and how they differ.

    Attributes
    ----------
    first, second
        Their locations.
    checks
        What was compared, in words.
    differences
        The first of each kind: `expected` is what the first has, `found` what the second has.
    counts
        How many there are of each kind.
    """

    first: str
    second: str
    checks: tuple[str, ...]
    differences: tuple[Difference, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """As `slaf diff --json` prints it."""
        return asdict(self) | {"ok": self.ok, "counts": dict(self.counts)}


class DifferenceLog:
    """Differences as they are found: all are counted, the first of each kind are kept.

    Parameters
    ----------
    exchanged
        Whether what is called found is what was expected, and the other way round.
    """

    def __init__(self, *, exchanged: bool = False) -> None:
        self._exchanged = exchanged
        self.shown: list[Difference] = []
        self.counts: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self.counts)

    def of(self, *kinds: str) -> bool:
        """Whether there are any of these kinds."""
        return any(self.counts[kind] for kind in kinds)

    def keeps(self, kind: str) -> bool:
        """Whether the next difference of this kind is kept, so that its place is worth finding."""
        return self.counts[kind] < SHOWN_OF_A_KIND

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Note what cannot be read, instead of ending there."""
        try:
            yield
        except DamagedDataset as error:
            self.note("unreadable", what, "what was written", error)

    def compare(self, kind: str, where: str, expected: object, found: object) -> None:
        """Note a difference, if it is one."""
        if expected != found:
            self.note(kind, where, expected, found)

    def note(self, kind: str, where: str, expected: object, found: object) -> None:
        """Note a difference."""
        if self._exchanged:
            expected, found = found, expected
        kept = self.keeps(kind)
        self.counts[kind] += 1
        if kept:
            self.shown.append(Difference(kind, where, str(expected), str(found)))

    def note_all(self, kind: str, n: int, at: Callable[[int], tuple[str, object, object]]) -> None:
        """Note so many differences; `at` gives where each is, and what is expected and found."""
        told = min(n, max(SHOWN_OF_A_KIND - self.counts[kind], 0))
        for number in range(told):
            self.note(kind, *at(number))
        self.counts[kind] += n - told
