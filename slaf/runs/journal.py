"""The journal of a run: a receipt for each finished part, which any process can record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import field

from slaf.errors import DamagedDataset, StorageError
from slaf.format.config import RECEIPT
from slaf.format.files import StoredFile
from slaf.format.records import Block, GeneBlock
from slaf.format.schema import BY_GENE, EXPRESSION
from slaf.format.validation import Count, Record, checksum_error, with_checksum
from slaf.runs.layers import LayerResult
from slaf.sparse.ranges import RowRange
from slaf.sparse.statistics import Statistics
from slaf.tables.fragments import Fragment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from slaf.runs.checkpoint import Checkpoint
    from slaf.runs.plan import Plan
    from slaf.storage.location import Location

__all__ = ["GenePart", "Journal", "PartResult", "read_row_counts", "write_row_counts"]

_LENGTHS = np.dtype("<u4")
_READERS = 16

# What a receipt raises that is not one of this program, or of this plan.
_INVALID = (AttributeError, LookupError, RecursionError, TypeError, ValueError)


class PartResult(Record, frozen=True):
    """A part whose rows are on disk, in fragments that no version of the table names yet.

    Attributes
    ----------
    index
        Its position in the plan.
    fragments
        Fragments of `expression`, in order.
    blocks
        Its blocks and their digests, in order.
    statistics
        Statistics of its values.
    dtype_overflowed
        Whether sums of repeated entries are beyond the type that the source has them in.
    companions
        Its rows of the layer tables, by their names.
    files
        The files of the fragments.
    """

    index: Count = field(name="part")
    fragments: list[Fragment]
    blocks: tuple[Block, ...]
    statistics: Statistics
    dtype_overflowed: bool = False
    companions: Mapping[str, LayerResult] = {}
    files: tuple[StoredFile, ...] = ()

    def by_table(self) -> dict[str, PartResult | LayerResult]:
        """What it has of each table."""
        return {EXPRESSION: self, **self.companions}


class GenePart(Record, frozen=True):
    """Genes whose rows are on disk in the order of genes, as `PartResult` is of cells.

    Attributes
    ----------
    genes
        The genes.
    fragments
        Fragments of `expression_by_gene`, in order.
    blocks
        Their blocks and the digests of these, in order.
    fingerprint
        The fingerprint of their rows.
    files
        The files of the fragments.
    """

    genes: RowRange
    fragments: list[Fragment]
    blocks: tuple[GeneBlock, ...]
    fingerprint: str
    files: tuple[StoredFile, ...]


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
        The parts that have a receipt, by index.
    genes
        The parts of genes that have a receipt, by their first gene.
    refused
        Why a receipt counts for nothing, by its name.
    """

    def __init__(self, location: Location, checkpoint: Checkpoint) -> None:
        self.parts: dict[int, PartResult] = {}
        self.genes: dict[int, GenePart] = {}
        self.refused: dict[str, str] = {}
        self._location = location
        self._checkpoint = checkpoint
        self._digest = checkpoint.plan.digest

    @classmethod
    def read(cls, location: Location, checkpoint: Checkpoint) -> Journal:
        """The journal with all receipts that are there."""
        journal = cls(location, checkpoint)
        sizes = location.sizes()
        folder = f"{checkpoint.plan.journal}/"
        names = [name for name in sizes if name.startswith(folder) and _is_receipt(name)]
        with ThreadPoolExecutor(_READERS if location.is_remote else 1) as readers:
            for name, raw in zip(names, readers.map(location.read, names), strict=True):
                try:
                    journal._take(name, journal._checked(raw, sizes))
                except _INVALID as error:
                    journal.refused[name] = str(error)
        return journal

    def record(self, result: PartResult | GenePart) -> None:
        """Write the receipt of a part, once its files are there, or take the one that is there.

        Raises
        ------
        StorageError
            If a file of the part is not there, or not whole.
        """
        name = self._name(result)
        sizes = {file: self._location.size_of(file) for file in _file_sizes(result)}
        if missing := _first_difference(_file_sizes(result), sizes):
            msg = f"{self._location}: {missing} is not on the disk as it was written"
            raise StorageError(msg)
        attempt = self._checkpoint.attempt(result.index) if isinstance(result, PartResult) else 0
        head = {"plan": self._digest, "attempt": attempt}
        data = with_checksum(head | result.to_json())
        if not self._location.put_new(name, data):
            try:
                result = self._checked(self._location.read(name), self._location.sizes())
            except _INVALID:
                self._location.put(name, data)
        self._take(name, result)

    def _take(self, name: str, result: PartResult | GenePart) -> None:
        if self._name(result) != name:
            msg = "it is the receipt of another part"
            raise ValueError(msg)
        if isinstance(result, PartResult):
            self.parts[result.index] = result
        else:
            self.genes[result.genes.start] = result

    def _name(self, result: PartResult | GenePart) -> str:
        if isinstance(result, PartResult):
            return f"{self._checkpoint.plan.journal}/part-{result.index:06d}.json"
        return f"{self._checkpoint.plan.journal}/genes-{result.genes.start:06d}.json"

    def _checked(self, raw: bytes | None, sizes: Mapping[str, int]) -> PartResult | GenePart:
        """The part that a receipt states, if the receipt is whole and so are its files.

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
        result: PartResult | GenePart
        if "part" in data:
            result = PartResult.from_json(data)
            _check_part(plan, result, data["attempt"], self._checkpoint.attempt(result.index))
        else:
            result = GenePart.from_json(data)
            _check_table(plan.folder(BY_GENE), result)
            _check_cover(result.genes, result.blocks)
        expected = _file_sizes(result) | _count_sizes(plan, result)
        if missing := _first_difference(expected, sizes):
            msg = f"{missing} is missing or not whole"
            raise ValueError(msg)
        return result


def write_row_counts(
    location: Location, plan: Plan, table: str, first: int, counts: NDArray[Any]
) -> None:
    """Write the numbers of rows of the cells of a part, or of genes.

    Parameters
    ----------
    first
        The index of the part; of `expression_by_gene` the first gene.
    """
    location.put(_counts_name(plan, table, first), counts.astype(_LENGTHS).tobytes())


def read_row_counts(location: Location, plan: Plan, table: str, first: int) -> NDArray[np.int64]:
    """The numbers of rows that `write_row_counts` wrote."""
    name = _counts_name(plan, table, first)
    raw = location.read(name)
    if raw is None:
        msg = f"{location}: {name} is missing; begin again with --restart"
        raise DamagedDataset(msg)
    return np.frombuffer(raw, _LENGTHS).astype(np.int64)


def _counts_name(plan: Plan, table: str, first: int) -> str:
    return f"{plan.journal}/{table}-{first:06d}.counts"


def _is_receipt(name: str) -> bool:
    base = name.rpartition("/")[2]
    return RECEIPT.fullmatch(base.replace("genes-", "part-", 1)) is not None


def _first_difference(expected: Mapping[str, int], sizes: Mapping[str, int | None]) -> str:
    """The first file that is not of its size; "" for none."""
    return next((name for name, size in expected.items() if sizes.get(name) != size), "")


def _file_sizes(result: PartResult | GenePart) -> dict[str, int]:
    tables = result.by_table().values() if isinstance(result, PartResult) else (result,)
    return {file.file: file.bytes for one in tables for file in one.files}


def _count_sizes(plan: Plan, result: PartResult | GenePart) -> dict[str, int]:
    """The files of row counts that a part needs, and their bytes; a repair writes none."""
    if plan.operation == "repair":
        return {}
    if isinstance(result, GenePart):
        name = _counts_name(plan, BY_GENE, result.genes.start)
        return {name: len(result.genes) * _LENGTHS.itemsize}
    size = len(plan.parts[result.index]) * _LENGTHS.itemsize
    return {
        _counts_name(plan, table, result.index): size
        for table in result.by_table()
        if plan.writes(result.index, table)
    }


def _check_part(plan: Plan, result: PartResult, attempt: Any, expected: int) -> None:
    if attempt != expected:
        msg = "its input was damaged, and may have been repaired since"
        raise ValueError(msg)
    rows = plan.parts[result.index]
    if plan.writes(result.index, EXPRESSION) or result.blocks:
        _check_cover(rows, result.blocks)
    for table, found in result.by_table().items():
        _check_table(plan.folder(table), found)
    for companion in result.companions.values():
        for blocks in companion.blocks.values():
            _check_cover(rows, blocks)


def _check_table(folder: str, result: PartResult | LayerResult | GenePart) -> None:
    """Check that the files of a result are those of its fragments."""
    made = [(f"{folder}/{path}", one.rows) for one in result.fragments for path in one.paths]
    if made != [(file.file, file.rows) for file in result.files]:
        msg = f"its files are not those of its fragments of {folder}"
        raise ValueError(msg)


def _check_cover(rows: RowRange, blocks: Sequence[Block]) -> None:
    """Check that blocks follow each other from the first of the rows to the last."""
    starts, stops = [block.start for block in blocks], [block.stop for block in blocks]
    if not blocks or [*starts, rows.stop] != [rows.start, *stops]:
        msg = f"its blocks are not those of {rows.start} to {rows.stop}"
        raise ValueError(msg)
