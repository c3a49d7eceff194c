"""Test that `--memory` bounds the additional memory of a conversion that sorts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.conversion import convert
from benchmarks.inputs import CachedInput, Counts, Input, cached_input
from benchmarks.table import report, seconds, size

if TYPE_CHECKING:
    import argparse

    from benchmarks.process import Usage

__all__ = ["TOLERANCE", "add_arguments", "run"]

# Tolerated excess of the peak over the bound.
TOLERANCE = 0.10
# About 10 and 40 million nonzeros.
_CELLS = (4_000, 16_000)
_MEMORY = (64, 256, 1024)
_LAYOUTS = ("csc", "mtx")


@dataclass(frozen=True, slots=True)
class SortingRun:
    """Usage of a conversion of an input that is not in cell order.

    Attributes
    ----------
    layout, nonzeros
        Layout and nonzeros of the input.
    memory
        Value of `--memory`, in bytes.
    usage
        Usage of the process.
    base
        Peak memory of a conversion of the same counts in cell order.
    """

    layout: str
    nonzeros: int
    memory: int
    usage: Usage
    base: int

    @property
    def exceeds(self) -> bool:
        """Whether the peak exceeds the bound."""
        return self.usage.peak_bytes > (self.base + self.memory) * (1 + TOLERANCE)

    def row(self) -> dict[str, str | int | float]:
        """Figures by name."""
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
        "--allow", type=int, nargs="+", default=_MEMORY, metavar="MiB", help="values of --memory"
    )
    parser.add_argument("--layout", choices=_LAYOUTS, action="append", help="only this layout")


def run(arguments: argparse.Namespace) -> int:
    """Measure each layout with each budget; 1 if one exceeds its budget."""
    runs = []
    for n_cells in arguments.cells:
        base = convert(cached_input(Input(Counts(n_cells))).path).peak_bytes
        for layout in arguments.layout or _LAYOUTS:
            source = _input(n_cells, layout)
            for allowed in arguments.allow:
                usage = convert(source.path, "--memory", f"{allowed}M")
                runs.append(SortingRun(layout, source.nonzeros, allowed << 20, usage, base))
    report([run.row() for run in runs], as_json=arguments.json)
    return int(any(run.exceeds for run in runs))


def _input(n_cells: int, layout: str) -> CachedInput:
    if layout == "mtx":
        return cached_input(Input(Counts(n_cells), "shuffled MTX"))
    return cached_input(Input(Counts(n_cells, layout="csc")))
