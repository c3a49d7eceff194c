"""Matrix Market coordinate files: entries in any order, parsed in pieces of bounded size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from slaf.errors import DamagedInput
from slaf.sources.mtx_lines import Lines, shown
from slaf.sources.spill import Entries
from slaf.sources.text import Text, open_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["MtxHeader", "entries", "read_header"]

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


def entries(path: Path, header: MtxHeader, size: int) -> Iterator[Entries]:
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
                yield Entries(cells[part], genes[part], values[part])
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
