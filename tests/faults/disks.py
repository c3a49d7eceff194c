"""A small disk of its own, which fills up and becomes read-only when it is told to."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Disk", "mounted"]

_BYTES = 16 << 20


class Disk:
    """A disk, by the folder at which it is mounted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def leaving(self, free: int) -> Iterator[None]:
        """Let no more than so many bytes be free, meanwhile."""
        filler = self.path / "filler"
        status = os.statvfs(self.path)
        filler.write_bytes(bytes(max(status.f_bavail * status.f_frsize - free, 0)))
        try:
            yield
        finally:
            filler.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Let it not be written, meanwhile."""
        self._remount("ro")
        try:
            yield
        finally:
            self._remount("rw")

    def _remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.path)], check=True)


@contextmanager
def mounted(path: Path) -> Iterator[Disk | None]:
    """Mount a small disk at a folder that is made; None if that is not allowed."""
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={_BYTES}", "tmpfs", str(path)]
    try:
        done = subprocess.run(words, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        done = False
    if not done:
        yield None
        return
    try:
        yield Disk(path)
    finally:
        # A library may have a file open for a while longer.
        subprocess.run(["umount", "--lazy", str(path)], check=True)
