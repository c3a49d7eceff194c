"""Every input is converted exactly or refused, in seconds and little memory; nothing is left."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from slaf_cli.report import ExitCode
from tests.hostile.case import Fate
from tests.hostile.corpus import CORPUS
from tests.hostile.pool import Attempt, Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells what is used")

MOST_SECONDS = 5.0
MOST_MEMORY = 500 << 20
# What a conversion of next to nothing takes; a worker holds more than that, and is charged for
# what a case adds.
PROGRAM_MEMORY = 270 << 20
WORKERS = 2
# What a refusal may advise; the page of errors has them by class.
REMEDY = re.compile(
    r"copy|copied|choose|name |write |unpack|convert|check|rename|make |give |call |leave |"
    r"say which|--format|correct|no known format"
)


@pytest.fixture(scope="session")
def attempt(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Attempt]]:
    """What came of a case: all that were chosen are tried as soon as one is asked for."""
    chosen = [
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_hostile_input"
    ]
    pool = Pool(WORKERS, tmp_path_factory.mktemp("hostile"))
    futures = pool.submit(chosen)
    yield lambda name: futures[name].result()
    pool.close()


@pytest.mark.parametrize("name", CORPUS)
def test_hostile_input(name: str, attempt: Callable[[str], Attempt]) -> None:
    """It is converted and proven, or refused by one paragraph that names it; nothing is left."""
    case, found = CORPUS[name], attempt(name)
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
    for kind in ("h5ad", "10x_h5", "mtx", "soma", "place"):
        assert sum(name.startswith(f"{kind}: ") for name in CORPUS) >= 20, kind
