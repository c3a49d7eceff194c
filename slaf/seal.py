"""The digest that config.json has of itself.

It stands against accidents, as those of the other files do: a bit that flipped, a hand that
slipped, a program that put something else there. Who can write the file can write the digest too:
it is no signature.
"""

from __future__ import annotations

import json
from typing import Any, Final

import xxhash

__all__ = ["SEAL", "broken_seal", "sealed"]

SEAL: Final = "digest"
_BLANK: Final = b'"%s"' % (b"0" * 32)


def sealed(data: dict[str, Any], *, indent: int | None = None) -> bytes:
    """An object in JSON whose last key is the digest of it all, taken with zeros in its place."""
    blank = data | {SEAL: json.loads(_BLANK)}
    raw = json.dumps(blank, indent=indent, ensure_ascii=False).encode()
    head, _, tail = raw.rpartition(_BLANK)
    return head + json.dumps(_digest(raw)).encode() + tail


def broken_seal(raw: bytes, data: dict[str, Any]) -> str | None:
    """In words, in what a file is not as it was sealed; None if it is, or has no seal.

    Parameters
    ----------
    raw
        The bytes of the file.
    data
        The object they hold.
    """
    if SEAL not in data:
        return None
    told = data[SEAL]
    # Blanks behind the object say nothing: in a bucket whoever takes the lock leaves some there.
    head, _, tail = raw.rstrip().rpartition(json.dumps(told).encode())
    found = _digest(head + _BLANK + tail)
    return None if found == told else f"its {SEAL} is {found}, where it says {told}"


def _digest(raw: bytes) -> str:
    return str(xxhash.xxh3_128_hexdigest(raw))
