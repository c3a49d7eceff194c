"""A conversion that is stopped amid an effect on the disk is finished by the same call."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from slaf.testing.crashing import Crash, CrashingStorage, Moment
from tests.conversion.cases import indexed, replacing_and_widening, restarting, widening
from tests.conversion.stopped import points

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.conversion.stopped import Conversion

# In what order Lance writes the files of one commit.
_LAST_WRITTEN = (".lance", ".txn", ".manifest", "hint.json")


class TornStorage(CrashingStorage):
    """A location that crashes amid an effect: some of what it changes is changed, some is not.

    Files are removed in any order. They are written one after the other, each under another
    name first, as Lance and `Location.put` do; the last of those that were reached is half
    there, under that name.
    """

    def __init__(self, path: Path, at: int, rng: random.Random) -> None:
        super().__init__(path, at, Moment.AFTER)
        self._number = at
        self._rng = rng

    @contextmanager
    def mutation(self, action: str, name: str) -> Iterator[None]:
        """Change what is stored, and take some of it back if it is the effect."""
        torn = len(self.effects) == self._number
        before = self._contents() if torn else {}
        with super().mutation(action, name):
            try:
                yield
            finally:
                if torn:
                    self._tear(before, self._contents())

    def _contents(self) -> dict[str, bytes]:
        names = self.list(".")
        return {name: (self.path / name).read_bytes() for name in names if name != ".lock"}

    def _tear(self, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> None:
        for name in sorted(before.keys() - after.keys()):
            if self._rng.random() < 1 / 2:
                self._write(name, before[name])
        written = [name for name in after if before.get(name) != after[name]]
        written.sort(key=_turn)
        reached = self._rng.randint(0, len(written))
        for name in written[reached:]:
            (self.path / name).unlink()
            if name in before:
                self._write(name, before[name])
        for name in written[reached : reached + 1]:
            self._write(_staged(name), after[name][: len(after[name]) // 2])
        for name in written[reached - 1 : reached]:
            # A manifest is linked to its name, and only then loses the other.
            if name.endswith(".manifest"):
                self._write(_staged(name), after[name])

    def _write(self, name: str, data: bytes) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_bytes(data)


def _turn(name: str) -> tuple[int, str]:
    turns = [turn for turn, suffix in enumerate(_LAST_WRITTEN) if name.endswith(suffix)]
    return (max(turns, default=0), name)


def _staged(name: str) -> str:
    directory, _, base = name.rpartition("/")
    if base.endswith((".json", ".counts")) and "hint" not in base:
        return f"{directory}/.{base}.new"
    if base.endswith(".manifest"):
        return f"{name}#1"
    return f"{directory}/.tmp4Sx0Qz"


@pytest.mark.parametrize(
    ("seed", "most"),
    [(0, 6), *(pytest.param(seed, None, marks=pytest.mark.slow) for seed in range(10))],
)
@pytest.mark.parametrize(
    "case",
    [
        indexed,
        widening,
        replacing_and_widening,
        pytest.param(restarting, marks=pytest.mark.slow),
    ],
)
def test_stopped_amid_every_effect(
    case: Callable[[Path], Conversion],
    seed: int,
    most: int | None,
    tmp_path: Path,
    subtests: pytest.Subtests,
) -> None:
    """Stopped amid any effect on the disk, the same call finishes the same dataset."""
    conversion = case(tmp_path)
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    recorder = CrashingStorage(conversion.prepare(tmp_path / "recorded.slaf"))
    conversion.run(recorder)
    whole = {"make", "lock", "sync", "unlock"}
    tearable = [at for at, effect in enumerate(recorder.effects) if effect.action not in whole]
    for at in (tearable[point] for point in points(len(tearable), most, case.__name__)):
        with subtests.test(at=at, effect=str(recorder.effects[at])):
            output = conversion.prepare(tmp_path / f"{at}.slaf")
            with pytest.raises(Crash):
                conversion.run(TornStorage(output, at, random.Random(1000 * seed + at)))
            conversion.check_stopped(output, expected)
            conversion.finish(output, expected)
