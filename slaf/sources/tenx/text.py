"""Untrusted text files and TSV tables, gzipped or not, whatever their names."""

from __future__ import annotations

import codecs
import csv as csv_module
import gzip
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Protocol

import pyarrow as pa
from pyarrow import csv

from slaf.errors import DamagedInput, SlafError
from slaf.sources.hdf5.limits import check_expansion_ratio
from slaf.storage.system_errors import system_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Text", "open_text", "read_columns", "read_text"]

_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20

# Unique names of cells are packed at most ten times smaller.
_MAX_RATIO = 50
_REMEDY = "copy it once more"


class Text(Protocol):
    """A text that is read from start to end."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes."""

    def readline(self, size: int, /) -> bytes:
        """A line, or its first bytes."""

    def seek(self, offset: int, /) -> int:
        """Go to an offset."""


class _Unpacked:
    """The unpacked text of a gzip file, refused if it is too large for the size of the file."""

    def __init__(self, text: IO[bytes], path: Path) -> None:
        self._text = text
        self._path = path
        self._size = path.stat().st_size

    def read(self, size: int, /) -> bytes:
        return self._checked(self._text.read(size))

    def readline(self, size: int, /) -> bytes:
        return self._checked(self._text.readline(size))

    def seek(self, offset: int, /) -> int:
        return self._text.seek(offset)

    def _checked(self, text: bytes) -> bytes:
        check_expansion_ratio(str(self._path), self._size, self._text.tell())
        return text


@contextmanager
def open_text(path: Path) -> Iterator[Text]:
    """The text of a file, unpacked by ISA-L as it is read.

    Raises
    ------
    DamagedInput
        If it cannot be unpacked to its end.
    StorageError
        If the system refuses to read it.
    """
    from isal import igzip, igzip_lib

    # Opening a pipe would wait for ever.
    if not path.is_file():
        msg = f"{path}: it is not a file, or a link to none"
        raise DamagedInput(msg)
    try:
        with path.open("rb") as file:
            is_packed = file.read(len(_GZIP)) == _GZIP
        if is_packed:
            # By its file: a remote path cannot be opened by name.
            with path.open("rb") as file, igzip.open(file, "rb") as text:  # type: ignore[no-untyped-call]
                yield _Unpacked(text, path)
        else:
            with path.open("rb") as text:
                yield text
    except EOFError as error:
        msg = f"{path}: it is cut short, its gzip stream has no end"
        raise DamagedInput(msg, remedy=_REMEDY) from error
    except (gzip.BadGzipFile, igzip_lib.error) as error:  # type: ignore[misc]  # its stub says it is an object
        msg = f"{path}: its gzip stream is damaged ({error})"
        raise DamagedInput(msg, remedy=_REMEDY) from error
    except OSError as error:
        if isinstance(error, SlafError):
            raise
        raise system_error(str(path), "read", error) from error


def read_text(path: Path) -> bytes:
    """A whole text, checked to be UTF-8.

    Raises
    ------
    DamagedInput
        If it is not.
    """
    content, checker = bytearray(), codecs.getincrementaldecoder("utf-8")()
    with open_text(path) as text:
        size = path.stat().st_size
        while piece := text.read(_PIECE):
            _check_utf8(checker, piece, path, content)
            content += piece
            check_expansion_ratio(str(path), size, len(content), _MAX_RATIO)
    _check_utf8(checker, b"", path, content)
    return bytes(content)


def _check_utf8(
    checker: codecs.IncrementalDecoder, piece: bytes, path: Path, text: bytearray
) -> None:
    try:
        checker.decode(piece, final=not piece)
    except UnicodeDecodeError as error:
        line = text.count(b"\n") + piece.count(b"\n", 0, error.start) + 1
        msg = f"{path}, line {line:,}: it is not text in UTF-8 ({error.reason})"
        raise DamagedInput(msg) from error


def read_columns(
    path: Path, delimiter: str = "\t", *, quoted: bool = False, comment: str = ""
) -> pa.Table:
    """The columns of a table, all its lines: strings, with the names "0", "1", ….

    Parameters
    ----------
    path
        The file.
    delimiter
        What separates columns.
    quoted
        Whether double quotes are no part of the values.
    comment
        What lines that are left out begin with.

    Raises
    ------
    DamagedInput
        If its lines have different numbers of columns.
    """
    content = read_text(path)
    if comment:
        lines = content.splitlines(keepends=True)
        content = b"".join(line for line in lines if not line.startswith(comment.encode()))
    if not content.strip():
        return pa.table({"0": pa.array([], pa.string())})
    options = csv.ParseOptions(delimiter=delimiter, quote_char='"' if quoted else False)
    names = [str(number) for number in range(_width(content, options))]
    try:
        return csv.read_csv(
            pa.BufferReader(content),
            # Without threads its errors name the row.
            read_options=csv.ReadOptions(column_names=names, use_threads=False),
            parse_options=options,
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), null_values=[]
            ),
        )
    except pa.ArrowInvalid as error:
        separated = "tabs" if delimiter == "\t" else "commas"
        msg = f"{path}: it is not a table separated by {separated} ({error})"
        raise DamagedInput(msg) from error


def _width(content: bytes, options: csv.ParseOptions) -> int:
    """The number of columns in the first line."""
    line = content.lstrip(b"\r\n").split(b"\n", 1)[0]
    if options.quote_char is False:
        return line.count(options.delimiter.encode()) + 1
    return len(next(csv_module.reader([line.decode()])))
