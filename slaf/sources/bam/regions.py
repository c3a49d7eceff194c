"""Contigs, bins and regions: the columns of the matrix of a BAM file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slaf.annotations.columns import arrow_table
from slaf.annotations.lazy_table import LazyTable
from slaf.errors import DamagedInput, InputError, MissingMatrix
from slaf.sources.tenx.text import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "Contig",
    "Intervals",
    "bin_table",
    "contig_named",
    "read_bed",
    "region_table",
    "select_contigs",
]

# The chromosomes of most genomes, without patches, decoys and unplaced sequences.
_MAIN: Final = re.compile(r"(chr)?([0-9]{1,2}[LRAB]?|[IVX]{1,5}|[XYZWM]|MT|Mt|Pt)", re.IGNORECASE)
# The bytes of a column of text.
_MAX_TEXT: Final = (1 << 31) - 1

_MITOCHONDRIA: Final = {"M": "MT", "MT": "M"}


class Contig(NamedTuple):
    """A contig of the header, and its length in bases."""

    name: str
    length: int


@dataclass(frozen=True, slots=True)
class Intervals:
    """Half-open intervals of contigs, in any order.

    Attributes
    ----------
    contigs
        The position of the contig of each among those that were given.
    starts, ends
        In bases, counted from 0.
    """

    contigs: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def of(self, contig: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The positions, starts and ends of those of one contig."""
        at = np.flatnonzero(self.contigs == contig)
        return at, self.starts[at], self.ends[at]


def select_contigs(contigs: Sequence[Contig], chroms: str | None, label: str) -> list[int]:
    """The positions of the contigs that are chosen: all, the main ones, or those of a pattern.

    Raises
    ------
    MissingMatrix
        If there is none, or the pattern is none.
    """
    if chroms in {None, "all"}:
        return list(range(len(contigs)))
    try:
        pattern = _MAIN if chroms == "main" else re.compile(str(chroms))
    except re.error as error:
        msg = f"--chroms {chroms!r} is no pattern: {error}"
        raise MissingMatrix(msg) from error
    chosen = [at for at, contig in enumerate(contigs) if pattern.fullmatch(contig.name)]
    if not chosen:
        msg = (
            f"{label}: no contig is one of --chroms {chroms}; a pattern is that of a whole name, "
            f"and there are {_some(contigs)}"
        )
        raise MissingMatrix(msg)
    return chosen


def contig_named(name: str, contigs: Sequence[str]) -> int | None:
    """The position of a contig, with or without "chr"; None if there is none."""
    bare = name[3:] if name.lower().startswith("chr") else name
    other = _MITOCHONDRIA.get(bare, bare)
    for spelled in (name, bare, f"chr{bare}", other, f"chr{other}"):
        if spelled in contigs:
            return contigs.index(spelled)
    return None


def bin_table(contigs: tuple[Contig, ...], bin_size: int, label: str) -> LazyTable:
    """The bins of contigs as genes: ``contig:start-end``, the last of each contig shorter.

    Raises
    ------
    InputError
        If their ids are more text than one column holds.
    """
    lengths = np.array([contig.length for contig in contigs], np.int64)
    firsts = np.concatenate([[0], np.cumsum(-(-lengths // bin_size))])
    n = int(firsts[-1])
    _check_text(contigs, n, f"{label}: {n:,} bins", "choose larger ones with --bin-size")

    def make(positions: NDArray[np.int64]) -> pa.Table:
        owners = np.searchsorted(firsts, positions, side="right") - 1
        starts = (positions - firsts[owners]) * bin_size
        return _table(contigs, owners, starts, np.minimum(starts + bin_size, lengths[owners]))

    described = [bin_size, *([contig.name, contig.length] for contig in contigs)]
    return LazyTable(n, f"bins {json.dumps(described)}", make)


def region_table(contigs: Sequence[Contig], intervals: Intervals, label: str) -> pa.Table:
    """Regions as genes: ``contig:start-end``, in their order.

    Raises
    ------
    InputError
        If one is there twice, or their ids are more text than one column holds.
    """
    n = len(intervals.starts)
    _check_text(contigs, n, f"{label}: {n:,} regions", "choose fewer")
    table = _table(contigs, intervals.contigs, intervals.starts, intervals.ends)
    counts = pc.value_counts(table.column(0))
    repeated = pc.filter(counts, pc.greater(counts.field("counts"), 1))
    if len(repeated):
        msg = f"{label}: the region {repeated[0]['values']} is there more than once; leave one"
        raise InputError(msg)
    return table


def _table(
    contigs: Sequence[Contig],
    owners: NDArray[Any],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> pa.Table:
    names = pa.array([contig.name for contig in contigs], pa.string())
    contig = pa.DictionaryArray.from_arrays(pa.array(owners, pa.int32()), names)
    columns = {"contig": contig, "start": pa.array(starts), "end": pa.array(ends)}
    return arrow_table("gene_id", _ids(*columns.values()), columns)


def _ids(contig: pa.DictionaryArray, start: pa.Array, end: pa.Array) -> pa.StringArray:
    names = contig.cast(pa.string())
    spans = pc.binary_join_element_wise(start.cast(pa.string()), end.cast(pa.string()), "-")
    return pc.binary_join_element_wise(names, spans, ":")


def _check_text(contigs: Sequence[Contig], n: int, what: str, remedy: str) -> None:
    """Refuse more ids than one column of text holds."""
    longest = max((len(f"{c.name}:{c.length}-{c.length}".encode()) for c in contigs), default=0)
    if n * longest > _MAX_TEXT:
        msg = f"{what} are more than a dataset names; {remedy}"
        raise InputError(msg)


def read_bed(path: Path, contigs: Sequence[Contig], chosen: Sequence[int]) -> Intervals:
    """The intervals of a BED file on the chosen contigs, in the order of the file.

    Parameters
    ----------
    path
        The file, gzipped or not. Names of contigs may have "chr" or lack it.
    contigs
        All contigs.
    chosen
        The positions of those that count; the intervals have positions among these.

    Raises
    ------
    DamagedInput
        If a line is no interval, or ends behind its contig.
    InputError
        If no line is of one of the contigs.
    """
    names = [contig.name for contig in contigs]
    known: dict[str, int | None] = {}
    position = {at: number for number, at in enumerate(chosen)}
    found: list[tuple[int, int, int]] = []
    n_known = 0
    for number, name, start, end in _bed_lines(path):
        if name not in known:
            known[name] = contig_named(name, names)
        at = known[name]
        if at is None:
            continue
        n_known += 1
        if not 0 <= start < end <= contigs[at].length:
            msg = (
                f"{path}: line {number}: {name}:{start}-{end} is no interval within "
                f"{names[at]}, which has {contigs[at].length:,} bases"
            )
            raise DamagedInput(msg)
        if at in position:
            found.append((position[at], start, end))
    if not n_known:
        msg = f"{path}: no line is of a contig of the reads, which are {_some(contigs)}"
        raise InputError(msg)
    return Intervals(*np.array(found, np.int64).reshape(-1, 3).T)


def _bed_lines(path: Path) -> Iterator[tuple[int, str, int, int]]:
    for number, line in enumerate(read_text(path).decode().splitlines(), start=1):
        if not line.strip() or line.startswith(("#", "track", "browser")):
            continue
        try:
            name, start, end = line.split("\t")[:3] if "\t" in line else line.split()[:3]
            yield number, name, int(start), int(end)
        except ValueError as error:
            msg = f"{path}: line {number} is no line of BED: {line[:60]!r}"
            raise DamagedInput(msg) from error


def _some(contigs: Sequence[Contig], most: int = 5) -> str:
    names = ", ".join(contig.name for contig in contigs[:most])
    return f"{names}, …" if len(contigs) > most else names
