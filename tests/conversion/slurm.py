"""A cluster of SLURM on this machine: one node of two cores, with daemons and a key of its own."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Slurm", "slurm", "why_not"]

_PATIENCE = 600.0
_DAEMONS = ("munged", "slurmctld", "slurmd")
# Debian has daemons where only root looks.
_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])

# The memory is that which jobs may ask for, not that of the machine.
_CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
MailProg=/bin/true
KillWait=2
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""


def why_not() -> str:
    """The reason why there can be no cluster here; "" if there can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "the daemons of SLURM need root"
    missing = [name for name in _DAEMONS if shutil.which(name, path=_PATH) is None]
    return f"there is no {' and no '.join(missing)} (slurm-wlm, munge)" if missing else ""


@dataclass(frozen=True)
class Slurm:
    """A cluster that runs.

    Attributes
    ----------
    folder
        Where its files, and the output of its jobs, are.
    """

    folder: Path

    def run(self, command: str) -> str:
        """What a command of the shell prints, which ends well."""
        done = self._shell(command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def submit(self, command: str, *options: str) -> int:
        """The number of a job, for a command that begins with `sbatch`."""
        output = f"--output={self.folder}/%A-%a.out"
        words = " ".join(["sbatch", "--parsable", output, *options])
        return int(self.run(re.sub("^sbatch", words, command)))

    def wait(self, job: int) -> None:
        """Wait until no task of a job is there any more."""
        wait_until(lambda: not self.run(f"squeue --noheader --jobs={job} || true"))

    def printed(self, job: int) -> str:
        """What the tasks of a job printed."""
        return "".join(file.read_text() for file in sorted(self.folder.glob(f"{job}-*.out")))

    def _shell(self, command: str) -> subprocess.CompletedProcess[str]:
        settings = {"PATH": _PATH, "SLURM_CONF": str(self.folder / "slurm.conf")}
        return subprocess.run(
            ["bash", "-c", command],
            env=os.environ | settings,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )


@contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """A cluster, in an empty directory, while the block runs."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    host = socket.gethostname().split(".")[0]
    config = folder / "slurm.conf"
    config.write_text(_CONFIG.format(folder=folder, host=host, ports=_free_ports()))
    files = [
        f"--{name}={folder}/munge.{end}"
        for name, end in (
            ("key-file", "key"),
            ("socket", "sock"),
            ("pid-file", "pid"),
            ("log-file", "log"),
            ("seed-file", "seed"),
        )
    ]
    cluster = Slurm(folder)
    with ExitStack() as stack:
        stack.enter_context(_daemon(["munged", "--foreground", "--force", *files]))
        wait_until((folder / "munge.sock").exists)
        for name in ("slurmctld", "slurmd"):
            stack.enter_context(_daemon([name, "-D", "-f", str(config)]))
        stack.callback(cluster.run, "scancel --user=root --signal=KILL --full || true")
        wait_until(lambda: "idle" in cluster.run("sinfo --noheader || true"))
        yield cluster


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for a condition."""
    until = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < until, "it does not come true"
        time.sleep(0.1)


@contextmanager
def _daemon(command: Sequence[str]) -> Iterator[None]:
    """A daemon, while the block runs."""
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(
        command, env=os.environ | {"PATH": _PATH}, stdout=nothing, stderr=nothing
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
