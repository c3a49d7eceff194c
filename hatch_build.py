"""Compile slaf/kernels/*.c when a wheel is built, where there is a C compiler.

Without one the wheel is of Python only: its kernels are those of numpy, with equal results.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = Path("slaf/kernels")
LIBRARY = SOURCES / "kernels.so"


class KernelsHook(BuildHookInterface[Any]):
    """Adds the compiled library to a wheel; for an editable one it stays in the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile, and give the wheel the tag of this platform; it serves every Python."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        if not compile_library(root / SOURCES, root / LIBRARY):
            self.app.display_warning("no C compiler works here: slaf will be slower")
            return
        build_data["artifacts"].append(LIBRARY.as_posix())
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform()}"


def compile_library(sources: Path, library: Path) -> bool:
    """Compile a folder with $CC, or the first of cc, gcc and clang that can; whether one could."""
    library.unlink(missing_ok=True)
    compilers = [os.environ["CC"]] if "CC" in os.environ else ["cc", "gcc", "clang"]
    return any(_compile(shlex.split(name), sources, library) for name in compilers)


def _compile(compiler: list[str], sources: Path, library: Path) -> bool:
    # Next to it, then renamed: a process that has loaded the library of before keeps it.
    made = library.with_suffix(f".{os.getpid()}")
    options = ["-std=c99", "-O3", "-shared", "-fPIC"]
    files = sorted(sources.glob("*.c"))
    try:
        subprocess.run([*compiler, *options, "-o", made, *files], check=True)
        made.replace(library)
    except (OSError, subprocess.CalledProcessError):
        made.unlink(missing_ok=True)
        return False
    return True


def _platform() -> str:
    name = sysconfig.get_platform()
    if sys.platform == "darwin":  # Python may be of two processors, the library is of this one
        name = f"macosx-11.0-{platform.machine()}"
    return name.replace("-", "_").replace(".", "_")
