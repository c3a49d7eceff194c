"""Environments of their own for programs to compare with."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

__all__ = ["python_of"]

_FOLDER = Path(__file__).parents[1] / "build"


def python_of(name: str, requirement: str) -> Path:
    """The interpreter of an environment that has a program, made if it is not there."""
    environment = _FOLDER / name
    python = environment / "bin" / "python"
    if not python.exists():
        venv.create(environment, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", requirement], check=True)
    return python
