"""Imports that take less time: later, or without a search for cycles among objects that stay."""

from __future__ import annotations

import gc
import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import ModuleType

__all__ = ["import_at_once", "imported_from"]

# The generations whose objects are not old yet.
_YOUNG = 1


def import_at_once(name: str) -> ModuleType:
    """Import a module without looking for cycles of objects.

    Python looks for them after so many new objects, and imports alone make 200,000: a quarter of
    the time of some. Afterwards it looks for them as before. New objects of an import that makes
    many are looked at once here, which makes them old; Python would look at them twice.

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


def imported_from(module: str, package: str, names: Collection[str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package some of whose names are those of a module, imported on use.

    Parameters
    ----------
    module, package
        The whole names of both.
    names
        The names of the package.
    """

    def get(name: str) -> Any:
        if name not in names:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(importlib.import_module(module), name)

    return get
