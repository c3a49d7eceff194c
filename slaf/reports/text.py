"""Text and numbers as they are shown on a page: escaped, on one line, and not too long."""

from __future__ import annotations

from html import escape
from itertools import accumulate

__all__ = ["NAME", "SENTENCE", "number", "power_of_ten", "shown", "size"]

# Characters that are shown of a name, and of a sentence or a path.
NAME, SENTENCE = 40, 120

_STEP = 1000
_MOST_EXACT = 1 << 53
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def shown(text: str, length: int = NAME) -> str:
    """A text for HTML; its middle is left out if it is longer than `length` characters.

    It has at most twice as many bytes. Control characters, and those that turn the direction of a
    text, are shown as escapes.
    """
    if len(text) <= length:
        pieces = [_escaped(c) for c in text]
        if len("".join(pieces).encode()) <= 2 * length:
            return "".join(pieces)
    half = length // 2
    head = _first([_escaped(c) for c in text[:half]], length)
    tail = _first([_escaped(c) for c in reversed(text[-half + 1 :])], length)
    return f"{''.join(head)}…{''.join(reversed(tail))}"


def _first(pieces: list[str], n_bytes: int) -> list[str]:
    """The first pieces, that have no more than so many bytes."""
    ends = accumulate(len(piece.encode()) for piece in pieces)
    return [piece for piece, end in zip(pieces, ends, strict=True) if end < n_bytes - 1]


def _escaped(c: str) -> str:
    return escape(c if c.isprintable() else repr(c)[1:-1], quote=False)


def number(value: float | None) -> str:
    """A number with at most four digits behind the first, and the thousands apart."""
    if value is None:
        return "unknown"
    if float(value).is_integer() and abs(value) < _MOST_EXACT:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= _STEP else f"{value:.4g}"


def size(n_bytes: int) -> str:
    """A number of bytes in a unit."""
    value, at = float(n_bytes), 0
    while value >= _STEP and at < len(_UNITS) - 1:
        value, at = value / _STEP, at + 1
    return f"{value:.3g} {_UNITS[at]}" if at else f"{n_bytes} bytes"


# Powers of ten that are written out.
_WRITTEN_OUT = range(-2, 4)
_LETTERS = {4: "10k", 5: "100k", 6: "1M", 7: "10M", 8: "100M"}


def power_of_ten(power: int) -> str:
    """The label of a power of ten on an axis."""
    written_out = number(10.0**power) if power in _WRITTEN_OUT else f"1e{power}"
    return _LETTERS.get(power, written_out)
