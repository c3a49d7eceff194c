"""A process that has imported what is slow to import, and forks one that waits for a command.

It reads a line for each process that is wanted, the address where somebody listens for it,
and writes a line for each that has ended: its id and its exit code.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Client
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults import interposer

if TYPE_CHECKING:
    from tests.faults.orders import Order

_PIECE = 1 << 16


def main() -> None:
    """Serve until stdin is closed."""
    import tests.imported  # noqa: F401 - for those who are forked

    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(tell)
    waiting = b""
    while True:
        ready, _, _ = select.select([0, told], [], [])
        if told in ready:
            os.read(told, _PIECE)
            _reap()
        if 0 in ready:
            more = os.read(0, _PIECE)
            if not more:
                return
            *addresses, waiting = (waiting + more).split(b"\n")
            for address in addresses:
                if os.fork() == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    _be_child(address.decode())


def _reap() -> None:
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            os.write(1, f"{pid} {os.waitstatus_to_exitcode(status)}\n".encode())


def _be_child(address: str) -> None:
    """Do what the one who listens orders, and end."""
    code = 1
    try:
        code = _obey(address)
    except BaseException:  # noqa: BLE001 - a child of a fork ends here, whatever it was
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _obey(address: str) -> int:
    from slaf_cli.app import main as run

    connection = Client(address)
    connection.send(os.getpid())
    try:
        order: Order = connection.recv()
    except (EOFError, ConnectionResetError):
        return 0
    for number, path in ((1, order.out), (2, order.err)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.argv = ["slaf", *order.words]
    befallen = order.befallen
    if befallen.largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (befallen.largest_file,) * 2)
    if befallen.memory is not None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + befallen.memory,) * 2)
    interposer.arm(order.below, befallen.action, befallen.at, befallen.argument)
    code = 0
    try:
        run()
    except SystemExit as ended:
        code = int(ended.code or 0)
    connection.send((interposer.seen(), interposer.met()))
    return code


if __name__ == "__main__":
    main()
