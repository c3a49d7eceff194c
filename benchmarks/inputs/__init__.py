"""Files to measure with, made once and kept under `build/bench/inputs`."""

from __future__ import annotations

from benchmarks.inputs.counts import Counts, Layout, blocks
from benchmarks.inputs.input import FOLDER, Input, Kept, Kind, kept

__all__ = ["FOLDER", "Counts", "Input", "Kept", "Kind", "Layout", "blocks", "kept"]
