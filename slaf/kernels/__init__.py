"""The passes over every entry of a matrix: in C where there was a compiler, else in numpy."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slaf.kernels.reference import Kernels

__all__ = ["FILE", "are_compiled", "kernels", "load_library"]

# The library, if one was compiled when the package was installed.
FILE = Path(__file__).with_name("kernels.so")

# As in kernels.c.
_VERSION = 9


@lru_cache(maxsize=1)
def kernels() -> Kernels:
    """The compiled kernels; those of numpy, where none were compiled that work here."""
    from slaf.kernels.compiled import CompiledKernels
    from slaf.kernels.reference import Kernels

    try:
        return CompiledKernels(load_library(FILE))
    except OSError:
        return Kernels()


def are_compiled() -> bool:
    """Whether the kernels are the compiled ones; numpy is not imported for it."""
    try:
        load_library(FILE)
    except OSError:
        return False
    return True


def load_library(path: Path) -> ctypes.CDLL:
    """The compiled kernels of this version.

    Raises
    ------
    OSError
        If there are none, or they are of another version of the package or another machine.
    """
    library = ctypes.CDLL(str(path))
    version = getattr(library, "slaf_version", None)
    if version is None or version() != _VERSION:
        msg = f"{path} is of another version"
        raise OSError(msg)
    return library
