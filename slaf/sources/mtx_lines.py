"""The lines of a Matrix Market file, parsed together, and told one from the other in errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from slaf.errors import DamagedInput, InexactValue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slaf.sources.mtx import MtxHeader

__all__ = ["Lines", "shown"]

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
