"""Every input is converted exactly or refused, in seconds and little memory; nothing is left."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import pytest

from slaf_cli.report import ExitCode
from tests.hostile.case import Fate
from tests.hostile.corpus import CORPUS, REPRESENTATIVE, groups
from tests.hostile.pool import Attempt, Pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hostile.case import Case

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells what is used")

MOST_SECONDS = 5.0
MOST_MEMORY = 500 << 20
# What a conversion of next to nothing takes; a worker holds more than that, and is charged for
# what a case adds.
PROGRAM_MEMORY = 270 << 20
# Each process of the tests has its own.
WORKERS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
OTHERS = [name for name in CORPUS if name not in REPRESENTATIVE]
# What a refusal may advise; the page of errors has them by class.
REMEDY = re.compile(
    r"copy|copied|choose|name |write |unpack|convert|check|rename|make |give |call |leave |"
    r"say which|--format|correct|no known format"
)


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Processes that try cases."""
    found = Pool(WORKERS, tmp_path_factory.mktemp("hostile"))
    yield found
    found.close()


@pytest.mark.parametrize("names", groups(REPRESENTATIVE).values(), ids=groups(REPRESENTATIVE))
def test_hostile_inputs(names: tuple[str, ...], pool: Pool, subtests: pytest.Subtests) -> None:
    """An input is converted and proven, or refused by one paragraph that names it."""
    check_all(names, pool, subtests)


@pytest.mark.slow
@pytest.mark.parametrize("names", groups(OTHERS).values(), ids=groups(OTHERS))
def test_all_others(names: tuple[str, ...], pool: Pool, subtests: pytest.Subtests) -> None:
    """So is every other input of the corpus."""
    check_all(names, pool, subtests)


def check_all(names: tuple[str, ...], pool: Pool, subtests: pytest.Subtests) -> None:
    """Try cases, and check what came of each."""
    for name, future in pool.submit(names).items():
        with subtests.test(name):
            check(CORPUS[name], future.result())


def check(case: Case, found: Attempt) -> None:
    """Check that it came as the case says, in seconds and little memory, and nothing is left."""
    assert found.ended is None
    assert "failed" not in found.found, found.found
    converting, described, *proof = found.found["commands"]
    path = found.found["path"]
    for command in found.found["commands"]:
        assert command["raised"] is None, command
        assert not command["beside"], command["beside"]
        # On a machine that is busy otherwise the clock says little; the pool ends what hangs.
        assert min(command["seconds"], command["cpu"]) < MOST_SECONDS, command
    assert found.found["grown"] < MOST_MEMORY - PROGRAM_MEMORY
    assert described["code"] in {ExitCode.DONE, case.code}, described
    if described["code"]:
        assert_one_paragraph(described["err"], path)
    if case.fate is Fate.CONVERTED or (case.fate is Fate.EITHER and not converting["code"]):
        assert not converting["code"], converting["err"]
        assert proof[0]["code"] == ExitCode.DONE, proof[0]["err"]
        assert found.found["holds"]
        assert found.found["left"] == ["out.slaf"]
        return
    assert converting["code"] == case.code, converting["err"]
    assert found.found["left"] == []
    said = assert_one_paragraph(converting["err"], path)
    assert re.search(case.says, said), said
    assert REMEDY.search(said), said


def assert_one_paragraph(err: str, path: str) -> str:
    """The one paragraph that tells of a failure: it names the input, and shows no traceback."""
    assert "Traceback" not in err
    told = [line for line in err.splitlines() if line.startswith("slaf: ")]
    assert len(told) == 1, err
    assert err.splitlines()[-1] == told[0], err
    assert "bug in slaf" not in told[0]
    assert shown(path) in told[0], (shown(path), told[0])
    return told[0]


def shown(path: str) -> str:
    """A path as a paragraph shows it: on one line, with no character that does something."""
    spaced = " ".join(path.split())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in spaced)


def test_the_corpus_is_large() -> None:
    """There are two hundred inputs and more, of every format."""
    assert len(CORPUS) >= 200
    assert len(REPRESENTATIVE) >= 60
    assert {CORPUS[name].fate for name in REPRESENTATIVE} == set(Fate)
    for kind in ("h5ad", "10x_h5", "mtx", "soma", "place"):
        assert sum(name.startswith(f"{kind}: ") for name in CORPUS) >= 20, kind
