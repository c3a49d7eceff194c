"""An option, declared as a field of a record with its documentation below it, and checked."""

from __future__ import annotations

import ast
import difflib
import inspect
import operator
import sys
from dataclasses import dataclass, field, fields, replace
from functools import cache
from itertools import pairwise
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Option",
    "Options",
    "docs_of",
    "one_of",
    "option",
    "options_of",
]

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Option:
    """What an option takes.

    Attributes
    ----------
    name, type, default
        As the record declares them.
    flag
        The name on the command line, where it is not the same with hyphens.
    metavar
        What stands for its value there, where that is special.
    minimum
        The least number that it takes.
    parse
        What makes of a value the one that a record has, or raises `ValueError`.
    """

    name: str = ""
    type: Any = None
    default: Any = None
    flag: str = ""
    metavar: str | None = None
    minimum: int | None = None
    parse: Callable[[Any], Any] | None = None

    @property
    def kinds(self) -> frozenset[Any]:
        """The types, one of which its value has."""
        return frozenset(get_args(self.type) or {self.type})

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that it takes, where they are listed."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    def checked(self, value: Any) -> Any:
        """The value, if it is one that the option takes.

        Raises
        ------
        ValueError
            If it is not.
        """
        if value is None and NoneType in self.kinds:
            return None
        if self.parse is not None:
            return self.parse(value)
        if self.choices:
            return one_of(self.type, self.name, value)
        if bool in self.kinds:
            if value not in (True, False):
                msg = f"{self.name} is {value!r}, but it is True or False"
                raise ValueError(msg)
            return bool(value)
        return self._number(value) if int in self.kinds else value

    def _number(self, value: Any) -> int:
        try:
            number = operator.index(value)
        except TypeError:
            msg = f"{self.name} is {value!r}, but it is a whole number"
            raise ValueError(msg) from None
        if self.minimum is not None and number < self.minimum:
            msg = f"{self.name} is {number}, but it is at least {self.minimum}"
            raise ValueError(msg)
        return number


_PLAIN = Option()


def option(default: _T, *, shown: bool = True, **declared: Any) -> _T:
    """Declare a field of a record with more than its default.

    Parameters
    ----------
    default
        Its value where none is given.
    shown
        Whether its value, which may be secret, stands in the text of the record.
    declared
        As `Option` has it.
    """
    return field(default=default, repr=shown, metadata={"option": Option(**declared)})


def one_of(choices: Any, name: str, value: object) -> Any:
    """The value of an option, if it is one of its choices.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    allowed = get_args(choices)
    if value not in allowed:
        msg = f"{name} is {value!r}, but it is one of {', '.join(allowed)}"
        raise ValueError(msg)
    return value


def options_of(record: type[Options]) -> Mapping[str, Option]:
    """The options of a record, by name."""
    untyped: Any = record  # mypy takes no frozen dataclass for hashable
    return _options_of(untyped)


@cache
def _options_of(record: Any) -> Mapping[str, Option]:
    hints = get_type_hints(record)
    return {
        each.name: replace(
            each.metadata.get("option", _PLAIN),
            name=each.name,
            type=hints[each.name],
            default=each.default,
        )
        for each in fields(record)
    }


def docs_of(record: type[Options]) -> Mapping[str, str]:
    """What the options of a record do: the docstrings below its fields, each as one line."""
    docs: dict[str, str] = {}
    for base in reversed(record.__mro__[:-1]):
        docs |= _docstrings(base.__module__).get(base.__name__, {})
    return docs


@cache
def _docstrings(module: str) -> Mapping[str, Mapping[str, str]]:
    """The docstrings below the fields of each class of a module; none where its source is not."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except OSError:
        return {}
    return {
        each.name: {
            target.id: " ".join(str(text.value).split())
            for one, other in pairwise(each.body)
            if isinstance(one, ast.AnnAssign)
            and isinstance(target := one.target, ast.Name)
            and isinstance(other, ast.Expr)
            and isinstance(text := other.value, ast.Constant)
        }
        for each in tree.body
        if isinstance(each, ast.ClassDef)
    }


@dataclass(frozen=True, kw_only=True)
class Options:
    """A record of options, immutable and checked.

    Raises
    ------
    ValueError
        If an option has a value that it does not take.
    """

    def __post_init__(self) -> None:
        for each in options_of(type(self)).values():
            object.__setattr__(self, each.name, each.checked(getattr(self, each.name)))

    @classmethod
    def from_keywords(cls, verb: str, keywords: Mapping[str, Any]) -> Self:
        """The record that a caller of a verb describes by keywords.

        Raises
        ------
        TypeError
            If the verb has no such option.
        """
        names = options_of(cls)
        for name in keywords:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1, cutoff=0)
                msg = f"{verb}() has no option {name!r}; the nearest is {near[0]!r}"
                raise TypeError(msg)
        return cls(**keywords)

    @classmethod
    def part_of(cls, options: Options) -> Self:
        """Those of a larger record that this record has too."""
        return cls(**{name: getattr(options, name) for name in options_of(cls)})

    def to_json(self) -> dict[str, Any]:
        """As config.json has it."""
        values = {name: getattr(self, name) for name in options_of(type(self))}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """As `to_json` wrote it; what is absent has its default.

        Raises
        ------
        TypeError, ValueError
            If it has an option, or a value of one, of another release.
        """
        return cls(**data)
