"""The figures so far, in a JSON file, so that a stopped run can be resumed."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["Conversions", "Results", "Run"]


@dataclass(frozen=True, slots=True)
class Run:
    """Figures of one process.

    Attributes
    ----------
    seconds, cpu_seconds, peak_bytes
        Usage, as the system reports it.
    stored_bytes
        Size of all files of its output.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    stored_bytes: int


@dataclass(slots=True)
class Conversions:
    """All runs of a program on an input.

    Attributes
    ----------
    nonzeros
        Nonzeros of the input.
    runs
        Successful runs.
    failure
        The last line of its output, if it failed.
    losses
        Differences of its output from the input; None if not compared.
    """

    nonzeros: int
    runs: list[Run] = field(default_factory=list)
    failure: str | None = None
    losses: list[str] | None = None

    def least(self, figure: str) -> float:
        """The least of a figure over all runs."""
        return min(float(getattr(run, figure)) for run in self.runs)

    def median(self, figure: str | Callable[[Run], float]) -> float:
        """Median of a figure over all runs."""
        read = (lambda run: getattr(run, figure)) if isinstance(figure, str) else figure
        return median(read(run) for run in self.runs)


@dataclass(slots=True)
class Results:
    """All figures.

    Attributes
    ----------
    path
        Path of the file.
    about
        Machine and revision; figures of others are not mixed with these.
    versions
        Releases by program and package.
    conversions
        Conversions by case and program.
    reads
        Reads by case and program: for each process its figures by read.
    costs
        Figures of our own parts by case and part, for each process: mostly CPU seconds.
    """

    path: Path
    about: dict[str, Any]
    versions: dict[str, Mapping[str, str]] = field(default_factory=dict)
    conversions: dict[str, dict[str, Conversions]] = field(default_factory=dict)
    reads: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    costs: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    @classmethod
    def begin(cls, path: Path, about: dict[str, Any]) -> Self:
        """The figures of the file if machine and revision are the same, else none."""
        fresh = cls(path, about)
        if not path.exists():
            return fresh
        previous = cls.load(path)
        if previous.about != about:
            sys.stderr.write(f"{path.name} is of {previous.about}: starting again\n")
            return fresh
        return previous

    @classmethod
    def load(cls, path: Path) -> Self:
        """The figures of the file."""
        data = json.loads(path.read_text())
        conversions = {
            case: {
                program: Conversions(**{**record, "runs": [Run(**run) for run in record["runs"]]})
                for program, record in programs.items()
            }
            for case, programs in data.pop("conversions").items()
        }
        return cls(path=path, conversions=conversions, **data)

    def save(self) -> None:
        """Write the file."""
        content = asdict(self)
        del content["path"]
        unfinished = self.path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(content, indent=1))
        unfinished.replace(self.path)
