"""A progress bar on stderr, and the time and memory that a command took."""

from __future__ import annotations

import resource
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from slaf_cli.log import FILE_ONLY, logger
from slaf_cli.report import in_bytes

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Bar", "cost", "peak_memory", "with_cost"]

_STATUS = Path("/proc/self/status")
# Between two lines of progress.
_SECONDS = 30.0
_LAYOUT = "{percentage:3.0f}%|{bar:24}| {remaining} left{postfix}"


class Bar:
    """A `slaf.runtime.progress.Progress`: a bar on a terminal, else a log line now and then."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown and sys.stderr.isatty()
        # The file of the log has lines of progress whatever is shown.
        self._extra = {} if shown and not self._shown else FILE_ONLY
        self._bar: tqdm[Any] | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._cleanup = ExitStack()
        self._cells = self._total_cells = 0
        self._nonzeros = 0
        self._new_nonzeros = 0
        self._started = 0.0

    def __enter__(self) -> Self:
        if self._shown:
            from tqdm.contrib.logging import logging_redirect_tqdm

            self._cleanup.enter_context(logging_redirect_tqdm([logger]))
        threading.Thread(target=self._log_lines, daemon=True, name="progress").start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._close()
        self._cleanup.close()

    def _log_lines(self) -> None:
        """Log a line in each interval, also while nothing advances."""
        while not self._ended.wait(_SECONDS):
            with self._lock:
                share = self._cells / self._total_cells if self._total_cells else 0.0
                line = (
                    f"{self._cells:,} of {self._total_cells:,} cells ({share:.0%}), {self._rate()}"
                )
            logger.info("progress: %s", line, extra=self._extra)

    def _rate(self) -> str:
        rate = self._new_nonzeros / max(time.monotonic() - self._started, 1e-3)
        memory = in_bytes(peak_memory())
        return f"{self._nonzeros:,} nonzeros, {rate / 1e6:.1f} M/s, {memory}"

    def begin(self, cells: int, nonzeros: int, total_cells: int) -> None:
        """Begin at `cells`."""
        with self._lock:
            self._close()
            self._nonzeros, self._new_nonzeros, self._started = nonzeros, 0, time.monotonic()
            self._cells, self._total_cells = cells, total_cells
            if self._shown:
                self._bar = _bar(cells, total_cells)

    def advance(self, cells: int, nonzeros: int) -> None:
        """Move forward."""
        with self._lock:
            self._cells += cells
            self._nonzeros += nonzeros
            self._new_nonzeros += nonzeros
            if self._bar is not None:
                self._bar.set_postfix_str(self._rate(), refresh=False)
                self._bar.update(cells)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _bar(cells: int, total_cells: int) -> tqdm[Any]:
    from tqdm import tqdm

    return tqdm(
        total=total_cells,
        initial=cells,
        bar_format=_LAYOUT,
        dynamic_ncols=True,
        leave=False,
        file=sys.stderr,
    )


def cost(seconds: float) -> str:
    """Time and peak memory of a command, as text."""
    return f"{seconds:.1f} s, {in_bytes(peak_memory())} of memory at most"


def with_cost(result: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Add time and peak memory of a command to its result in JSON."""
    return result | {"seconds": round(seconds, 3), "peak_memory": peak_memory()}


def peak_memory() -> int:
    """Peak memory of this process, in bytes."""
    # Linux keeps ru_maxrss across exec, so that a small program started by a large one counts as
    # large; the high-water mark of the address space starts with the program.
    with suppress(FileNotFoundError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
