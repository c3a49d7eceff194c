"""A conversion by this program as a whole process, whose output is removed."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.inputs import FOLDER
from benchmarks.process import measure

if TYPE_CHECKING:
    from benchmarks.process import Usage

__all__ = ["convert"]


def convert(path: Path, *options: str) -> Usage:
    """Convert a file by the command line, and remove the dataset."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        program = Path(sys.executable).with_name("slaf")
        return measure([program, "convert", "--quiet", *options, path, Path(folder) / "out.slaf"])
