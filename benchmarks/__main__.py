"""`python -m benchmarks`: time, memory and bytes of whole commands, on inputs that it makes."""

from __future__ import annotations

import argparse
import sys
from typing import Protocol

from benchmarks import budget, memory, ours, peers, targets


class Benchmark(Protocol):
    """What a module of this folder has if it can be run by name."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare its options."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Measure, print, and give the exit code."""


_BENCHMARKS: dict[str, Benchmark] = {
    "ours": ours,
    "peers": peers,
    "targets": targets,
    "memory": memory,
    "budget": budget,
}


def main() -> int:
    """Run the benchmark that is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    commands = parser.add_subparsers(dest="benchmark", title="benchmarks", required=True)
    for name, module in _BENCHMARKS.items():
        about = module.__doc__
        module.add_arguments(commands.add_parser(name, help=about, description=about))
    given = parser.parse_args()
    return _BENCHMARKS[given.benchmark].run(given)


if __name__ == "__main__":
    sys.exit(main())
