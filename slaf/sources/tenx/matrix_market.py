"""Parse Matrix Market coordinate files, with entries in any order, in pieces of bounded size."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from slaf.errors import DamagedInput, InexactValue
from slaf.kernels import kernels
from slaf.sources.tenx.text import Text, open_text
from slaf.sparse.buckets import Coo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["MtxHeader", "entries", "read_header"]


# https://math.nist.gov/MatrixMarket/formats.html#MMformat; SciPy writes "unsigned-integer" too, and
# STARsolo "float" (https://github.com/alexdobin/STAR/issues/1397).
_BANNER = re.compile(
    rb"%%MatrixMarket\s+matrix\s+coordinate\s+([a-z-]+)\s+general\s*",
    re.IGNORECASE,
)
# Dense, or with entries of one half of a square: SciPy reads these, and writes them as above.
_OTHER_FORM = re.compile(
    rb"%%MatrixMarket\s+matrix\s+(array|coordinate)\s+[a-z-]+\s+"
    rb"(general|symmetric|skew-symmetric)\s*",
    re.IGNORECASE,
)
_TYPES: dict[str, np.dtype[Any]] = {
    "integer": np.dtype(np.int64),
    "unsigned-integer": np.dtype(np.uint64),
    "real": np.dtype(np.float64),
    "float": np.dtype(np.float64),
    "double": np.dtype(np.float64),
    "pattern": np.dtype(np.uint8),
}
_MAX_LINE_BYTES = 1 << 16
_BYTES_PER_ENTRY = 8
_NEWLINE = ord("\n")
_MIN_ENTRY_BYTES = 4
_MAX_GZIP_RATIO = 1032
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class MtxHeader:
    """The header of a file.

    Attributes
    ----------
    n_rows, n_columns
        The shape: in 10x files genes and cells.
    nnz
        The number of entries.
    field
        "integer", "unsigned-integer", "real" (or "float", "double"), or "pattern" (without
        values: they are ones).
    offset
        The offset of the first entry in the text, in bytes.
    line
        The line of the first entry, counted from 1.
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
    def sizes(self) -> tuple[int, int, int]:
        """Rows, columns and entries."""
        return self.n_rows, self.n_columns, self.nnz

    @property
    def columns(self) -> dict[str, pa.DataType]:
        """The columns of a line."""
        indices = {"row": pa.int64(), "column": pa.int64()}
        value = {} if self.field == "pattern" else {"value": pa.from_numpy_dtype(self.dtype)}
        return indices | value


def read_header(path: Path) -> MtxHeader:
    """Read the banner, the comments and the sizes of a file.

    Raises
    ------
    DamagedInput
        If it is not a coordinate matrix of integers, reals or a pattern, or declares more entries
        than it can hold.
    """
    with open_text(path) as text:
        banner = text.readline(_MAX_LINE_BYTES)
        matched = _BANNER.fullmatch(banner.rstrip(b"\r\n"))
        if matched is None or matched[1].decode().lower() not in _TYPES:
            raise _wrong_banner(path, banner)
        offset, line, number = len(banner), b"%", 1
        while line.startswith(b"%") or not line.strip():
            line = text.readline(_MAX_LINE_BYTES)
            number += 1
            if not line:
                msg = f"{path}: it ends before its sizes"
                raise DamagedInput(msg)
            offset += len(line)
            if line.startswith(b"%"):
                offset += _skip_comment(text, line)
    sizes = line.split()
    if len(sizes) != 3 or not all(size.isdigit() for size in sizes):  # noqa: PLR2004
        msg = f"{path}, line {number}: {_excerpt(line)} is not three sizes: rows, columns, entries"
        raise DamagedInput(msg)
    if max(map(len, sizes)) > _MAX_DIGITS:
        msg = f"{path}, line {number}: {_excerpt(line)} has a size of more than 64 bits"
        raise DamagedInput(msg)
    n_rows, n_columns, nnz = map(int, sizes)
    # Gzip packs at most 1,032 times smaller; an entry has two numbers, a space and a newline.
    if nnz > path.stat().st_size * _MAX_GZIP_RATIO // _MIN_ENTRY_BYTES:
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


def _wrong_banner(path: Path, banner: bytes) -> DamagedInput:
    """The error of a first line that is not read."""
    msg = (
        f"{path}: its first line is {_excerpt(banner)}, not '%%MatrixMarket matrix "
        "coordinate integer|real|pattern general'"
    )
    if not _OTHER_FORM.fullmatch(banner.rstrip(b"\r\n")):
        return DamagedInput(msg)
    source, target = str(path), f"{str(path).removesuffix('.gz').removesuffix('.mtx')}.general.mtx"
    code = (
        "import scipy.io as io, scipy.sparse as sp; "
        f"io.mmwrite({target!r}, sp.coo_matrix(io.mmread({source!r})), symmetry='general')"
    )
    return DamagedInput(msg, remedy=f"write it in that form: python -c {shlex.quote(code)}")


def _skip_comment(text: Text, line: bytes) -> int:
    """Read a comment to its end; returns the number of further bytes."""
    n_bytes = 0
    while line and not line.endswith(b"\n"):
        line = text.readline(_MAX_LINE_BYTES)
        n_bytes += len(line)
    return n_bytes


def entries(path: Path, header: MtxHeader, size: int) -> Iterator[Coo]:
    """All entries, with columns as cells and rows as genes, counted from 0.

    Parameters
    ----------
    path, header
        The file and its header.
    size
        The number of entries that a piece may have.

    Raises
    ------
    DamagedInput
        If a line is not an entry, an index is out of range, there are more or fewer than
        declared, or the file is cut short.
    InexactValue
        If a number in the text is not one of the declared kind.
    """
    n_entries, line = 0, header.line
    with open_text(path) as text:
        text.seek(header.offset)
        for data in _whole_lines(text, size * _BYTES_PER_ENTRY, path):
            lines = _Lines(data, header, f"{path}, line ", line)
            genes, cells, values = lines.entries()
            for start in range(0, len(genes), size):
                part = slice(start, start + size)
                yield Coo(cells[part], genes[part], values[part])
            n_entries += len(genes)
            line += int(np.count_nonzero(np.frombuffer(data, np.uint8) == _NEWLINE))
            if n_entries > header.nnz:
                msg = f"{path}: it declares {header.nnz:,} entries, but has {n_entries:,} or more"
                raise DamagedInput(msg)
    if n_entries != header.nnz:
        msg = f"{path}: it declares {header.nnz:,} entries, but has {n_entries:,}"
        raise DamagedInput(msg)


def _whole_lines(text: Text, size: int, path: Path) -> Iterator[bytes]:
    """The rest of the text, in pieces of whole lines."""
    rest = b""
    while read := text.read(max(size, _MAX_LINE_BYTES)):
        end = read.rfind(b"\n") + 1
        if end:
            yield rest + read[:end]
            rest = b""
        rest += read[end:]
        if len(rest) > size + _MAX_LINE_BYTES:
            msg = f"{path}: a line is longer than {_MAX_LINE_BYTES:,} bytes"
            raise DamagedInput(msg)
    if rest:
        yield rest + b"\n"


# Above this float64 does not hold every whole number.
_MAX_EXACT_WHOLE = 2.0**53

# A number other than zero; not NaN or infinity.
_NOT_ZERO = r"^[+-]?[0.]*[1-9]"

# Parsed a fifth faster than 64 bits, which few matrices need.
_NARROW = {"row": pa.int32(), "column": pa.int32()}


@dataclass(frozen=True, slots=True)
class _Lines:
    """Whole lines of a file.

    Attributes
    ----------
    data
        The lines.
    header
        The header of the file.
    label, line
        The file and the number of the first line, for errors.
    """

    data: bytes
    header: MtxHeader
    label: str
    line: int

    def entries(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Rows and columns, counted from 0, and values."""
        header = self.header
        dtype = None if header.field == "pattern" else header.dtype
        shape = header.n_rows, header.n_columns
        found = kernels().entries(self.data, shape, dtype)
        if found is None:
            return self._entries_of_any_lines()
        rows, columns, values = found
        return rows, columns, np.ones(len(rows), header.dtype) if values is None else values

    def _entries_of_any_lines(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """The same of every line that Arrow reads, with the error of others."""
        table = self._parse(self.header.columns)
        rows = self._zero_based(table.column("row"), self.header.n_rows, "row")
        columns = self._zero_based(table.column("column"), self.header.n_columns, "column")
        if self.header.field == "pattern":
            return rows, columns, np.ones(len(rows), self.header.dtype)
        values = table.column("value").to_numpy()
        if self.header.dtype.kind == "f":
            may_be_rounded = (np.abs(values) >= _MAX_EXACT_WHOLE) | (values == 0)
            if may_be_rounded.any():
                self._check_exact(values, np.flatnonzero(may_be_rounded))
        return rows, columns, values

    def _parse(self, columns: dict[str, pa.DataType]) -> pa.Table:
        table = _read(self.data, columns | _NARROW)
        if table is None:
            table = _read(self.data, columns)
        if table is None:
            # Slow, for tabs, padding and comments.
            table = _read(b"\n".join(self._normalised()), columns)
        if table is None:
            at, line = self._first_wrong(columns)
            kind = " ".join(columns)
            msg = f"{self.label}{at:,}: {_excerpt(line)} is not an entry ({kind}) of the matrix"
            raise DamagedInput(msg)
        return table

    def _normalised(self) -> list[bytes]:
        """The lines with one space between numbers; comments as empty lines."""
        lines = (b" ".join(line.split()) for line in self.data.splitlines())
        return [b"" if line.startswith(b"%") else line for line in lines]

    def _first_wrong(self, columns: dict[str, pa.DataType]) -> tuple[int, bytes]:
        """The number and the text of the first line that is not an entry."""
        lines = self._normalised()
        low, high = 0, len(lines)
        while high - low > 1:
            middle = (low + high) // 2
            if _read(b"\n".join(lines[low:middle]), columns) is None:
                high = middle
            else:
                low = middle
        return self.line + low, lines[low]

    def _line_of(self, entry: int) -> int:
        """The number of the line of an entry."""
        numbers = [number for number, line in enumerate(self._normalised()) if line]
        return self.line + numbers[entry]

    def _zero_based(self, column: pa.ChunkedArray, size: int, axis: str) -> NDArray[Any]:
        numbers: NDArray[Any] = column.to_numpy()
        if len(numbers) and not 1 <= int(numbers.min()) <= int(numbers.max()) <= size:
            at = int(np.argmax((numbers < 1) | (numbers > size)))
            msg = (
                f"{self.label}{self._line_of(at):,}: an entry is in {axis} {numbers[at]}, "
                f"but they go from 1 to {size:,}"
            )
            raise DamagedInput(msg)
        return numbers - 1

    def _check_exact(self, values: NDArray[np.float64], at: NDArray[Any]) -> None:
        """Refuse values at these positions that are not the numbers in the text."""
        texts = self._parse(self.header.columns | {"value": pa.string()}).column("value")
        texts = texts.take(pa.array(at))
        not_zero = pc.match_substring_regex(texts, _NOT_ZERO).to_numpy()
        for entry, text in zip(at[not_zero].tolist(), texts.filter(not_zero), strict=True):
            if _is_rounded(text.as_py(), float(values[entry])):
                line = f"{self.label}{self._line_of(entry):,}"
                msg = f"{line}: no float64 holds {text.as_py()[:60]} exactly; correct it"
                raise InexactValue(msg)


def _is_rounded(text: str, value: float) -> bool:
    """Whether a number other than zero differs from the float64 that was read.

    A fraction, or a number with an exponent, means the nearest float64, if that is neither infinite
    nor zero. A whole number must be exact.
    """
    if value == 0 or np.isinf(value):
        return True
    whole, _, fraction = text.lstrip("+-").partition(".")
    return whole.isdigit() and not fraction.strip("0") and int(whole) != abs(value)


def _read(data: bytes, columns: dict[str, pa.DataType]) -> pa.Table | None:
    """The entries of some lines; None if a line is not an entry."""
    if not data or data.isspace():
        return pa.table({name: pa.array([], dtype) for name, dtype in columns.items()})
    if b"x" in data or b"X" in data:
        return None  # it would read 0x1F as a number
    try:
        return csv.read_csv(
            pa.BufferReader(data),
            read_options=csv.ReadOptions(column_names=list(columns), use_threads=False),
            parse_options=csv.ParseOptions(delimiter=" ", quote_char=False),
            convert_options=csv.ConvertOptions(column_types=columns, null_values=[]),
        )
    except pa.ArrowInvalid:
        return None


def _excerpt(line: bytes) -> str:
    """The first characters of a line, for errors."""
    return repr(line[:60].decode(errors="replace").rstrip())
