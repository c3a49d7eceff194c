"""The passes over every entry of a matrix: in C where there was a compiler, else in numpy."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slaf.kernels.reference import Kernels

__all__ = ["FILE", "kernels"]

# The library, if one was compiled when the package was installed.
FILE = Path(__file__).with_name("kernels.so")


@lru_cache(maxsize=1)
def kernels() -> Kernels:
    """The compiled kernels; those of numpy, where none were compiled that work here."""
    from slaf.kernels.compiled import CompiledKernels
    from slaf.kernels.reference import Kernels

    try:
        return CompiledKernels(FILE)
    except OSError:
        return Kernels()
