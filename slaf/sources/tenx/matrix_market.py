"""Matrix Market coordinate files: entries in any order, parsed in pieces of bounded size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from slaf.errors import DamagedInput, InexactValue
from slaf.sources.tenx.text import Text, open_text
from slaf.sparse.external_sort import Coo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Lines", "MtxHeader", "entries", "read_header", "shown"]


# https://math.nist.gov/MatrixMarket/formats.html#MMformat; SciPy writes "unsigned-integer" too.
_BANNER = re.compile(
    rb"%%MatrixMarket\s+matrix\s+coordinate\s+(integer|unsigned-integer|real|pattern)\s+general\s*",
    re.IGNORECASE,
)
_TYPES: dict[str, np.dtype[Any]] = {
    "integer": np.dtype(np.int64),
    "unsigned-integer": np.dtype(np.uint64),
    "real": np.dtype(np.float64),
    "pattern": np.dtype(np.uint8),
}
_LONGEST_LINE = 1 << 16
_BYTES_AN_ENTRY = 8
_NEWLINE = ord("\n")
_SHORTEST_ENTRY = 4
_MOST_PACKED = 1032
_MOST_DIGITS = 18


@dataclass(frozen=True, slots=True)
class MtxHeader:
    """What a file declares.

    Attributes
    ----------
    n_rows, n_columns
        The shape: in 10x files genes and cells.
    nnz
        How many entries follow.
    field
        "integer", "unsigned-integer", "real" or "pattern" (without values: they are ones).
    offset
        The first entry's place in the text, in bytes.
    line
        The first entry's line, counted from 1.
    """

    n_rows: int
    n_columns: int
    nnz: int
    field: str
    offset: int
    line: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values."""
        return _TYPES[self.field]

    @property
    def columns(self) -> dict[str, pa.DataType]:
        """What a line holds."""
        places = {"row": pa.int64(), "column": pa.int64()}
        return places if self.field == "pattern" else places | {"value": self._value_type}

    @property
    def _value_type(self) -> pa.DataType:
        return pa.from_numpy_dtype(self.dtype)


def read_header(path: Path) -> MtxHeader:
    """The banner, the comments and the sizes of a file.

    Raises
    ------
    DamagedInput
        If it is not a coordinate matrix of integers, reals or a pattern, or declares more than
        it can hold.
    """
    with open_text(path) as text:
        banner = text.readline(_LONGEST_LINE)
        matched = _BANNER.fullmatch(banner.rstrip(b"\r\n"))
        if matched is None:
            msg = (
                f"{path}: its first line is {shown(banner)}, not '%%MatrixMarket matrix "
                "coordinate integer|real|pattern general'"
            )
            raise DamagedInput(msg)
        offset, line, number = len(banner), b"%", 1
        while line.startswith(b"%") or not line.strip():
            line = text.readline(_LONGEST_LINE)
            number += 1
            if not line:
                msg = f"{path}: it ends before its sizes"
                raise DamagedInput(msg)
            offset += len(line)
            if line.startswith(b"%"):
                offset += _skipped(text, line)
    sizes = line.split()
    if len(sizes) != 3 or not all(size.isdigit() for size in sizes):  # noqa: PLR2004
        msg = f"{path}, line {number}: {shown(line)} is not three sizes: rows, columns, entries"
        raise DamagedInput(msg)
    if max(map(len, sizes)) > _MOST_DIGITS:
        msg = f"{path}, line {number}: {shown(line)} has a size of more than 64 bits"
        raise DamagedInput(msg)
    n_rows, n_columns, nnz = map(int, sizes)
    # Gzip makes nothing more than 1,032 times smaller, and an entry has two numbers and an end.
    most = path.stat().st_size * _MOST_PACKED // _SHORTEST_ENTRY
    if nnz > most:
        msg = (
            f"{path}, line {number}: it declares {nnz:,} entries, which a file of "
            f"{path.stat().st_size:,} bytes cannot hold"
        )
        raise DamagedInput(msg)
    if nnz and not n_rows * n_columns:
        msg = f"{path}, line {number}: {nnz:,} entries in a matrix of {n_rows} × {n_columns}"
        raise DamagedInput(msg)
    field = matched.group(1).decode().lower()
    return MtxHeader(n_rows, n_columns, nnz, field, offset, number + 1)


def _skipped(text: Text, line: bytes) -> int:
    """How many bytes of a comment lay behind its beginning, which are read."""
    skipped = 0
    while line and not line.endswith(b"\n"):
        line = text.readline(_LONGEST_LINE)
        skipped += len(line)
    return skipped


def entries(path: Path, header: MtxHeader, size: int) -> Iterator[Coo]:
    """All entries with columns as cells and rows as genes, counted from 0.

    Parameters
    ----------
    path, header
        The file and what it declares.
    size
        How many entries a piece may have.

    Raises
    ------
    DamagedInput
        If a line is not an entry, an index is out of range, there are more or fewer than
        declared, or the file is cut short.
    InexactValue
        If a number in the text is not one of the declared kind.
    """
    found, line = 0, header.line
    with open_text(path) as text:
        text.seek(header.offset)
        for data in _whole_lines(text, size * _BYTES_AN_ENTRY, path):
            lines = Lines(data, header, f"{path}, line ", line)
            genes, cells, values = lines.entries()
            for start in range(0, len(genes), size):
                part = slice(start, start + size)
                yield Coo(cells[part], genes[part], values[part])
            found += len(genes)
            line += int(np.count_nonzero(np.frombuffer(data, np.uint8) == _NEWLINE))
            if found > header.nnz:
                msg = f"{path}: it declares {header.nnz:,} entries, but has {found:,} or more"
                raise DamagedInput(msg)
    if found != header.nnz:
        msg = f"{path}: it declares {header.nnz:,} entries, but has {found:,}"
        raise DamagedInput(msg)


def _whole_lines(text: Text, size: int, path: Path) -> Iterator[bytes]:
    """The rest of the text, cut after lines."""
    rest = b""
    while read := text.read(max(size, _LONGEST_LINE)):
        end = read.rfind(b"\n") + 1
        if end:
            yield rest + read[:end]
            rest = b""
        rest += read[end:]
        if len(rest) > size + _LONGEST_LINE:
            msg = f"{path}: a line is longer than {_LONGEST_LINE:,} bytes"
            raise DamagedInput(msg)
    if rest:
        yield rest + b"\n"


# From here on float64 does not hold every whole number.
_LARGEST_WHOLE = 2.0**53

# A number other than zero: neither is what says NaN, or that it is infinite.
_NOT_ZERO = r"^[+-]?[0.]*[1-9]"

# A fifth faster to read than 64 bits, which hardly any matrix needs.
_NARROW = {"row": pa.int32(), "column": pa.int32()}


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines of a file.

    Attributes
    ----------
    data
        The lines.
    header
        What the file declares.
    place, line
        The file and the number of the first line, for errors.
    """

    data: bytes
    header: MtxHeader
    place: str
    line: int

    def entries(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Rows and columns, counted from 0, and values."""
        table = self._parse(self.header.columns)
        rows = self._zero_based(table.column("row"), self.header.n_rows, "row")
        columns = self._zero_based(table.column("column"), self.header.n_columns, "column")
        if self.header.field == "pattern":
            return rows, columns, np.ones(len(rows), self.header.dtype)
        values = table.column("value").to_numpy()
        if self.header.field == "real":
            doubtful = (np.abs(values) >= _LARGEST_WHOLE) | (values == 0)
            if doubtful.any():
                self._refuse_rounded(values, np.flatnonzero(doubtful))
        return rows, columns, values

    def _parse(self, columns: dict[str, pa.DataType]) -> pa.Table:
        table = _read(self.data, columns | _NARROW)
        if table is None:
            table = _read(self.data, columns)
        if table is None:
            # As it should be, but for tabs, padding or comments? It is slow to ask.
            table = _read(b"\n".join(self._tidied()), columns)
        if table is None:
            at, wrong = self._first_wrong(columns)
            kind = " ".join(columns)
            msg = f"{self.place}{at:,}: {shown(wrong)} is not an entry ({kind}) of the matrix"
            raise DamagedInput(msg)
        return table

    def _tidied(self) -> list[bytes]:
        """The lines with one space between numbers; a comment is an empty line."""
        lines = (b" ".join(line.split()) for line in self.data.splitlines())
        return [b"" if line.startswith(b"%") else line for line in lines]

    def _first_wrong(self, columns: dict[str, pa.DataType]) -> tuple[int, bytes]:
        """The number and the text of the first line that is no entry."""
        lines = self._tidied()
        low, high = 0, len(lines)
        while high - low > 1:
            middle = (low + high) // 2
            if _read(b"\n".join(lines[low:middle]), columns) is None:
                high = middle
            else:
                low = middle
        return self.line + low, lines[low]

    def _line_of(self, entry: int) -> int:
        """The number of the line that holds the entry at this position."""
        held = [number for number, line in enumerate(self._tidied()) if line]
        return self.line + held[entry]

    def _zero_based(self, column: pa.ChunkedArray, size: int, what: str) -> NDArray[Any]:
        numbers: NDArray[Any] = column.to_numpy()
        if len(numbers) and not 1 <= int(numbers.min()) <= int(numbers.max()) <= size:
            at = int(np.argmax((numbers < 1) | (numbers > size)))
            msg = (
                f"{self.place}{self._line_of(at):,}: an entry is in {what} {numbers[at]}, "
                f"but they go from 1 to {size:,}"
            )
            raise DamagedInput(msg)
        return numbers - 1

    def _refuse_rounded(self, values: NDArray[np.float64], doubtful: NDArray[Any]) -> None:
        columns = self._parse(self.header.columns | {"value": pa.string()})
        texts = columns.column("value").take(pa.array(doubtful))
        numbers = pc.match_substring_regex(texts, _NOT_ZERO).to_numpy()
        for at, text in zip(doubtful[numbers].tolist(), texts.filter(numbers), strict=True):
            if _is_another(text.as_py(), float(values[at])):
                place = f"{self.place}{self._line_of(at):,}"
                msg = f"{place}: no float64 holds {text.as_py()[:60]} exactly; correct it"
                raise InexactValue(msg)


def _is_another(text: str, value: float) -> bool:
    """Whether a number that is not zero is another than the float64 that it was read as.

    A fraction, and what has an exponent, stands for the float64 next to it, if there is one that
    is neither infinite nor zero. A whole number is what it says.
    """
    if value == 0 or np.isinf(value):
        return True
    whole, _, fraction = text.lstrip("+-").partition(".")
    return whole.isdigit() and not fraction.strip("0") and int(whole) != abs(value)


def _read(data: bytes, columns: dict[str, pa.DataType]) -> pa.Table | None:
    """The entries of some lines, or None if one is no entry."""
    if not data or data.isspace():
        return pa.table({name: pa.array([], dtype) for name, dtype in columns.items()})
    if b"x" in data or b"X" in data:
        return None  # it would take 0x1F for a number
    try:
        return csv.read_csv(
            pa.BufferReader(data),
            read_options=csv.ReadOptions(column_names=list(columns), use_threads=False),
            parse_options=csv.ParseOptions(delimiter=" ", quote_char=False),
            convert_options=csv.ConvertOptions(column_types=columns, null_values=[]),
        )
    except pa.ArrowInvalid:
        return None


def shown(line: bytes) -> str:
    """A line, or its beginning, for errors."""
    return repr(line[:60].decode(errors="replace").rstrip())
