"""What was measured so far, kept in a JSON file so that a run that is stopped goes on."""

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
    """A whole process that was measured.

    Attributes
    ----------
    seconds, cpu_seconds, peak_bytes
        As the system counts them.
    stored_bytes
        Of all files that it made.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    stored_bytes: int


@dataclass(slots=True)
class Conversions:
    """What a program did with an input.

    Attributes
    ----------
    nonzeros
        Of the input.
    runs
        Those that ended well.
    failure
        The end of what it printed when it did not.
    losses
        In what its output differs from the input; None if that was not looked at.
    """

    nonzeros: int
    runs: list[Run] = field(default_factory=list)
    failure: str | None = None
    losses: list[str] | None = None

    def median(self, figure: str | Callable[[Run], float]) -> float:
        """Of all runs."""
        read = (lambda run: getattr(run, figure)) if isinstance(figure, str) else figure
        return median(read(run) for run in self.runs)


@dataclass(slots=True)
class Results:
    """All figures.

    Attributes
    ----------
    path
        Of the file.
    about
        The machine and the revision: of others, figures are not mixed with these.
    versions
        By program and package.
    conversions
        By case and program.
    reads
        By case and program: of each process, what each read took.
    checks
        By case, CPU seconds of digests and exact checks, of each process.
    """

    path: Path
    about: dict[str, Any]
    versions: dict[str, Mapping[str, str]] = field(default_factory=dict)
    conversions: dict[str, dict[str, Conversions]] = field(default_factory=dict)
    reads: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    checks: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def begin(cls, path: Path, about: dict[str, Any]) -> Self:
        """Those of the file, if they are of the same machine and revision; else none."""
        fresh = cls(path, about)
        if not path.exists():
            return fresh
        kept = cls.load(path)
        if kept.about != about:
            sys.stderr.write(f"{path.name} is of {kept.about}: begun again\n")
            return fresh
        return kept

    @classmethod
    def load(cls, path: Path) -> Self:
        """Those of the file."""
        kept = json.loads(path.read_text())
        conversions = {
            case: {
                program: Conversions(**{**one, "runs": [Run(**run) for run in one["runs"]]})
                for program, one in programs.items()
            }
            for case, programs in kept.pop("conversions").items()
        }
        return cls(path=path, conversions=conversions, **kept)

    def save(self) -> None:
        """Write the file."""
        content = asdict(self)
        del content["path"]
        unfinished = self.path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(content, indent=1))
        unfinished.replace(self.path)
