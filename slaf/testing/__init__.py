"""What those need who add a format or a place to store: laws, and storage that breaks."""

from __future__ import annotations

from slaf.testing.crashing import Crash, CrashingStorage, Effect, Failure, Moment
from slaf.testing.laws import SourceLaws

__all__ = ["Crash", "CrashingStorage", "Effect", "Failure", "Moment", "SourceLaws"]
