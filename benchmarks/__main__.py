"""`python -m benchmarks`: time and peak memory of whole commands, on inputs that it makes."""

from __future__ import annotations

import argparse
import sys
from typing import Protocol

from benchmarks import budget, conversion, export, memory, peers, reading


class Benchmark(Protocol):
    """What a module of this folder has if it can be run by name."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare its options."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Measure, print, and give the exit code."""


_BENCHMARKS: dict[str, Benchmark] = {
    "convert": conversion,
    "read": reading,
    "memory": memory,
    "budget": budget,
    "peers": peers,
    "export": export,
}
# Those that neither take long nor install anything.
_QUICK = ("convert", "read")


def main() -> int:
    """Run the benchmark that is named, or the quick ones."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    commands = parser.add_subparsers(dest="benchmark", title="benchmarks")
    for name, module in _BENCHMARKS.items():
        about = module.__doc__
        module.add_arguments(commands.add_parser(name, help=about, description=about))
    given = parser.parse_args()
    if given.benchmark:
        return _BENCHMARKS[given.benchmark].run(given)
    return max(_BENCHMARKS[name].run(parser.parse_args([*sys.argv[1:], name])) for name in _QUICK)


if __name__ == "__main__":
    sys.exit(main())
