"""Workers that try hostile inputs, each watched: one that hangs or eats memory is ended."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Attempt", "Pool"]

_ROOT = Path(__file__).parents[2]
# Far beyond the law, which is of CPU time too; these only protect the machine.
_PATIENCE = 120.0
_MOST_MEMORY = 2 << 30
_GLANCE = 0.05
# A worker that has grown is replaced, so that a case is not charged for those before it.
_LARGE = 800 << 20


@dataclass(frozen=True)
class Attempt:
    """What came of an input; `ended` says why a worker had to be ended, if it had."""

    found: dict[str, Any]
    folder: Path
    ended: str | None = None


class Pool:
    """So many workers, each in a process of its own."""

    def __init__(self, workers: int, folder: Path) -> None:
        self._folder = folder
        self._local = threading.local()
        self._all: list[_Worker] = []
        self._threads = ThreadPoolExecutor(workers)

    def submit(self, names: Iterable[str]) -> dict[str, Future[Attempt]]:
        """Try these cases."""
        return {name: self._threads.submit(self._try, name) for name in names}

    def close(self) -> None:
        """End all workers."""
        self._threads.shutdown(cancel_futures=True)
        for worker in self._all:
            worker.end()

    def _try(self, name: str) -> Attempt:
        worker: _Worker | None = getattr(self._local, "worker", None)
        if worker is None or not worker.is_fit():
            if worker is not None:
                worker.end()
            worker = self._local.worker = _Worker()
            self._all.append(worker)
        folder = self._folder / "".join(c if c.isalnum() else "-" for c in name)
        folder.mkdir()
        return worker.attempt(name, folder)


class _Worker:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            env=os.environ | {"LANCE_LOG": "error"},
        )
        self._peak = 0

    def is_fit(self) -> bool:
        return self._process.poll() is None and self._memory() < _LARGE

    def attempt(self, name: str, folder: Path) -> Attempt:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([name, str(folder)]).encode() + b"\n")
        stdin.flush()
        end = time.monotonic() + _PATIENCE
        while not select.select([stdout], [], [], _GLANCE)[0]:
            why = None
            if time.monotonic() > end:
                why = f"it took more than {_PATIENCE} s"
            elif self._memory() > _MOST_MEMORY:
                why = f"it took {self._memory():,} bytes of memory"
            if why is not None:
                self.end()
                return Attempt({}, folder, why)
        line = stdout.readline()
        if not line:
            return Attempt({}, folder, f"the process ended by {self._process.wait()}")
        return Attempt(json.loads(line), folder)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _memory(self) -> int:
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
