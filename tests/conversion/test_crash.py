"""A conversion that is stopped at any effect on the disk is finished by the same call."""

from __future__ import annotations

import random
from itertools import count
from typing import TYPE_CHECKING

import pytest

from slaf.errors import DuplicateInput, OutputExists
from slaf.testing.crashing import Crash, CrashingStorage, Moment
from tests.conversion.cases import (
    appending,
    appending_a_layer,
    appending_and_widening,
    appending_beside,
    appending_by_gene,
    appending_genes,
    appending_nothing,
    appending_reads,
    appending_to_a_transform,
    appending_with_metrics,
    beside,
    blank,
    by_gene,
    concurrent,
    empty,
    indexed,
    plain,
    reads,
    replacing,
    replacing_and_widening,
    replacing_what_is_beside,
    restarting,
    several,
    several_with_everything,
    transforming,
    widening,
    widening_beside,
)
from tests.conversion.stopped import points

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conversion.stopped import Conversion

CASES = [plain, concurrent, replacing, indexed, widening, replacing_and_widening, restarting]
CASES += [empty, blank, several, beside, replacing_what_is_beside]
CASES += [appending, appending_and_widening, appending_genes, appending_nothing]
CASES += [transforming, appending_to_a_transform, appending_with_metrics]
CASES += [appending_beside, by_gene, appending_by_gene, reads, appending_reads]
# In the normal run one case is stopped before every effect, and each other before some of its own.
# What is there after an effect is what the next one finds: few cases are stopped after some.
POINTS: list[tuple[Callable[[Path], Conversion], Moment, int | None]]
POINTS = [(plain, Moment.BEFORE, None), (plain, Moment.AFTER, 6)]
POINTS += [(case, Moment.BEFORE, 3) for case in CASES if case is not plain]
POINTS += [(case, Moment.AFTER, 2) for case in (concurrent, beside, appending)]
# Those of the normal run that are stopped again and again: one of each kind of call.
AGAIN = [widening, replacing_and_widening, several, beside, appending, by_gene]
CASES += [widening_beside, several_with_everything, appending_a_layer]
MORE_POINTS = [(case, moment, None) for case in CASES for moment in Moment]
MORE_POINTS.remove((plain, Moment.BEFORE, None))


@pytest.mark.parametrize(
    ("case", "moment", "most"),
    POINTS + [pytest.param(*point, marks=pytest.mark.slow) for point in MORE_POINTS],
)
def test_stopped_at_every_effect(
    case: Callable[[Path], Conversion],
    moment: Moment,
    most: int | None,
    tmp_path: Path,
    subtests: pytest.Subtests,
) -> None:
    """Stopped before or after any effect on the disk, the same call finishes the same dataset."""
    conversion = case(tmp_path)
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    recorder = CrashingStorage(conversion.prepare(tmp_path / "recorded.slaf"))
    conversion.run(recorder)
    for at in points(len(recorder.effects), most, (case.__name__, moment)):
        with subtests.test(at=at, effect=str(recorder.effects[at])):
            output = conversion.prepare(tmp_path / f"{at}.slaf")
            with pytest.raises(Crash):
                conversion.run(CrashingStorage(output, at, moment))
            conversion.check_stopped(output, expected)
            conversion.finish(output, expected)


@pytest.mark.parametrize(
    ("case", "seed"),
    [(case, 0) for case in AGAIN]
    + [pytest.param(case, seed, marks=pytest.mark.slow) for case in CASES for seed in (1, 2)],
)
def test_stopped_again_and_again(
    case: Callable[[Path], Conversion], seed: int, tmp_path: Path
) -> None:
    """Each further attempt may be stopped as well, at any effect of its own."""
    conversion = case(tmp_path)
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    rng = random.Random(seed)
    output = conversion.prepare(tmp_path / "out.slaf")
    for attempt in count():
        moment = rng.choice(list(Moment))
        # Later and later, so that also a call that always begins again comes to an end.
        storage = CrashingStorage(output, rng.randrange(2, 12 + 3 * attempt), moment)
        try:
            conversion.run(storage)
        except Crash:
            conversion.check_stopped(output, expected)
        except (OutputExists, DuplicateInput):
            break
        else:
            break
    conversion.finish(output, expected)
