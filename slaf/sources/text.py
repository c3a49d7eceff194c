"""Text files from strangers, packed by gzip or not, whatever they are called."""

from __future__ import annotations

import gzip
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import pyarrow as pa
from pyarrow import csv

from slaf.errors import DamagedInput, SlafError, StorageError
from slaf.storage import remote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["open_text", "read_text", "read_tsv"]

_GZIP = b"\x1f\x8b"


@contextmanager
def open_text(path: Path) -> Iterator[IO[bytes]]:
    """The text of a file, unpacked by ISA-L as it is read.

    Raises
    ------
    DamagedInput
        If it cannot be unpacked to its end.
    StorageError
        If the system does not let us read it.
    """
    from isal import igzip, igzip_lib

    try:
        with path.open("rb") as file:
            packed = file.read(len(_GZIP)) == _GZIP
        # What is elsewhere has no name that could be opened.
        file_or_path = path if remote(path) is None else path.open("rb")
        with igzip.open(file_or_path, "rb") if packed else path.open("rb") as text:  # type: ignore[no-untyped-call]
            yield text
    except EOFError as error:
        msg = f"{path}: it is cut short, its gzip stream has no end; copy it once more"
        raise DamagedInput(msg) from error
    except (gzip.BadGzipFile, igzip_lib.error) as error:  # type: ignore[misc]  # its stub says it is an object
        msg = f"{path}: its gzip stream is damaged ({error}); copy it once more"
        raise DamagedInput(msg) from error
    except OSError as error:
        if isinstance(error, SlafError):
            raise
        raise StorageError(error.errno, f"{path}: cannot read it: {error.strerror}") from error


def read_text(path: Path) -> bytes:
    """All of a text, which is known to be UTF-8.

    Raises
    ------
    DamagedInput
        If it is not.
    """
    with open_text(path) as text:
        content = text.read()
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        msg = f"{path}, line {line:,}: it is not text in UTF-8 ({error.reason})"
        raise DamagedInput(msg) from error
    return content


def read_tsv(path: Path) -> pa.Table:
    """A table without a header, separated by tabs: columns of strings, called "0", "1", ….

    Raises
    ------
    DamagedInput
        If its lines have different numbers of columns.
    """
    content = read_text(path)
    if not content.strip():
        return pa.table({"0": pa.array([], pa.string())})
    names = [str(number) for number in range(content.split(b"\n", 1)[0].count(b"\t") + 1)]
    try:
        return csv.read_csv(
            pa.BufferReader(content),
            # Without threads its errors name the row.
            read_options=csv.ReadOptions(column_names=names, use_threads=False),
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), null_values=[]
            ),
        )
    except pa.ArrowInvalid as error:
        msg = f"{path}: it is not a table separated by tabs ({error})"
        raise DamagedInput(msg) from error
