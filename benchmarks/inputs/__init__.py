"""Inputs of the measurements, made once and cached under `build/bench/inputs`."""

from __future__ import annotations

from benchmarks.inputs.counts import Counts, Layout, blocks
from benchmarks.inputs.input import FOLDER, CachedInput, Input, Kind, cached_input
from benchmarks.inputs.real import RealCounts

__all__ = [
    "FOLDER",
    "CachedInput",
    "Counts",
    "Input",
    "Kind",
    "Layout",
    "RealCounts",
    "blocks",
    "cached_input",
]
