"""Kinds of values in config.json, errors that name the key, and the checksum of the file."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from typing import Annotated, Any, Final, Self, TypeVar

import msgspec
import xxhash
from msgspec import Meta

__all__ = [
    "CHECKSUM_KEY",
    "Count",
    "Digest",
    "NumericType",
    "Range",
    "Record",
    "Version",
    "checksum_error",
    "matching",
    "validate",
    "with_checksum",
]

JSON = dict[str, Any]
T = TypeVar("T")

_KINDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
_PATTERNS: Final[dict[str, str]] = {}


def matching(pattern: str, words: str) -> Meta:
    """The constraint that a whole text matches a pattern, and its words for errors."""
    whole = rf"\A(?:{pattern})\Z"
    _PATTERNS[f"text matching regex {whole!r}"] = words
    return Meta(pattern=whole)


_MOST: Final = 2**63 - 1
Count = Annotated[int, Meta(ge=0, le=_MOST)]
Version = Annotated[int, Meta(ge=1, le=_MOST)]
Range = tuple[Count, Count]
Digest = Annotated[str, matching("[0-9a-f]{32}", "32 hexadecimal digits")]
_NUMBERS: Final = r"[<>=|]?(bool|u?int(8|16|32|64)|float(16|32|64|128)|b1|[iu][1248]|f([248]|16))"
NumericType = Annotated[str, matching(_NUMBERS, "a type of numbers")]


class Record(msgspec.Struct, frozen=True, gc=False):
    """An immutable value that is an object of JSON on disk; keys that it lacks are ignored."""

    def to_json(self) -> JSON:
        """The object of JSON."""
        data: JSON = msgspec.to_builtins(self)
        return data

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The record that `to_json` wrote.

        Raises
        ------
        ValueError
            Naming the key that is missing or has a value of another kind.
        """
        return validate(data, cls)


def validate(value: Any, kind: type[T]) -> T:
    """A value of JSON as a record of this type.

    Raises
    ------
    ValueError
        Naming the key, its value and the kind that it must be of.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message = _explain(str(error), deepcopy(value), kind)
        raise ValueError(message) from error


def _explain(error: str, root: Any, kind: type[Any]) -> str:
    """The error of msgspec in plain words, with the place and the value there."""
    reason, _, path = error.partition(" - at `$")
    place, value = _locate(error, path.rstrip("`"), root, kind)
    if missing := re.fullmatch("Object missing required field `(.*)`", reason):
        return f"key {missing[1]!r} is missing" + (place and f" in {place}")
    if reason.startswith("Invalid enum value"):
        return f"{place} is {str(value)[:60]!r}, which is none of its values"
    rule = re.fullmatch(r"Expected (.*?)(?:, got [^']*)?", reason, re.DOTALL)
    if rule is None:
        reason = reason.replace("Object contains unknown field", "unknown key").replace("`", "'")
        return f"{place or 'it'}: {reason}"
    words = re.sub(
        "`(.*?)`", lambda m: " or ".join(_KINDS.get(k, k) for k in m[1].split(" | ")), rule[1]
    )
    words = words.replace(" >= ", " from ").replace(" <= ", " up to ")
    return f"{place or 'it'} is {str(value)[:60]!r}, but must be {_PATTERNS.get(words, words)}"


def _locate(error: str, path: str, root: Any, kind: type[Any]) -> tuple[str, Any]:
    """The place that a path of msgspec leads to, and the value there; changes the root."""
    place, value = "", root
    for name, index, entry in re.findall(r"\.(\w+)|\[(\d+)\]|\[(\.\.\.)\]", path):
        key = int(index) if index else _faulty(error, value, root, kind) if entry else name
        place += f"[{key}]" if index else f".{key}"
        value = value[key]
    return place.removeprefix("."), value


def _faulty(error: str, entries: JSON, root: Any, kind: type[Any]) -> str:
    """The key of a mapping, which msgspec does not name, with which alone the error is the same."""
    for key, value in list(entries.items()):
        entries.clear()
        entries[key] = value
        try:
            msgspec.convert(root, kind)
        except msgspec.ValidationError as other:
            if str(other) == error:
                return key
    return "…"


CHECKSUM_KEY: Final = "digest"
_BLANK: Final = b'"%s"' % (b"0" * 32)


def with_checksum(data: JSON, *, indent: int | None = None) -> bytes:
    """An object in JSON whose last key is the digest of it all, taken with zeros in its place."""
    blank = data | {CHECKSUM_KEY: json.loads(_BLANK)}
    raw = json.dumps(blank, indent=indent, ensure_ascii=False).encode()
    head, _, tail = raw.rpartition(_BLANK)
    return head + json.dumps(_digest(raw)).encode() + tail


def checksum_error(raw: bytes, data: JSON) -> str | None:
    """How a file differs from what was written, in words; None if it does not, or has no digest.

    Parameters
    ----------
    raw
        The bytes of the file.
    data
        The object they hold.
    """
    if CHECKSUM_KEY not in data:
        return None
    recorded = data[CHECKSUM_KEY]
    # Blanks behind the object mean nothing: the lock of a bucket leaves some there.
    head, _, tail = raw.rstrip().rpartition(json.dumps(recorded).encode())
    digest = _digest(head + _BLANK + tail)
    if digest == recorded:
        return None
    return f"its {CHECKSUM_KEY} is {digest}, where it says {recorded}"


def _digest(raw: bytes) -> str:
    return str(xxhash.xxh3_128_hexdigest(raw))
