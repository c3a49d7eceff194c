"""Tests for new formats, and a storage that fails on purpose."""

from __future__ import annotations

from slaf.testing.crashing import Crash, CrashingStorage, Effect, Failure, Moment
from slaf.testing.laws import SourceLaws

__all__ = ["Crash", "CrashingStorage", "Effect", "Failure", "Moment", "SourceLaws"]
