"""Measured cases: inputs, and the programs that convert them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.costs import COSTS
from benchmarks.inputs import FOLDER, Counts, Input, RealCounts
from benchmarks.programs import BY_GENE, FIRST, FIRST_BY_GENE, OURS, PROGRAMS

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.inputs import Kind

__all__ = ["DENSE_GENES", "Case", "Reading", "Sizes", "cases", "reading", "real_cases"]

# A dense matrix of all genes would measure gzip only.
DENSE_GENES = 2_000
_COMPRESSIONS = (OURS, "slaf, fast", "slaf, small")
_WORKERS = ("slaf, workers 1", "slaf, workers 2")
_EDITIONS = (OURS, BY_GENE, FIRST, FIRST_BY_GENE)
_PEERS = ("slafdb", "TileDB-SOMA", "anndata to zarr", "bionemo-scdl")
_STORES: tuple[Kind, ...] = ("zarr", "MuData", "loom")
_LAYOUTS = ("slaf, to h5ad", "crispyx")
_FLOORS = ("floor, balanced", "floor, fast")
_READERS = (
    OURS,
    BY_GENE,
    "slafdb, plain types",
    "TileDB-SOMA",
    "anndata to zarr",
    "bionemo-scdl",
    "crispyx",
)
# Peers that do not take minutes for the larger inputs.
_QUICK_PEERS = ("slafdb", "anndata to zarr", "bionemo-scdl")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of cells of the inputs."""

    small: int = 10_000
    medium: int = 50_000
    large: int = 200_000


@dataclass(frozen=True, slots=True)
class Case:
    """An input, and the programs that convert it in turn.

    Attributes
    ----------
    name
        Heading on the page; `--only` selects by it.
    input
        The input.
    programs
        Names of the programs.
    every
        Programs that run the requested number of times, regardless of their time.
    checked
        Whether the outputs are read back and compared with the input.
    costs
        Parts of this program that are also measured alone.
    read
        Programs whose output is stored for the reads.
    """

    name: str
    input: Input
    programs: tuple[str, ...]
    every: frozenset[str] = frozenset()
    checked: bool = False
    costs: tuple[str, ...] = ()
    read: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reading:
    """Reads of the outputs of programs.

    Attributes
    ----------
    name
        Heading, as that of a case.
    counts
        Counts of the converted h5ad file.
    programs
        Names of the programs.
    """

    name: str
    counts: Counts
    programs: tuple[str, ...]


def cases(sizes: Sizes, folder: Path = FOLDER) -> tuple[Case, ...]:
    """All conversions in the order of the page.

    Parameters
    ----------
    sizes
        Numbers of cells of the simulated inputs.
    folder
        Folder of all inputs and figures; its `real` has further inputs.
    """
    small, medium, large = sizes.small, sizes.medium, sizes.large
    h5ad = (OURS, *_PEERS, *_LAYOUTS)
    all_cases = (
        Case(
            f"h5ad, gzip, {medium:,} cells",
            Input(Counts(medium)),
            (*_COMPRESSIONS, *_WORKERS, BY_GENE, *_PEERS, *_LAYOUTS, *_FLOORS),
            frozenset({*_COMPRESSIONS, *_WORKERS, "slafdb", *_FLOORS}),
            costs=tuple(COSTS),
            read=frozenset(_READERS),
        ),
        Case(
            f"h5ad, gzip, {small:,} cells",
            Input(Counts(small)),
            (*_EDITIONS, *_PEERS, *_LAYOUTS),
            frozenset(_EDITIONS),
            checked=True,
        ),
        Case(
            f"h5ad, gzip, {large:,} cells",
            Input(Counts(large)),
            (OURS, *_QUICK_PEERS),
            frozenset({OURS}),
        ),
        Case(
            f"h5ad, uncompressed, {medium:,} cells",
            Input(Counts(medium, compressed=False)),
            (OURS, *_QUICK_PEERS),
        ),
        Case(
            f"h5ad, CSC, {small:,} cells",
            Input(Counts(small, layout="csc")),
            (OURS, FIRST, *_PEERS, *_LAYOUTS),
            frozenset({OURS, FIRST}),
            checked=True,
        ),
        Case(
            f"h5ad, dense, {small:,} cells × {DENSE_GENES:,} genes",
            Input(Counts(small, DENSE_GENES, "dense")),
            h5ad,
            checked=True,
        ),
        Case(
            f"h5ad, normalised float32, {small:,} cells",
            Input(Counts(small, normalised=True)),
            h5ad,
            checked=True,
        ),
        Case(
            f"10 h5ad files, {small:,} cells in all",
            Input(Counts(small), "files"),
            (OURS, *_PEERS, "crispyx"),
            checked=True,
        ),
        _in_format("10x H5", small, "slafdb", "anndata to zarr"),
        Case(
            f"10x H5, {medium:,} cells",
            Input(Counts(medium), "10x H5"),
            (OURS,),
            frozenset({OURS}),
        ),
        _in_format("10x MTX", small, FIRST, "slafdb", "anndata to zarr"),
        _in_format("SOMA", small, "slafdb"),
        *(
            Case(f"{kind}, {small:,} cells", Input(Counts(small), kind), (OURS,), frozenset({OURS}))
            for kind in _STORES
        ),
        *real_cases(folder),
    )
    for case in all_cases:
        assert all(case.input.kind in PROGRAMS[name].kinds for name in case.programs)
    return all_cases


def real_cases(folder: Path = FOLDER) -> tuple[Case, ...]:
    """Conversions of the files in the folder `real`, of any format, whose cells are repeated."""
    programs = (*_COMPRESSIONS, BY_GENE, FIRST, FIRST_BY_GENE, "slafdb")
    return tuple(
        Case(f"real: {path.stem}", Input(RealCounts(path), "real"), programs, frozenset(programs))
        for path in sorted((folder / "real").glob("*"))
    )


def _in_format(kind: Kind, n_cells: int, *others: str) -> Case:
    name = f"{kind}, {n_cells:,} cells"
    source = Input(Counts(n_cells), kind)
    every = frozenset({OURS, FIRST} & {OURS, *others})
    return Case(name, source, (OURS, *others), every, checked=True)


def reading(sizes: Sizes) -> Reading:
    """The reads of the converted medium input."""
    return Reading(f"reads, {sizes.medium:,} cells", Counts(sizes.medium), _READERS)
