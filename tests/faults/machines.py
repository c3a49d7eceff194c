"""Processes at one plan, each with a clock of its own, that are killed or meet a full disk."""

from __future__ import annotations

import signal
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from slaf_cli.report import ExitCode
from tests.faults.interposer import Action
from tests.faults.orders import Befallen

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from pathlib import Path

    from tests.faults.commands import Command, Commands
    from tests.faults.orders import Ended

__all__ = ["Machines"]

KILLED = -signal.SIGKILL
# Bytes beyond which a node with a full disk lets no file grow.
_FULL = 200


@dataclass
class Machines:
    """Machines that share an output.

    Attributes
    ----------
    commands
        Runs their processes.
    folder
        The directory of the inputs.
    rng
        Decides what befalls them.
    reach
        The options that reach a bucket.
    seconds
        The time that a process takes, about.
    spared
        The share of processes that live.
    clocks
        How far the clock of each may be off, in seconds.
    ends
        How many processes ended in which way, by command.
    """

    commands: Commands
    folder: Path
    rng: random.Random
    reach: tuple[str, ...] = ()
    seconds: float = 0.4
    spared: float = 0.35
    clocks: int = 40 * 86_400
    ends: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def kills(self) -> int:
        """How many processes were killed."""
        return sum(number for (_, code), number in self.ends.items() if code == KILLED)

    def finish(self, inputs: Sequence[Path], output: str, options: Sequence[str]) -> None:
        """Plan, encode and publish, with as many attempts as it takes."""
        planning = ("plan", *map(str, inputs), output, *options)
        while self._survives(planning).code != 0:
            pass
        n_parts = 0
        while True:
            self._encode_at_once(output, n_parts)
            if self.rng.random() < 0.5:
                continue
            straggler = self._start(("part", output)) if self.rng.random() < 0.3 else None
            ended = self._survives(("publish", output))
            if straggler is not None:
                self._end(straggler, "part", None, {0, ExitCode.CONFLICT})
            if ended.code == 0 or "there is a published dataset" in ended.err:
                return
            if "of " in ended.err:
                n_parts = max(n_parts, _n_parts(ended.err))

    def _encode_at_once(self, output: str, n_parts: int) -> None:
        """Two processes, at times at one part, of which any may be killed, or find no space."""
        which = ["--index", str(self.rng.randrange(n_parts))] if n_parts else []
        words = [("part", output), ("part", output, *which)]
        if self.rng.random() < 0.4:
            words[0] = words[1]
        began = time.monotonic()
        running = []
        for each in words:
            full = Befallen(largest_file=_FULL) if self.rng.random() < 0.15 else Befallen()
            running.append((self._start(each, full), full))
        for command, befallen in running:
            allowed = {0, ExitCode.CONFLICT}
            if befallen.largest_file is not None:
                allowed |= {ExitCode.STORAGE}
            self._end(command, "part", self._when(began), allowed)

    def _survives(self, words: tuple[str, ...]) -> Ended:
        """A command that may be killed; what it refuses is a conflict."""
        command = self._start(words)
        began = time.monotonic()
        return self._end(command, words[0], self._when(began), {0, ExitCode.CONFLICT})

    def _when(self, began: float) -> float | None:
        """The seconds from now after which a process is killed; None if it lives."""
        if self.rng.random() < self.spared:
            return None
        return max(self.rng.uniform(0, self.seconds) + began - time.monotonic(), 0.001)

    def _start(self, words: tuple[str, ...], befallen: Befallen | None = None) -> Command:
        quiet = (*words, *self.reach, "--quiet")
        off = self.rng.randint(-self.clocks, self.clocks)
        clock = replace(befallen or Befallen(), action=Action.CLOCK, at=0, argument=off)
        return self.commands.start(quiet, self.folder, clock)

    def _end(
        self, command: Command, name: str, kill_after: float | None, allowed: set[int]
    ) -> Ended:
        ended = command.wait(kill_after=kill_after)
        self.ends[name, ended.code] += 1
        assert ended.code in allowed | {KILLED}, ended.err
        return ended


def _n_parts(message: str) -> int:
    """The number of parts that a refusal of `slaf publish` names."""
    _, _, after = message.partition(" of ")
    number = after.split(" ", 1)[0].replace(",", "")
    return int(number) if number.isdigit() else 0
