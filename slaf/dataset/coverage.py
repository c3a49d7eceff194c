"""Coverage of views: the depth of each base of a region, and the runs that it is stored as."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

import numpy as np
import pyarrow as pa

from slaf.dataset.names import AxisNames
from slaf.dataset.query import QueryTable
from slaf.dataset.stored import StoredDataset
from slaf.errors import SelectionError
from slaf.format.schema import CELLS, COVERAGE, TABLES
from slaf.options import Normalization
from slaf.sparse.ranges import RowRange
from slaf.sparse.runs import Runs, add_runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from slaf.dataset.base import BaseView
    from slaf.sources.contents import Coverage
    from slaf.tables.read import LanceTable

__all__ = ["CoverageReader", "Region", "depth", "named_runs", "query_table", "scale_factors"]

_REGION: Final = re.compile(r"(?P<contig>.+):(?P<start>[\d,]+)-(?P<stop>[\d,]+)")
_STRANDS: Final[Mapping[str | None, tuple[int, ...]]] = {None: (0, 1, 2), "+": (0, 1), "-": (0, 2)}
_SCALE: Final = {"cpm": 1e6, "rpkm": 1e9}

# The rows of an interval that are read at once to find a run.
_PROBES = 32

_NONE: Final = np.empty(0, np.uint32)


class Region(NamedTuple):
    """Bases ``[start, stop)`` of a contig.

    Attributes
    ----------
    contig
        Its position among the contigs.
    name
        Its name.
    start, stop
        Counted from 0.
    """

    contig: int
    name: str
    start: int
    stop: int

    def __len__(self) -> int:
        """Number of bases."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class CoverageReader:
    """Reads runs of the cells of a view.

    Attributes
    ----------
    view
        The view.
    coverage
        The coverage of its source.
    """

    view: BaseView[Any]
    coverage: Coverage

    @classmethod
    def of(cls, view: BaseView[Any]) -> CoverageReader:
        """The reader of a view.

        Raises
        ------
        SelectionError
            If it has no coverage.
        """
        coverage = view.source.coverage()
        if coverage is None:
            msg = f"{view.label}: there is no coverage; datasets of BAM or CRAM files have it"
            raise SelectionError(msg)
        return cls(view, coverage)

    def region(self, text: str) -> Region:
        """The region of a text: ``contig:start-stop``, from 0 and half-open, or a whole contig.

        Raises
        ------
        SelectionError
            If there is no such contig, or it is shorter.
        """
        from slaf.sources.bam.regions import contig_named

        names = [name for name, _ in self.coverage.contigs]
        matched = None if text in names else _REGION.fullmatch(text)
        name = text if matched is None else matched["contig"]
        at = contig_named(name, names)
        if at is None:
            listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")  # noqa: PLR2004
            msg = f"{self.view.label}: there is no contig {name!r} in {text!r}; there are {listed}"
            raise SelectionError(msg)
        name, length = self.coverage.contigs[at]
        if matched is None:
            return Region(at, name, 0, length)
        start, stop = (int(matched[which].replace(",", "")) for which in ("start", "stop"))
        if not start <= stop <= length:
            msg = (
                f"{self.view.label}: {text!r} is no region of {name}, which has {length:,} bases: "
                "the first base is 0, and the last one is not among those of the region"
            )
            raise SelectionError(msg)
        return Region(at, name, start, stop)

    def runs(self, region: Region, strand: str | None = None) -> Iterator[Runs]:
        """The runs of each cell in a region, counted from its first base.

        Parameters
        ----------
        region
            The region.
        strand
            "+" or "-"; None for both together.

        Raises
        ------
        SelectionError
            If strands were not counted apart.
        """
        if strand not in _STRANDS:
            msg = f"strand is {strand!r}, but it is one of +, -"
            raise SelectionError(msg)
        cells = range(self.view.n_obs) if self.view.cells is None else self.view.cells.tolist()
        origin = self.view.origin
        read = _StoredRuns(origin).of if isinstance(origin, StoredDataset) else self._of_source
        for cell in cells:
            by_strand = read(cell, region)
            if strand is not None and 0 in by_strand:
                name = self.view.origin.obs_names[cell]
                msg = (
                    f"{self.view.label}: the strands of {name!r} were not counted apart; convert "
                    "its reads with --stranded"
                )
                raise SelectionError(msg)
            some = [runs for which, runs in by_strand.items() if which in _STRANDS[strand]]
            yield add_runs(some) if some else _no_runs()

    def _of_source(self, cell: int, region: Region) -> dict[int, Runs]:
        columns: dict[str, NDArray[Any]] = {}
        for name, matrix in self.coverage.columns.items():
            for batch in matrix.batches(RowRange(cell, cell + 1)):
                columns[name], contigs = batch.values, batch.genes
        at = np.flatnonzero(contigs == region.contig)
        return _by_strand({name: values[at] for name, values in columns.items()}, region)


class _StoredRuns:
    """Reads the runs of a dataset, and no more than it needs."""

    def __init__(self, dataset: StoredDataset) -> None:
        self._rows = dataset.rows(COVERAGE)
        self._table = dataset.table(COVERAGE)

    def of(self, cell: int, region: Region) -> dict[int, Runs]:
        """The runs of a cell in a region, by strand."""
        rows = RowRange(*self._rows.offsets[cell : cell + 2].tolist())
        bounds, last = [], rows.start
        for strand in (0, 1, 2):
            first = self._first(rows, (region.contig, strand, region.start + 1))
            stop = self._first(rows, (region.contig, strand, region.stop))
            # The run before may go on into the region.
            bounds.append((max(first - 1, last), max(stop, last)))
            last = bounds[-1][1]
        names = ("contig", *TABLES[COVERAGE].values)
        batches = list(self._rows.reader.read(np.array(bounds, np.int64), names))
        columns = {
            name: np.concatenate([_NONE, *(batch.column(name).to_numpy() for batch in batches)])
            for name in names
        }
        at = np.flatnonzero(columns["contig"] == region.contig)
        return _by_strand({name: values[at] for name, values in columns.items()}, region)

    def _first(self, rows: RowRange, key: tuple[int, int, int]) -> int:
        """The first of some rows that does not come before a contig, strand and start."""
        low, high = rows.start, rows.stop
        while low < high:
            step = max((high - low) // _PROBES, 1)
            probes = np.arange(low + step - 1, high, step)
            found = self._keys(probes)
            n_before = sum(one < key for one in found)
            low, high = (
                int(probes[n_before - 1]) + 1 if n_before else low,
                int(probes[n_before]) if n_before < len(probes) else high,
            )
        return low

    def _keys(self, rows: NDArray[np.int64]) -> list[tuple[int, int, int]]:
        from slaf.tables.read import take_rows

        taken = take_rows(self._table, rows, ("contig", "strand", "start"))
        return list(zip(*(column.to_pylist() for column in taken.columns), strict=True))


def _by_strand(columns: Mapping[str, NDArray[Any]], region: Region) -> dict[int, Runs]:
    """Runs of a contig by their strand, as far as they are in a region."""
    by_strand = {}
    for strand in np.unique(columns["strand"]).tolist():
        at = np.flatnonzero(columns["strand"] == strand)
        runs = Runs(*(columns[name][at].astype(np.uint32) for name in Runs._fields))
        inside = runs.within(region.start, region.stop)
        if len(inside.start):
            by_strand[strand] = inside
    return by_strand


def _no_runs() -> Runs:
    return Runs(*(_NONE for _ in Runs._fields))


def scale_factors(view: BaseView[Any], normalize: Normalization | None) -> NDArray[np.float64]:
    """The factor of each cell by which its depth is multiplied.

    Raises
    ------
    SelectionError
        If there is no such normalisation, or no column of total reads.
    """
    if normalize is None:
        return np.ones(view.n_obs)
    if normalize not in _SCALE:
        msg = f"normalize is {normalize!r}, but it is one of {', '.join(get_args(Normalization))}"
        raise SelectionError(msg)
    obs = view.obs
    if "total_reads" not in obs:
        msg = f"{view.label}: obs has no column total_reads, which {normalize} divides by"
        raise SelectionError(msg)
    total = obs["total_reads"].to_numpy(np.float64)
    # A sample without reads has no depth either.
    factors: NDArray[np.float64] = np.divide(
        _SCALE[normalize], total, out=np.zeros_like(total), where=total > 0
    )
    return factors


def depth(
    view: BaseView[Any], region: str, strand: str | None, normalize: Normalization | None
) -> NDArray[Any]:
    """The depth of each base of a region, as `View.coverage` gives it."""
    reader = CoverageReader.of(view)
    bases = reader.region(region)
    factors = scale_factors(view, normalize)
    result = np.zeros((view.n_obs, len(bases)), np.uint32 if normalize is None else np.float64)
    for at, runs in enumerate(reader.runs(bases, strand)):
        values = runs.dense(len(bases))
        result[at] = values if normalize is None else values * factors[at]
    return result


def named_runs(
    view: BaseView[Any], region: str, strand: str | None, normalize: Normalization | None
) -> Iterator[tuple[str, str, int, int, int | float]]:
    """The runs of a region with the names of their samples, as `View.coverage_runs` gives them."""
    reader = CoverageReader.of(view)
    bases = reader.region(region)
    factors = scale_factors(view, normalize)
    for sample, factor, runs in zip(
        view.obs_names, factors.tolist(), reader.runs(bases, strand), strict=True
    ):
        depths = runs.depth if normalize is None else runs.depth * factor
        columns = runs.start + bases.start, runs.stop + bases.start, depths
        for start, stop, value in zip(*(column.tolist() for column in columns), strict=True):
            yield str(sample), bases.name, start, stop, value


def query_table(view: BaseView[Any], table: LanceTable) -> QueryTable:
    """The runs as SQL reads them: with the names of samples, contigs and strands."""
    from slaf.tables.read import stream_columns

    reader = CoverageReader.of(view)
    contigs = pa.array([name for name, _ in reader.coverage.contigs], pa.string())
    names = {"contig": contigs, "strand": pa.array([".", "+", "-"])}
    text = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([("sample", text), *table.schema])
    for name in ("contig", "strand"):
        schema = schema.set(schema.get_field_index(name), pa.field(name, text))

    def read(columns: list[str]) -> pa.RecordBatchReader:
        decoded_by = dict(names)
        if "sample" in columns:
            decoded_by["sample"] = AxisNames(view, CELLS).ids().combine_chunks()
        stored = ["cell_integer_id" if name == "sample" else name for name in columns]
        decoded = pa.schema([schema.field(name) for name in columns])

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in stream_columns(table, list(dict.fromkeys(stored))):
                arrays = [
                    pa.DictionaryArray.from_arrays(
                        batch.column(own).cast(pa.int32()), decoded_by[name]
                    )
                    if name in decoded_by
                    else batch.column(own)
                    for name, own in zip(columns, stored, strict=True)
                ]
                yield pa.record_batch(arrays, schema=decoded)

        return pa.RecordBatchReader.from_batches(decoded, batches())

    return QueryTable(schema, read, nan_is_missing=False)
