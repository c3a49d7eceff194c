"""Separate environments for the other programs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.inputs import FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["newer_python", "python_of", "versions"]

_NOTE = "requirements.json"
_VERSIONS = """
import json, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


@cache
def python_of(name: str, *requirements: str, interpreter: str = sys.executable) -> Path:
    """The interpreter of an environment with these requirements; ours without requirements.

    The environment is made by `interpreter` on first use, and again if its requirements have
    changed.
    """
    if not requirements:
        return Path(sys.executable)
    environment = FOLDER / "environments" / name
    note = environment / _NOTE
    python = environment / "bin" / "python"
    if note.exists() and json.loads(note.read_text()) == list(requirements):
        return python
    sys.stderr.write(f"creating an environment with {', '.join(requirements)}\n")
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([interpreter, "-m", "venv", environment], check=True)
    options = ["-qq", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "pip", "install", *options, *requirements], check=True)
    note.write_text(json.dumps(requirements))
    return python


def newer_python() -> str | None:
    """A Python 3.12, which some programs need: of pyenv, or on the path; None without one."""
    installed = Path.home().glob(".pyenv/versions/3.12.*/bin/python3.12")
    return next(map(str, installed), None) or shutil.which("python3.12")


def versions(python: Path, packages: Sequence[str]) -> Mapping[str, str]:
    """Installed releases by package."""
    command: list[str | Path] = [python, "-c", _VERSIONS, *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    releases: Mapping[str, str] = json.loads(done.stdout)
    return releases
