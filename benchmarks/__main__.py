"""`python -m benchmarks`: time, memory and output size of whole commands on generated inputs."""

from __future__ import annotations

import argparse
import sys
from typing import Protocol

from benchmarks import (
    bucket,
    budget,
    coverage,
    loading,
    machines,
    memory,
    ours,
    peers,
    scdl,
    targets,
    transforms,
)


class Benchmark(Protocol):
    """A module of this folder that can be run by name."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Measure, print, and return the exit code."""


_BENCHMARKS: dict[str, Benchmark] = {
    "ours": ours,
    "peers": peers,
    "targets": targets,
    "loading": loading,
    "bucket": bucket,
    "scdl": scdl,
    "memory": memory,
    "budget": budget,
    "coverage": coverage,
    "machines": machines,
    "transforms": transforms,
}


def main() -> int:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    commands = parser.add_subparsers(dest="benchmark", title="benchmarks", required=True)
    for name, module in _BENCHMARKS.items():
        description = module.__doc__
        module.add_arguments(commands.add_parser(name, help=description, description=description))
    arguments = parser.parse_args()
    return _BENCHMARKS[arguments.benchmark].run(arguments)


if __name__ == "__main__":
    sys.exit(main())
