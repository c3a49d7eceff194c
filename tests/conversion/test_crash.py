"""A conversion that is stopped at any effect on the disk is finished by the same call."""

from __future__ import annotations

import random
from itertools import count
from typing import TYPE_CHECKING

import pytest

from slaf.errors import AlreadyThere, OutputExists
from slaf.testing import Crash, CrashingStorage, Moment
from tests.conversion.cases import (
    appending,
    appending_a_layer,
    appending_and_widening,
    appending_beside,
    appending_genes,
    appending_nothing,
    beside,
    blank,
    concurrent,
    empty,
    indexed,
    plain,
    replacing,
    replacing_and_widening,
    replacing_what_is_beside,
    restarting,
    several,
    several_with_everything,
    widening,
    widening_beside,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conversion.stopped import Conversion

CASES = [plain, concurrent, replacing, indexed, widening, replacing_and_widening, restarting]
CASES += [empty, blank, several, beside, replacing_what_is_beside]
CASES += [appending, appending_and_widening, appending_genes, appending_nothing]
# What one effect leaves is what the next one finds, unless several are under way at once: so
# most cases are stopped after an effect by being stopped before the next.
POINTS = [(case, Moment.BEFORE) for case in CASES]
POINTS += [(case, Moment.AFTER) for case in (plain, concurrent, appending)]
MORE_POINTS = [(case, Moment.AFTER) for case in CASES if (case, Moment.AFTER) not in POINTS]
# Of many effects each: in the normal run only stopped again and again.
LONG_CASES = [widening_beside, several_with_everything, appending_beside, appending_a_layer]
CASES += LONG_CASES
MORE_POINTS += [(case, moment) for case in LONG_CASES for moment in Moment]


@pytest.mark.parametrize(
    ("case", "moment"),
    POINTS + [pytest.param(*point, marks=pytest.mark.slow) for point in MORE_POINTS],
)
def test_stopped_at_every_effect(
    case: Callable[[Path], Conversion],
    moment: Moment,
    tmp_path: Path,
    subtests: pytest.Subtests,
) -> None:
    """Stopped before or after any effect on the disk, the same call finishes the same dataset."""
    conversion = case(tmp_path)
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    recorder = CrashingStorage(conversion.prepare(tmp_path / "recorded.slaf"))
    conversion.run(recorder)
    for at in range(len(recorder.effects)):
        with subtests.test(at=at, effect=str(recorder.effects[at])):
            output = conversion.prepare(tmp_path / f"{at}.slaf")
            with pytest.raises(Crash):
                conversion.run(CrashingStorage(output, at, moment))
            conversion.check_stopped(output, expected)
            conversion.finish(output, expected)


@pytest.mark.parametrize("case", CASES)
def test_stopped_again_and_again(
    case: Callable[[Path], Conversion], tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """Each further attempt may be stopped as well, at any effect of its own."""
    conversion = case(tmp_path)
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    for seed in range(2):
        with subtests.test(seed=seed):
            rng = random.Random(seed)
            output = conversion.prepare(tmp_path / f"{seed}.slaf")
            for attempt in count():
                moment = rng.choice(list(Moment))
                # Later and later, so that also a call that always begins again comes to an end.
                storage = CrashingStorage(output, rng.randrange(2, 12 + attempt), moment)
                try:
                    conversion.run(storage)
                except Crash:
                    conversion.check_stopped(output, expected)
                except (OutputExists, AlreadyThere):
                    break
                else:
                    break
            conversion.finish(output, expected)
