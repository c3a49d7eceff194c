"""Refuse comparisons in SQL and filters that DuckDB answers otherwise than pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from slaf.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Kind = Literal["text", "number", "boolean", "other"]

__all__ = ["check_comparisons", "nodes"]

_OPERANDS: Final = {
    "COMPARISON": ("left", "right"),
    "BETWEEN": ("input", "lower", "upper"),
}
_LISTS: Final = frozenset({"COMPARE_IN", "COMPARE_NOT_IN"})
_OF_MISSING: Final = frozenset({"COMPARE_DISTINCT_FROM", "COMPARE_NOT_DISTINCT_FROM"})
_OF_ORDER: Final = frozenset(
    {
        "COMPARE_LESSTHAN",
        "COMPARE_GREATERTHAN",
        "COMPARE_LESSTHANOREQUALTO",
        "COMPARE_GREATERTHANOREQUALTO",
        "COMPARE_BETWEEN",
        "COMPARE_NOT_BETWEEN",
    }
)
_NUMBERS: Final = frozenset({"INTEGER", "NUMERIC"})


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """All nodes of a syntax tree of DuckDB."""
    if isinstance(tree, dict):
        yield tree
    children = tree.values() if isinstance(tree, dict) else tree
    for child in children if isinstance(tree, dict | list) else ():
        yield from nodes(child)


def check_comparisons(
    tree: dict[str, Any] | None,
    kind_of: Callable[[str], Kind | None],
    is_ordered: Callable[[str], bool],
) -> None:
    """Refuse comparisons of values of different types, with NULL, and of ordered categories.

    Parameters
    ----------
    tree
        The syntax tree of a query; None for no check.
    kind_of
        The kind of the values of a column; None for a name that no column has.
    is_ordered
        True for a column of ordered categories.

    Raises
    ------
    QueryError
        If there is one.
    """
    aliases = {node["alias"].casefold() for node in nodes(tree) if node.get("alias")}
    for node in nodes(tree):
        operands = _operands(node)
        columns = [name for one in operands if (name := _column(one)) is not None]
        columns = [name for name in columns if name.casefold() not in aliases]
        constants = [one["literal"] for one in operands if one.get("type") == "VALUE_CONSTANT"]
        _check_names(constants, operands, kind_of)
        for column in columns:
            if node["type"] in _OF_ORDER and is_ordered(column):
                msg = (
                    f"{column} is an ordered category, whose order SQL does not know; name the "
                    f"categories: {column} IN ('a', 'b')"
                )
                raise QueryError(msg)
            for constant in constants:
                _check(column, kind_of(column), constant, has_null=node["type"] not in _OF_MISSING)


def _operands(node: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """The operands of a comparison; none for another node."""
    if node.get("type") in _LISTS:
        children: list[dict[str, Any]] = node["children"]
        return children
    return [node[key] for key in _OPERANDS.get(node.get("class", ""), ())]


def _column(node: dict[str, Any]) -> str | None:
    return node["column_names"][-1] if node.get("type") == "COLUMN_REF" else None


def _check_names(
    constants: Sequence[dict[str, Any]],
    operands: Sequence[dict[str, Any]],
    kind_of: Callable[[str], Kind | None],
) -> None:
    """Refuse to compare constants with each other where one is the name of a column."""
    texts = [one["text"] for one in constants if one["kind"] == "STRING"]
    named = [text for text in texts if kind_of(text) is not None]
    if named and len(constants) == len(operands):
        msg = f"'{named[0]}' in single quotes is text; the column is \"{named[0]}\""
        raise QueryError(msg)


def _check(column: str, kind: Kind | None, constant: dict[str, Any], *, has_null: bool) -> None:
    """Refuse to compare a column with a constant of another kind."""
    text, of = constant["text"], constant["kind"]
    if of == "NULL_LITERAL" and has_null:
        msg = f"nothing equals NULL; write {column} IS NULL, or {column} IS NOT NULL"
    elif kind == "text" and of in _NUMBERS:
        msg = (
            f"{column} holds text, and {text} is a number; "
            f"write text in single quotes: {column} = '{text}'"
        )
    elif kind == "text" and of == "BOOLEAN":
        msg = f"{column} holds text, and {text} is true or false; write text in single quotes"
    elif kind == "number" and of == "STRING":
        msg = f"{column} holds numbers, and '{text}' is text; write a number without quotes"
    elif kind == "boolean" and of == "STRING":
        msg = (
            f"{column} holds true and false, and '{text}' is text; write {column}, or NOT {column}"
        )
    else:
        return
    raise QueryError(msg)
