"""The journal of a run: a receipt for each finished part, which any process can record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from msgspec import field

from slaf.errors import DamagedDataset, StorageError
from slaf.format.config import RECEIPT
from slaf.format.files import StoredFile
from slaf.format.records import Block
from slaf.format.schema import CELL_ORDER, EXPRESSION, GENE_ORDER, VALUE
from slaf.format.validation import Count, Record, checksum_error, with_checksum
from slaf.sparse.ranges import RowRange
from slaf.sparse.statistics import Statistics
from slaf.tables.fragments import Fragment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from numpy.typing import NDArray

    from slaf.runs.checkpoint import Checkpoint
    from slaf.runs.plan import Plan
    from slaf.storage.location import Location

__all__ = ["Journal", "PartResult", "TableResult", "read_row_counts", "write_row_counts"]

# The names of receipts begin with these, by axis.
_PREFIX: Final = {CELL_ORDER.name: "part", GENE_ORDER.name: "genes"}

_LENGTHS = np.dtype("<u4")
_READERS = 16

# What a receipt raises that is not one of this program, or of this plan.
_INVALID = (AttributeError, LookupError, RecursionError, TypeError, ValueError)


class TableResult(Record, frozen=True, omit_defaults=True):
    """The rows of a part in one table, on disk in fragments that no version names yet.

    Attributes
    ----------
    fragments
        The fragments, in order.
    blocks
        The blocks of each value column in order, with their digests.
    files
        The files of the fragments.
    dtype_overflowed
        The value columns in which sums of repeated entries are beyond the type of the source.
    beyond_uint16
        The value columns of type uint32 that uint16 would not hold.
    statistics
        Of `expression`, the statistics of its values.
    fingerprint
        Of a copy in another order, the hash of its rows.
    """

    fragments: list[Fragment]
    blocks: Mapping[str, tuple[Block, ...]]
    files: tuple[StoredFile, ...]
    dtype_overflowed: tuple[str, ...] = ()
    beyond_uint16: tuple[str, ...] = ()
    statistics: Statistics = Statistics()
    fingerprint: str = ""


class PartResult(Record, frozen=True, omit_defaults=True):
    """A part whose rows are on disk.

    Attributes
    ----------
    axis
        "cells", or "genes" for a part of the gene order.
    index
        Its position in the plan; of genes the first gene.
    rows
        Its cells or genes.
    tables
        Its rows in each table that it writes.
    measured
        The columns of its cells that were measured with its values.
    """

    axis: Literal["cells", "genes"]
    index: Count = field(name="part")
    rows: RowRange
    tables: Mapping[str, TableResult]
    measured: Mapping[str, Sequence[int | float]] = {}

    @property
    def files(self) -> dict[str, StoredFile]:
        """The files of all its tables, by name."""
        return {file.file: file for result in self.tables.values() for file in result.files}


class Journal:
    """The receipts of a plan, in a directory of the output that belongs to that plan.

    A receipt is one small file that is never changed: of two receipts of a part the first wins.
    One that is torn, forged or of another plan counts for nothing, and the part is written again.

    Parameters
    ----------
    location
        The output.
    checkpoint
        The run.

    Attributes
    ----------
    parts
        The parts that have a receipt, by axis and index.
    refused
        Why a receipt counts for nothing, by its name.
    """

    def __init__(self, location: Location, checkpoint: Checkpoint) -> None:
        self.parts: dict[str, dict[int, PartResult]] = {axis: {} for axis in _PREFIX}
        self.refused: dict[str, str] = {}
        self._location = location
        self._checkpoint = checkpoint
        self._digest = checkpoint.plan.digest

    @classmethod
    def read(cls, location: Location, checkpoint: Checkpoint) -> Journal:
        """The journal with all receipts in its directory."""
        journal = cls(location, checkpoint)
        sizes = location.sizes()
        names = journal.names(sizes)
        with ThreadPoolExecutor(_READERS if location.is_remote else 1) as readers:
            for name, raw in zip(names, readers.map(location.read, names), strict=True):
                try:
                    journal._add(name, journal._checked(raw, sizes.get))
                except _INVALID as error:
                    journal.refused[name] = str(error)
        return journal

    def names(self, files: Iterable[str]) -> list[str]:
        """Those of the files that are named as receipts of this plan."""
        directory = f"{self._checkpoint.plan.journal}/"
        return [name for name in files if name.startswith(directory) and _is_receipt(name)]

    def unnamed(self) -> list[int]:
        """The parts of cells without a file of the name of their receipt; reads no receipt."""
        names = set(self.names(self._location.list(self._checkpoint.plan.journal)))
        parts = range(len(self._checkpoint.plan.parts))
        return [part for part in parts if self._name(CELL_ORDER.name, part) not in names]

    def part(self, index: int) -> PartResult | None:
        """A part of cells, if it is done; reads its receipt alone."""
        name = self._name(CELL_ORDER.name, index)
        raw = self._location.read(name)
        if raw is None:
            return None
        try:
            self._add(name, self._checked(raw, self._location.size_of))
        except _INVALID as error:
            self.refused[name] = str(error)
            return None
        return self.parts[CELL_ORDER.name][index]

    def record(self, part: PartResult) -> None:
        """Write the receipt of a part, once its files are on disk, or use an earlier receipt.

        Raises
        ------
        StorageError
            If a file of the part is missing, or not whole.
        """
        name = self._name(part.axis, part.index)
        if missing := _first_difference(_file_sizes(part), self._location.size_of):
            msg = f"{self._location}: {missing} is not on the disk as it was written"
            raise StorageError(msg)
        data = with_checksum(
            {"plan": self._digest, "attempt": self._attempt(part), **part.to_json()}
        )
        if not self._location.put_new(name, data):
            try:
                part = self._checked(self._location.read(name), self._location.size_of)
            except _INVALID:
                self._location.put(name, data)
        self._add(name, part)

    def remove(self, part: PartResult) -> None:
        """Remove the receipt of a part, whoever wrote it, and the row counts."""
        plan = self._checkpoint.plan
        counts = (_counts_name(plan, table, part.index) for table in part.tables)
        for name in (self._name(part.axis, part.index), *counts):
            self._location.remove(name)

    def missing(self) -> list[int]:
        """The indices of the parts of cells that are not done, in order."""
        done = self.parts[CELL_ORDER.name]
        return [index for index in range(len(self._checkpoint.plan.parts)) if index not in done]

    def covered(self) -> tuple[int, int]:
        """Cells and nonzeros of the parts that are done."""
        return self.covered_by(self.parts[CELL_ORDER.name].values())

    @staticmethod
    def covered_by(parts: Collection[PartResult]) -> tuple[int, int]:
        """Cells and nonzeros of parts."""
        tables = (part.tables[EXPRESSION] for part in parts if EXPRESSION in part.tables)
        nonzeros = sum(block.rows for result in tables for block in result.blocks[VALUE])
        return sum(len(part.rows) for part in parts), nonzeros

    def _add(self, name: str, part: PartResult) -> None:
        if self._name(part.axis, part.index) != name:
            msg = "it is the receipt of another part"
            raise ValueError(msg)
        self.parts[part.axis][part.index] = part

    def _name(self, axis: str, index: int) -> str:
        return f"{self._checkpoint.plan.journal}/{_PREFIX[axis]}-{index:06d}.json"

    def _attempt(self, part: PartResult) -> int:
        return self._checkpoint.attempt(part.index) if part.axis == CELL_ORDER.name else 0

    def _checked(self, raw: bytes | None, size_of: Callable[[str], int | None]) -> PartResult:
        """The part of a receipt, if the receipt is whole and so are its files.

        Raises
        ------
        AttributeError, LookupError, TypeError, ValueError
            If the receipt is not one of this plan, or a file is missing.
        """
        data = json.loads(raw or b"")
        plan = self._checkpoint.plan
        if "digest" not in data or checksum_error(raw or b"", data):
            msg = "it is damaged"
            raise ValueError(msg)
        if data["plan"] != self._digest:
            msg = "it is of another plan"
            raise ValueError(msg)
        part = PartResult.from_json(data)
        if data["attempt"] != self._attempt(part):
            msg = "its input was damaged, and may have been repaired since"
            raise ValueError(msg)
        _check_part(plan, part)
        if missing := _first_difference(_file_sizes(part) | _count_sizes(plan, part), size_of):
            msg = f"{missing} is missing or not whole"
            raise ValueError(msg)
        return part


def write_row_counts(
    location: Location, plan: Plan, table: str, index: int, counts: NDArray[Any]
) -> None:
    """Write the numbers of rows of the cells, or genes, of a part."""
    location.put(_counts_name(plan, table, index), counts.astype(_LENGTHS).tobytes())


def read_row_counts(
    location: Location, plan: Plan, table: str, part: PartResult
) -> NDArray[np.int64]:
    """The numbers of rows that `write_row_counts` wrote.

    Raises
    ------
    DamagedDataset
        If they are missing, or are not those of the rows on disk.
    """
    name = _counts_name(plan, table, part.index)
    counts = np.frombuffer(location.read(name) or b"", _LENGTHS).astype(np.int64)
    n_rows = sum(fragment.rows for fragment in part.tables[table].fragments)
    if len(counts) != len(part.rows) or counts.sum() != n_rows:
        msg = f"{location}: {name} is not what was written; begin again with --restart"
        raise DamagedDataset(msg)
    return counts


def _counts_name(plan: Plan, table: str, index: int) -> str:
    return f"{plan.journal}/{table}-{index:06d}.counts"


def _is_receipt(name: str) -> bool:
    base = name.rpartition("/")[2]
    return RECEIPT.fullmatch(base.replace("genes-", "part-", 1)) is not None


def _first_difference(expected: Mapping[str, int], size_of: Callable[[str], int | None]) -> str:
    """The first file that is not of its size; "" for none."""
    return next((name for name, size in expected.items() if size_of(name) != size), "")


def _file_sizes(part: PartResult) -> dict[str, int]:
    return {name: file.bytes for name, file in part.files.items()}


def _count_sizes(plan: Plan, part: PartResult) -> dict[str, int]:
    """The files of row counts that a part needs, and their bytes; a repair writes none."""
    if plan.operation == "repair":
        return {}
    size = len(part.rows) * _LENGTHS.itemsize
    return {_counts_name(plan, table, part.index): size for table in part.tables}


def _check_part(plan: Plan, part: PartResult) -> None:
    """Check that a part has the rows and the tables of the plan."""
    if part.axis == CELL_ORDER.name and part.rows != plan.parts[part.index]:
        msg = f"its cells are not those of part {part.index}"
        raise ValueError(msg)
    if plan.operation != "repair" and part.tables.keys() != plan.tables_of(part.axis, part.index):
        msg = f"its tables are not those of part {part.index}"
        raise ValueError(msg)
    for table, result in part.tables.items():
        directory = plan.directory(table)
        paths = [
            (f"{directory}/{path}", one.rows) for one in result.fragments for path in one.paths
        ]
        if paths != [(file.file, file.rows) for file in result.files]:
            msg = f"its files are not those of its fragments of {directory}"
            raise ValueError(msg)
        for column in plan.matrix_table(table).values:
            _check_cover(part.rows, result.blocks[column.name])


def _check_cover(rows: RowRange, blocks: Sequence[Block]) -> None:
    """Check that blocks follow each other from the first of the rows to the last."""
    starts, stops = [block.start for block in blocks], [block.stop for block in blocks]
    if not blocks or [*starts, rows.stop] != [rows.start, *stops]:
        msg = f"its blocks are not those of {rows.start} to {rows.stop}"
        raise ValueError(msg)
