"""Imports that take less time: no cycles are looked for among objects that stay."""

from __future__ import annotations

import gc
import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["import_at_once"]

# The generations whose objects are not old yet.
_YOUNG = 1


def import_at_once(name: str) -> ModuleType:
    """Import a module without looking for cycles of objects.

    Python looks for them after so many new objects, and imports alone make 200,000: a quarter of
    the time of some. Whether it does so later is as it was: once among these, if there are many,
    and then they are old. It would do so twice.

    Parameters
    ----------
    name
        The whole name of the module.
    """
    if name in sys.modules or not gc.isenabled():
        return importlib.import_module(name)
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.enable()
        if 0 < gc.get_threshold()[0] < gc.get_count()[0]:
            gc.collect(_YOUNG)
