"""Ctrl-C and SIGTERM stop a conversion cleanly, and the same command finishes it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
import typer

import slaf
from slaf.errors import NotADataset
from slaf.runs.status import State
from slaf_cli.report import ExitCode, edge
from tests.cli.terminal import run, start, wait_until

if TYPE_CHECKING:
    from pathlib import Path


def parts_done(output: Path) -> int:
    """How many parts are on disk, of a conversion that may not have begun."""
    try:
        return slaf.status(output).parts_done
    except NotADataset:
        return 0


@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_signal_leaves_what_the_same_command_finishes(
    sent: signal.Signals, code: ExitCode, workers: str, large: Path, tmp_path: Path
) -> None:
    """A conversion that a signal stops says how to resume, ends with 128 + the signal, and is
    finished by the same command without a part being written again.
    """
    output = tmp_path / "out.slaf"
    words = ("convert", large, output, "--chunk-size", "40", "--workers", workers)
    with start(*words) as process:
        wait_until(lambda: parts_done(output) >= 3 or process.poll() is not None)
        assert slaf.status(output).state is State.RUNNING
        process.send_signal(sent)
        out, err = process.communicate(timeout=240)
    assert process.returncode == code
    assert out == ""
    stopped = slaf.status(output)
    assert stopped.state is State.STOPPED
    assert 3 <= stopped.parts_done < stopped.parts == 100
    done = f"{stopped.parts_done} of 100 parts"
    note = f"{done} are in {output}: run the same command again to finish"
    assert err == f"slaf: {code.name.lower()}; {note}\n"
    assert f"resuming: {done}" in run(*words).succeeded().err
    slaf.verify(output, against=large)


@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
)
def test_every_command_can_be_stopped(sent: signal.Signals, code: ExitCode) -> None:
    """A signal ends any command with 128 + the signal; after it signals do what they did before."""
    before = signal.getsignal(sent)
    with pytest.raises(typer.Exit) as ended, edge(quiet=False, verbose=False):
        signal.raise_signal(sent)
    assert ended.value.exit_code == code == 128 + sent
    assert signal.getsignal(sent) is before
