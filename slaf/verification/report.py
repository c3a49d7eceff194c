"""Differences, and the reports of `slaf verify` and `slaf diff`."""

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
    """A difference between expected and actual content.

    Attributes
    ----------
    kind
        Kind of content: "value", "digest", "offsets", "cells", "config" …
    where
        Cell and gene, column or rows, as text.
    expected
        Content according to digests, config.json or the source.
    found
        Content of the dataset.
    """

    kind: str
    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.kind}, {self.where}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, slots=True)
class Report:
    """The checks of a dataset, and its differences.

    Attributes
    ----------
    dataset
        Location of the dataset.
    checks
        The checks, as text.
    differences
        The first of each kind.
    counts
        Number of differences by kind.
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
        """Report in JSON, as `slaf verify --json` prints it."""
        return asdict(self) | {"ok": self.ok, "counts": dict(self.counts)}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The checks of a pair of datasets or inputs, and their differences.

    Attributes
    ----------
    first, second
        Locations of the pair.
    checks
        The checks, as text.
    differences
        The first of each kind: `expected` is the content of `first`, `found` that of `second`.
    counts
        Number of differences by kind.
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
        """Comparison in JSON, as `slaf diff --json` prints it."""
        return asdict(self) | {"ok": self.ok, "counts": dict(self.counts)}


class DifferenceLog:
    """Collect differences: count all, and keep the first of each kind.

    Parameters
    ----------
    exchanged
        Whether to swap `expected` and `found` of each difference.
    """

    def __init__(self, *, exchanged: bool = False) -> None:
        self._exchanged = exchanged
        self._kept: list[Difference] = []
        self.counts: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self.counts)

    def has(self, *kinds: str) -> bool:
        """Whether there are differences of any of these kinds."""
        return any(self.counts[kind] for kind in kinds)

    def keeps(self, kind: str) -> bool:
        """Whether the next difference of this kind is kept, so that its `where` is needed."""
        return self.counts[kind] < SHOWN_OF_A_KIND

    def results(self) -> tuple[tuple[Difference, ...], tuple[tuple[str, int], ...]]:
        """Differences that were kept, and the number of differences by kind."""
        return tuple(self._kept), tuple(self.counts.items())

    @contextmanager
    def catching(self, where: str) -> Iterator[None]:
        """Note damage that is raised as a difference, and go on."""
        try:
            yield
        except DamagedDataset as error:
            self.note("unreadable", where, "what was written", error)

    def compare(self, kind: str, where: str, expected: object, found: object) -> None:
        """Note a difference if `expected` and `found` are not equal."""
        if expected != found:
            self.note(kind, where, expected, found)

    def note(self, kind: str, where: str, expected: object, found: object) -> None:
        """Note a difference."""
        if self._exchanged:
            expected, found = found, expected
        if self.keeps(kind):
            self._kept.append(Difference(kind, where, str(expected), str(found)))
        self.counts[kind] += 1

    def note_all(
        self, kind: str, n: int, describe: Callable[[int], tuple[str, object, object]]
    ) -> None:
        """Note `n` differences; `describe` gives `where`, `expected` and `found` of each."""
        n_kept = min(n, max(SHOWN_OF_A_KIND - self.counts[kind], 0))
        for number in range(n_kept):
            self.note(kind, *describe(number))
        self.counts[kind] += n - n_kept
