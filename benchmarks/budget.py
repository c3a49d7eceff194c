"""Whether `--memory` bounds what a conversion takes more than one that has nothing to sort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.conversion import convert
from benchmarks.inputs import Counts, Input, Kept, kept
from benchmarks.table import report, seconds, size

if TYPE_CHECKING:
    import argparse

    from benchmarks.process import Usage

__all__ = ["TOLERANCE", "add_arguments", "run"]

# By so much the peak may be higher than the bound.
TOLERANCE = 0.10
# About 10 and 40 million nonzeros.
_CELLS = (4_000, 16_000)
_MEMORY = (64, 256, 1024)
_LAYOUTS = ("csc", "mtx")


@dataclass(frozen=True, slots=True)
class Sorted:
    """What converting an input took that is not in the order of cells.

    Attributes
    ----------
    layout, nonzeros
        Of the input.
    memory
        What `--memory` allowed, in bytes.
    usage
        Of the process.
    base
        The peak of converting the same counts in the order of cells.
    """

    layout: str
    nonzeros: int
    memory: int
    usage: Usage
    base: int

    @property
    def exceeds(self) -> bool:
        """Whether it took more than it was allowed."""
        return self.usage.peak_bytes > (self.base + self.memory) * (1 + TOLERANCE)

    def row(self) -> dict[str, str | int | float]:
        """The figures, by name."""
        return {
            "layout": self.layout,
            "nonzeros": self.nonzeros,
            "memory_MiB": size(self.memory),
            "peak_MiB": size(self.usage.peak_bytes),
            "in_order_MiB": size(self.base),
            "seconds": seconds(self.usage.seconds),
            "cpu_seconds": seconds(self.usage.cpu_seconds),
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument("--cells", type=int, nargs="+", default=_CELLS, help="cells of the inputs")
    parser.add_argument(
        "--allow", type=int, nargs="+", default=_MEMORY, metavar="MiB", help="what --memory says"
    )
    parser.add_argument("--layout", choices=_LAYOUTS, action="append", help="only this one")


def run(arguments: argparse.Namespace) -> int:
    """Measure each layout with each budget; 1 if one takes more than it may."""
    found = []
    for n_cells in arguments.cells:
        base = convert(kept(Input(Counts(n_cells))).path).peak_bytes
        for layout in arguments.layout or _LAYOUTS:
            source = _input(n_cells, layout)
            for allowed in arguments.allow:
                usage = convert(source.path, "--memory", f"{allowed}M")
                found.append(Sorted(layout, source.nonzeros, allowed << 20, usage, base))
    report([one.row() for one in found], as_json=arguments.json)
    return int(any(one.exceeds for one in found))


def _input(n_cells: int, layout: str) -> Kept:
    if layout == "mtx":
        return kept(Input(Counts(n_cells), "shuffled MTX"))
    return kept(Input(Counts(n_cells, layout="csc")))
