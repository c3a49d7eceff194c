"""Exports that Ctrl-C stops, for each library that writes."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

import slaf
from slaf.runtime.progress import NullProgress
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path

OUTPUTS: dict[str, dict[str, Any]] = {
    "out.h5ad": {"layout": "csc"},
    "out.h5": {},
    "out.zarr": {},
    "out": {"format": "10x_mtx"},
    "out.soma": {},
}


class _Interrupts(NullProgress):
    """Sends Ctrl-C to this process at the first progress."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def advance(self, cells: int, nonzeros: int) -> None:
        super().advance(cells, nonzeros)
        self.threads.append(threading.current_thread())
        if len(self.threads) == 1:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_ctrl_c(name: str, tmp_path: Path) -> None:
    """Ctrl-C raises KeyboardInterrupt in the caller, not in the thread of a library, and leaves
    nothing.
    """
    slaf.convert(write_h5ad(tmp_path / "in.h5ad", counts(1500, 4000)), tmp_path / "in.slaf")
    output = tmp_path / "to" / name
    interrupts = _Interrupts()
    with pytest.raises(KeyboardInterrupt):
        slaf.export(tmp_path / "in.slaf", output, progress=interrupts, **OUTPUTS[name])
    assert threading.main_thread() not in interrupts.threads
    assert not output.exists()
    slaf.export(tmp_path / "in.slaf", output, **OUTPUTS[name])
    assert [path.name for path in output.parent.iterdir()] == [name]
