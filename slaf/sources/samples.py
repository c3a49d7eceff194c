"""Samples: what tells the inputs apart, as prefixes of cell ids and columns of obs.

A sample sheet is a table with a row for each sample. One of its columns has the file name, the
path or the sample of each input. For files of reads a column `stranded` says which were made apart
by strand, as the option of that name.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple, get_args

from slaf.errors import DamagedInput, InputError
from slaf.options import Strandedness
from slaf.sources.concat.members import SAMPLE
from slaf.sources.names import path_parts, sample_names, without_suffix
from slaf.storage.paths import check_exists, input_path

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from slaf.format.config import SampleValue, SourceRecord
    from slaf.options import ReadOptions
    from slaf.sources.concat.members import Input

__all__ = ["STRANDED", "last_sheet", "names_of_records", "with_samples"]

logger = logging.getLogger("slaf")

# The option of files of reads that a column of the sheet gives.
STRANDED: Final = "stranded"

_MAX_BYTES = 64 << 20
_WORKBOOK = b"PK\x03\x04"
_MISSING = frozenset({"", "NA"})
_WHOLE = re.compile(r"[+-]?(?:0|[1-9]\d{0,17})")
_DECIMAL = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_BOOLEANS = {"true": True, "false": False}
# Rows and inputs that one message lists.
_LISTED = 50


def with_samples(
    inputs: Sequence[Input],
    sheet: str | os.PathLike[str] | None,
    options: ReadOptions,
    *,
    prefixed: bool,
    earlier: Sequence[SourceRecord] = (),
) -> list[Input]:
    """The inputs with prefixes of their cell ids, their samples, and the rows of a sheet.

    Parameters
    ----------
    inputs
        The inputs.
    sheet
        Path or URL of a sample sheet; None without one.
    options
        How buckets are reached.
    prefixed
        Whether the name of its sample goes before each cell id.
    earlier
        The inputs that a dataset has already.

    Raises
    ------
    InputError
        If the sheet cannot be read, or does not have one row for each input; all are named.
    """
    known = names_of_records(earlier)
    uris = [*(record.uri for record in earlier), *(one.uri for one in inputs)]
    names = sample_names(uris, known)[len(earlier) :]
    if prefixed:
        inputs = [replace(one, prefix=f"{n}_") for one, n in zip(inputs, names, strict=True)]
    if len(uris) > 1 or sheet is not None:
        inputs = [replace(one, sample_name=n) for one, n in zip(inputs, names, strict=True)]
    if sheet is not None:
        path = input_path(sheet, options.storage_options)
        others = [_keys(uri, name) for uri, name in zip(uris[: len(earlier)], known, strict=True)]
        given = [(one.uri, name) for one, name in zip(inputs, names, strict=True)]
        rows = _read_sheet(path).join(given, others)
        inputs = [
            replace(one, sample=row.columns, sheet=str(path.absolute()))
            for one, row in zip(inputs, rows, strict=True)
        ]
        inputs = _with_strandedness(inputs, str(path), [row.number for row in rows])
    return list(inputs)


def names_of_records(records: Sequence[SourceRecord]) -> list[str]:
    """The names of the samples of a dataset: as recorded, else those of its inputs' paths."""
    computed = sample_names([record.uri for record in records])
    return [
        record.prefix.removesuffix("_") or str(record.sample.get(SAMPLE) or name)
        for record, name in zip(records, computed, strict=True)
    ]


def last_sheet(records: Sequence[SourceRecord]) -> str | None:
    """The sample sheet that was given last; None without one."""
    return next((record.sheet for record in reversed(records) if record.sheet), None)


def _with_strandedness(inputs: Sequence[Input], label: str, rows: Sequence[int]) -> list[Input]:
    """The inputs, of which files of reads are read as their column `stranded` says, if it does.

    Parameters
    ----------
    inputs
        The inputs with their columns of the sheet.
    label
        The sheet.
    rows
        The number of the row of each.

    Raises
    ------
    InputError
        If it says something else; all such rows are named.
    """
    known = get_args(Strandedness)
    given = [one.sample.get(STRANDED) if STRANDED in one.choices else None for one in inputs]
    wrong = [
        f"row {row} has {str(value)!r}"
        for row, value in zip(rows, given, strict=True)
        if value is not None and value not in known
    ]
    if wrong:
        msg = (
            f"{label}: column {STRANDED!r} has one of {', '.join(known)} for a file of reads, or "
            f"nothing, but {_listed(wrong)}; correct these, or give the column another name"
        )
        raise InputError(msg)
    return [
        one if value is None else replace(one, options=replace(one.options, stranded=str(value)))
        for one, value in zip(inputs, given, strict=True)
    ]


class _SampleRow(NamedTuple):
    """The row of an input: its number in the sheet, from 1 for the header, and its columns."""

    number: int
    columns: dict[str, SampleValue]


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A sample sheet.

    Attributes
    ----------
    label
        Its path or URL as it was given.
    names
        The names of its columns.
    rows
        The text of each row.
    numbers
        The number of each row in the sheet, from 1 for the first, empty ones counted.
    """

    label: str
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...]

    def join(
        self, inputs: Sequence[tuple[str, str]], others: Iterable[frozenset[str]]
    ) -> list[_SampleRow]:
        """The row of each input.

        Parameters
        ----------
        inputs
            The path or URL of each, and the name of its sample.
        others
            The keys of further inputs, which need no row and may have one.
        """
        keys = [_keys(uri, name) for uri, name in inputs]
        rows_of = [self._rows_of(column, keys) for column in range(len(self.names))]
        key_column = max(
            range(len(self.names)),
            key=lambda column: (sum(len(rows) == 1 for rows in rows_of[column]), -column),
        )
        matched = rows_of[key_column]
        used = {row for rows in matched for row in rows}
        known = frozenset().union(*others)
        unused = [
            row
            for row, fields in enumerate(self.rows)
            if row not in used and _key(fields[key_column]) not in known
        ]
        self._check(key_column, inputs, matched, unused)
        values = {
            name: _typed([fields[column] for fields in self.rows])
            for column, name in enumerate(self.names)
            if column != key_column or self._has_names(column, inputs, matched)
        }
        return [
            _SampleRow(self.numbers[row], {name: values[name][row] for name in values})
            for row, *_ in matched
        ]

    def _rows_of(self, column: int, keys: Sequence[frozenset[str]]) -> list[list[int]]:
        """The rows of each input, if this column has its key."""
        rows: dict[str, list[int]] = {}
        for row, fields in enumerate(self.rows):
            rows.setdefault(_key(fields[column]), []).append(row)
        return [sorted({row for key in of for row in rows.get(key, ())}) for of in keys]

    def _has_names(
        self, column: int, inputs: Sequence[tuple[str, str]], matched: Sequence[Sequence[int]]
    ) -> bool:
        """Whether the column that is joined by has the names of samples, and not of files."""
        return self.names[column] == SAMPLE or all(
            self.rows[rows[0]][column] == name
            for (_, name), rows in zip(inputs, matched, strict=True)
        )

    def _check(
        self,
        column: int,
        inputs: Sequence[tuple[str, str]],
        matched: Sequence[Sequence[int]],
        unused: Sequence[int],
    ) -> None:
        """Refuse inputs without a row or with several; log rows without an input."""
        pairs = list(zip(inputs, matched, strict=True))
        without = [f"{uri} ({name})" for (uri, name), rows in pairs if not rows]
        several = [
            f"{uri} (rows {', '.join(str(self.numbers[row]) for row in rows)})"
            for (uri, _), rows in pairs
            if len(rows) > 1
        ]
        idle = [f"{self.rows[row][column]!r} (row {self.numbers[row]})" for row in unused]
        found = [
            f"{len(items):,} {what}: {_listed(items)}"
            for what, items in (
                ("inputs without a row", without),
                ("inputs with several rows", several),
                (f"rows without an input, by their column {self.names[column]!r}", idle),
            )
            if items
        ]
        if without or several:
            msg = (
                f"{self.label}: its rows are not those of the inputs; {'; '.join(found)}; give "
                "each input one row, with its file name, path or sample in one column for all"
            )
            raise InputError(msg)
        if found:
            logger.warning("%s: %s", self.label, "; ".join(found))


def _keys(uri: str, name: str) -> frozenset[str]:
    """The names by which a row may call an input: its sample, or a run of the parts of its path."""
    path = uri
    if "://" not in uri and not uri.startswith("<"):
        path = str(input_path(uri, None).absolute())
    parts = path_parts(path)
    forms = {parts, (*parts[:-1], without_suffix(parts[-1]))}
    runs = {
        "/".join(form[start:stop])
        for form in forms
        for start in range(len(form))
        for stop in range(start + 1, len(form) + 1)
    }
    return frozenset({name, *runs})


def _key(text: str) -> str:
    """The form in which the text of a row is compared with the keys of inputs."""
    return "/".join(path_parts(text)) if "/" in text else text


def _read_sheet(path: Path) -> _Sheet:
    check_exists(path)
    raw = b"" if path.is_dir() else _read_bytes(path)
    if path.is_dir() or raw.startswith(_WORKBOOK):
        msg = f"{path}: it is no table of text; save it as CSV in UTF-8"
        raise InputError(msg)
    try:
        lines = raw.decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(lines), delimiter=_delimiter(lines), strict=True))
    except UnicodeDecodeError as error:
        msg = f"{path}: byte {error.start} is not text in UTF-8"
        raise DamagedInput(msg, remedy="save it as CSV in UTF-8") from error
    except csv.Error as error:
        msg = f"{path}: it is no CSV: {error}"
        raise DamagedInput(msg, remedy="save it as CSV in UTF-8") from error
    return _checked(str(path), [tuple(field.strip() for field in row) for row in rows])


def _read_bytes(path: Path) -> bytes:
    if path.stat().st_size > _MAX_BYTES:
        msg = f"{path}: it has {path.stat().st_size:,} bytes, too many for a sample sheet"
        raise InputError(msg)
    return path.read_bytes()


def _delimiter(text: str) -> str:
    header = text.partition("\n")[0]
    return max("\t,;", key=header.count)


def _checked(label: str, lines: Sequence[tuple[str, ...]]) -> _Sheet:
    """The sheet, if its header and its rows fit each other; empty lines are left out."""
    filled = [(number, row) for number, row in enumerate(lines, start=1) if any(row)]
    if not filled:
        msg = f"{label}: it has no header"
        raise InputError(msg)
    (_, names), *rows = filled
    wrong = [f"row {number} has {len(row)}" for number, row in rows if len(row) != len(names)]
    if wrong:
        msg = f"{label}: its header has {len(names)} columns, but {_listed(wrong)}; make them alike"
        raise InputError(msg)
    repeated = [repr(name) for name, n in Counter(names).items() if n > 1 or not name]
    if repeated:
        msg = f"{label}: give each column a name of its own; found {_listed(repeated)}"
        raise InputError(msg)
    numbers, fields = [number for number, _ in rows], [row for _, row in rows]
    return _Sheet(label, names, tuple(fields), tuple(numbers))


def _typed(values: Sequence[str]) -> list[SampleValue]:
    """The values of a column: all booleans, whole numbers or decimal numbers, else text."""
    given = [value for value in values if value not in _MISSING]
    parse: Callable[[str], SampleValue] = str
    if given and all(value.casefold() in _BOOLEANS for value in given):
        parse = lambda value: _BOOLEANS[value.casefold()]  # noqa: E731 - as the others
    elif given and all(map(_WHOLE.fullmatch, given)):
        parse = int
    elif given and all(map(_DECIMAL.fullmatch, given)):
        parse = float
    return [None if value in _MISSING else parse(value) for value in values]


def _listed(items: Sequence[str]) -> str:
    more = f", and {len(items) - _LISTED:,} more" if len(items) > _LISTED else ""
    return f"{', '.join(items[:_LISTED])}{more}"
