"""Faults of all kinds, one after the other, and the table of what came of them."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import TYPE_CHECKING

from slaf.storage.location import Location
from slaf.testing.crashing import CrashingStorage
from tests.faults.kinds import KINDS, Kind, Ready
from tests.faults.operations import Converting
from tests.faults.orders import Befallen
from tests.faults.verdicts import Verdict, judged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.faults.commands import Commands
    from tests.faults.disks import Disk
    from tests.faults.operations import Operation

__all__ = ["Campaign", "Tally"]

# For each fault that is wanted.
_MOST_ROUNDS = 10
# Characters of what is told of a finding.
_LONGEST = 2000


@dataclass
class Tally:
    """What was injected, and what came of it.

    Attributes
    ----------
    verdicts
        How often each, by kind.
    operations
        How many faults each operation met.
    skipped
        The kinds of which there was none, and why.
    findings
        Each fault of which what came is not sound, in words.
    """

    verdicts: dict[str, Counter[Verdict]] = field(default_factory=dict)
    operations: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    def injected(self, family: str) -> int:
        """How many faults of a family of kinds there were."""
        return sum(
            sum(counts.values())
            for name, counts in self.verdicts.items()
            if KINDS[name].family == family
        )

    def __str__(self) -> str:
        width = max(map(len, [*KINDS, *self.operations]))
        lines = [f"{'':<{width}} {'injected':>9}" + "".join(f"{v:>11}" for v in Verdict)]
        for name, counts in self.verdicts.items():
            numbers = "".join(f"{counts[verdict]:>11,}" for verdict in Verdict)
            lines.append(f"{name:<{width}} {sum(counts.values()):>9,}{numbers}")
        total = sum(self.verdicts.values(), Counter[Verdict]())
        numbers = "".join(f"{total[verdict]:>11,}" for verdict in Verdict)
        lines.append(f"{'all':<{width}} {sum(total.values()):>9,}{numbers}")
        lines.append("")
        families = {kind.family: self.injected(kind.family) for kind in KINDS.values()}
        lines.append(", ".join(f"{name}: {count:,}" for name, count in families.items()))
        lines += [f"{name:<{width}} {count:>9,}" for name, count in self.operations.items()]
        lines += [f"skipped: {name}, {why}" for name, why in self.skipped.items()]
        return "\n".join([*lines, *self.findings])


class Campaign:
    """A campaign against these operations.

    Parameters
    ----------
    commands
        Where they are run.
    folder
        An empty folder.
    disk
        A disk of its own; None if there is none.
    operations
        How each is made, by name, in a folder.
    seed
        Of all that is random.
    """

    def __init__(
        self,
        commands: Commands,
        folder: Path,
        disk: Disk | None,
        operations: Mapping[str, Callable[[Path], Operation]],
        seed: int,
    ) -> None:
        self.tally = Tally()
        self._commands = commands
        self._folder = folder
        self._disk = disk
        self._rng = random.Random(seed)
        self._rounds = 0
        self._ready = {name: self._prepared(name, made) for name, made in operations.items()}

    def inject(self, name: str, amount: int) -> None:
        """Inject so many faults of a kind, into one operation after the other."""
        kind = KINDS[name]
        if kind.disk and self._disk is None:
            self.tally.skipped[name] = "for this user may mount no disk"
            return
        counts = self.tally.verdicts.setdefault(name, Counter())
        fitting = [one for one, ready in self._ready.items() if kind.fits(ready.operation)]
        self._rng.shuffle(fitting)
        # A kind that nothing meets comes to an end too.
        for operation in islice(cycle(fitting), _MOST_ROUNDS * amount):
            if sum(counts.values()) >= amount:
                return
            for verdict, told in self._round(kind, self._ready[operation]):
                counts[verdict] += 1
                self.tally.operations[operation] += 1
                if verdict is not Verdict.SOUND:
                    where = f"{name}, {operation}, round {self._rounds}"
                    self.tally.findings.append(f"{verdict}: {where}: {told[-_LONGEST:]}")

    def _round(self, kind: Kind, ready: Ready) -> list[tuple[Verdict, str]]:
        """Let one output meet a fault, or several; and what came of each."""
        self._rounds += 1
        above = self._disk.path if kind.disk and self._disk else self._folder
        folder = above / f"round-{self._rounds}"
        folder.mkdir()
        output = ready.operation.prepare(folder)
        found: list[tuple[Verdict, str]] = []
        for _ in range(self._rng.randint(1, kind.most)):
            struck = kind.strike(self._commands, ready, output, self._rng)
            verdict, told = judged(
                ready.operation, output, ready.expected, ready.rows, finishing=False
            )
            if struck.untold and verdict is Verdict.SOUND:
                verdict, told = Verdict.UNTOLD, struck.untold
            if struck.met or verdict is not Verdict.SOUND:
                found.append((verdict, told))
            if not struck.met:
                break
        if found and found[-1][0] in (Verdict.SOUND, Verdict.UNTOLD):
            verdict, told = judged(
                ready.operation, output, ready.expected, ready.rows, finishing=True
            )
            if verdict is not Verdict.SOUND:
                found[-1] = (verdict, told)
        if all(verdict is Verdict.SOUND for verdict, _ in found):
            shutil.rmtree(folder)
        return found

    def _prepared(self, name: str, made: Callable[[Path], Operation]) -> Ready:
        folder = self._folder / name.replace(" ", "-")
        places = [folder / place for place in ("inputs", "whole", "counted", "recorded")]
        for place in places:
            place.mkdir(parents=True)
        operation = made(places[0])
        output = operation.prepare(places[1])
        expected = operation.uninterrupted(output)
        rows = operation.rows(output)
        counted = operation.prepare(places[2])
        words = operation.words(counted)
        ended = self._commands.run(words, places[2], Befallen())
        assert ended.code == 0, ended.err
        assert ended.seen
        assert operation.rows(counted) == rows
        effects = _effects(operation, places[3])
        size = Location(places[2]).size()
        return Ready(operation, expected, rows, ended.seen, effects, ended.seconds, size)


def _effects(operation: Operation, folder: Path) -> int:
    if not isinstance(operation, Converting):
        return 0
    recorder = CrashingStorage(operation.prepare(folder))
    operation.conversion.run(recorder)
    return len(recorder.effects)
