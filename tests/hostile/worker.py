"""A process that tries hostile inputs, one after the other, and tells what came of each."""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from typer.testing import CliRunner

import slaf
from slaf_cli.app import make_app
from slaf_cli.process import keep_one_heap
from tests.builders import totals
from tests.hostile.corpus import CAMPAIGN, CORPUS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slaf.testing.strategies import Stored


def main() -> None:
    """Answer each line of stdin, a case and a folder, by a line of JSON."""
    keep_one_heap()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        name, folder = json.loads(line)
        try:
            found = _tried(name, Path(folder))
        except Exception as error:  # noqa: BLE001 - the test tells it
            found = {"failed": repr(error)}
        answers.write(json.dumps(found) + "\n")
        answers.flush()


def _tried(name: str, folder: Path) -> dict[str, Any]:
    case = (CORPUS | CAMPAIGN)[name]
    there = folder / "there"
    there.mkdir()
    (folder / "here").mkdir()
    path = case.write(folder / "here")
    output = there / "out.slaf"
    before = _forget_peak()
    commands = [_command(folder, "convert", path, output, *case.options)]
    left = sorted(child.name for child in there.iterdir())
    commands.append(_command(folder, "info", path, *case.options))
    found: dict[str, Any] = {"path": str(path), "left": left, "holds": None}
    if commands[0]["code"] == 0:
        words = [word for word in case.options if word != "--overwrite"]
        commands.append(_command(folder, "verify", output, "--against", path, *words[:2]))
        found["holds"] = case.truth is None or _holds(output, case.truth)
    return found | {"commands": commands, "grown": _memory("VmHWM") - before}


def _command(folder: Path, *words: str | Path) -> dict[str, Any]:
    """What a command did: what it wrote past Python's own streams is told apart."""
    began, cpu = time.monotonic(), time.process_time()
    with _streams_to(folder / "streams"):
        ended = CliRunner().invoke(make_app(words), [str(word) for word in words])
    return {
        "command": words[0],
        "code": ended.exit_code,
        "out": ended.stdout,
        "err": re.sub(r"\r[^\n]*", "", ended.stderr),
        "raised": None if isinstance(ended.exception, SystemExit | None) else repr(ended.exception),
        "beside": (folder / "streams").read_text(errors="replace"),
        "seconds": time.monotonic() - began,
        "cpu": time.process_time() - cpu,
    }


@contextmanager
def _streams_to(file: Path) -> Iterator[None]:
    """Catch what libraries write to the descriptors themselves."""
    kept = [os.dup(number) for number in (1, 2)]
    with file.open("wb") as target:
        for number in (1, 2):
            os.dup2(target.fileno(), number)
    try:
        yield
    finally:
        for number, descriptor in zip((1, 2), kept, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)


def _holds(output: Path, truth: Stored) -> bool:
    dataset = slaf.open(output)
    table = dataset.expression.to_table().to_pydict()
    places = zip(table["cell_integer_id"], table["gene_integer_id"], strict=True)
    found = dict(zip(places, table["value"], strict=True))
    expected = totals(truth)
    if dataset.shape != truth.shape or sorted(found) != sorted(expected):
        return False
    ours, theirs = (np.array([of[place] for place in expected]) for of in (found, expected))
    return bool(np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"))


def _forget_peak() -> int:
    """The memory in use, which is the peak from now on."""
    # What was freed before would hide what is taken next.
    ctypes.CDLL(None).malloc_trim(0)
    # https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html: 5 resets the peak
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    words = Path("/proc/self/status").read_text().split()
    return int(words[words.index(f"{name}:") + 1]) * 1024


if __name__ == "__main__":
    main()
