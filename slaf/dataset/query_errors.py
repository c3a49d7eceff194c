"""Errors of DuckDB in a query: the one thing that is wrong, and the text to write instead."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["explained", "nearest"]

_QUOTED: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")
_UNKNOWN_COLUMN: Final = re.compile(
    r'column "(.+?)" (?:not found|was not found)|column named "(.+?)"'
)
_UNKNOWN_TABLE: Final = re.compile(r"Table with name (.+?) does not exist")
_UNKNOWN_QUALIFIER: Final = re.compile(r'Referenced table "(.+?)" not found')
_UNKNOWN_FUNCTION: Final = re.compile(r'Function with name "?(.+?)"? does not exist')
_NO_MATCH: Final = re.compile(r"No function matches .*? '(.+?)\((.*?)\)'\.")
_SYNTAX: Final = re.compile(r'syntax error at or near "(.+?)"')
_OF_ROWS: Final = re.compile(r"WHERE clause cannot contain|UNNEST not supported here")
_SIGN: Final = re.compile(r"&&?|\|\|?|~|!(?!=)")
_WORD: Final = re.compile(r"\w+", re.ASCII)

# Operators and functions of other languages, with those of SQL.
_OPERATORS: Final = {
    **dict.fromkeys(("&", "&&"), "AND"),
    **dict.fromkeys(("|", "||"), "OR"),
    **dict.fromkeys(("~", "!"), "NOT"),
}
_FUNCTIONS: Final = {
    **dict.fromkeys(("isin", "is_in"), "column IN ('a', 'b')"),
    **dict.fromkeys(("isna", "isnull", "is_null", "is_nan"), "column IS NULL"),
    **dict.fromkeys(("notna", "notnull", "is_not_null"), "column IS NOT NULL"),
    **dict.fromkeys(("str.startswith", "startswith"), "column LIKE 'a%'"),
    **dict.fromkeys(("str.endswith", "endswith"), "column LIKE '%a'"),
    **dict.fromkeys(("str.contains",), "column LIKE '%a%'"),
    **dict.fromkeys(("=~", "str.match"), "regexp_matches(column, 'a')"),
    "=>": "column >= value",
}
_MISSING: Final = frozenset({"none", "nan", "na", "nat", "null", "<na>"})


def explained(message: str, sql: str, tables: Mapping[str, Sequence[str]]) -> str:
    """The one thing that is wrong, and what to write instead.

    Parameters
    ----------
    message
        The message of DuckDB.
    sql
        The query or condition.
    tables
        The columns of each table that it may name.
    """
    # The first paragraph says what is wrong; the others show where.
    first, *rest = message.split("\n\n")
    text = " ".join(first.split()).partition(": ")[2] or first
    told = (
        _of_name(message, tables)
        or _of_operator(text, sql)
        or _of_function(text)
        or _of_syntax(message, sql, tables)
    )
    if told:
        return told
    if _OF_ROWS.search(text):
        return "a condition looks at one row at a time: it has no sums, counts or windows"
    if "file system operations are disabled" in text:
        return "SQL reads the tables of the dataset only, and no files"
    text = text.replace(" - an explicit cast is required", "").rstrip("!. ")
    lines = [line for part in rest for line in part.splitlines() if line.startswith("LINE")]
    where = lines[0].partition(": ")[2].strip() if lines else ""
    return f"{text} (at {where})" if where else text


def _of_name(message: str, tables: Mapping[str, Sequence[str]]) -> str:
    """A column or a table that is not there."""
    if unknown := _UNKNOWN_COLUMN.search(message):
        name = unknown[1] or unknown[2]
        if name.casefold() in _MISSING:
            return f"{name} is no value in SQL; write column IS NULL, or column IS NOT NULL"
        near = nearest(name, [column for columns in tables.values() for column in columns])
        return f"there is no column {name!r}; {near}; text stands in single quotes"
    if unknown := _UNKNOWN_TABLE.search(message):
        return f"there is no table {unknown[1]!r}; {nearest(unknown[1], [*tables])}"
    if unknown := _UNKNOWN_QUALIFIER.search(message):
        return f"there is no table {unknown[1]!r} here; write the name of the column alone"
    return ""


def _of_operator(text: str, sql: str) -> str:
    """An operator of other languages; a chain of comparisons."""
    matched = _NO_MATCH.search(text) or _UNKNOWN_FUNCTION.search(text)
    is_chained = text.startswith("Chained comparisons")
    is_mixed = text.startswith(("Cannot compare", "Cannot mix"))
    found = set(_SIGN.findall(_QUOTED.sub("", sql)))
    written = [sign for sign in _OPERATORS if sign in found]
    if (matched and matched[1] in _OPERATORS) or (written and (is_chained or is_mixed)):
        instead = ", ".join(f"{_OPERATORS[sign]} instead of {sign}" for sign in written)
        return f"write {instead}"
    if is_chained:
        return "a comparison has two sides; join two of them with AND, as in 3 < n AND n < 5"
    return ""


def _of_function(text: str) -> str:
    """A function or operator that is not there, or not for values of these types."""
    if unknown := _UNKNOWN_FUNCTION.search(text):
        name = unknown[1]
        known = [instead for key, instead in _FUNCTIONS.items() if name.endswith(key)]
        return f"SQL has no {name}" + (f"; write {known[0]}" if known else "")
    if no_match := _NO_MATCH.search(text):
        types = no_match[2].replace("_LITERAL", "").replace(", ", " and ") or "nothing"
        return f"{no_match[1]} is not possible with values of type {types}"
    return ""


def _of_syntax(message: str, sql: str, tables: Mapping[str, Sequence[str]]) -> str:
    """A name that has to be in double quotes; a condition that ends too early."""
    syntax = _SYNTAX.search(message)
    if not syntax:
        return ""
    near, bare = syntax[1], _QUOTED.sub("", sql).casefold()
    columns = [column for columns in tables.values() for column in columns]
    odd = [name for name in columns if not _WORD.fullmatch(name) and name.casefold() in bare]
    for name in [*odd, *(name for name in columns if name.casefold() == near.casefold())]:
        return f'{name} is no plain name in SQL; write it in double quotes: "{name}"'
    if ": ) AS condition" in message:
        return "it ends too early"
    return f"it is no SQL at {near!r}"


def nearest(name: str, names: Sequence[str]) -> str:
    """The name that is most like one that there is not, and all names."""
    names = list(dict.fromkeys(names))
    near = difflib.get_close_matches(name, names, n=1)
    listed = ", ".join(names)
    return f"the nearest is {near[0]!r}, and all are {listed}" if near else f"there are {listed}"
