"""What config.json says of itself is found again, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from slaf.format.validation import CHECKSUM_KEY, checksum_error, with_checksum

KEYS = st.text(max_size=8).filter(lambda key: key != CHECKSUM_KEY)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=6)


@given(data=OBJECTS, indent=st.sampled_from([None, 1]))
def test_nothing_but_a_key_more(data: dict[str, Any], indent: int | None) -> None:
    """What is sealed is the object, and is as it was sealed."""
    raw = with_checksum(data, indent=indent)
    found = json.loads(raw)
    assert checksum_error(raw, found) is None
    assert list(found)[-1] == CHECKSUM_KEY
    del found[CHECKSUM_KEY]
    assert found == data


@given(data=OBJECTS, blanks=st.text(" \t\r\n"))
def test_blanks_behind_it(data: dict[str, Any], blanks: str) -> None:
    """What takes the lock of a bucket puts blanks behind the object, which change nothing."""
    raw = with_checksum(data) + blanks.encode()
    assert checksum_error(raw, json.loads(raw)) is None


@given(data=OBJECTS, at=st.integers(0), bit=st.integers(0, 7))
def test_a_flipped_bit(data: dict[str, Any], at: int, bit: int) -> None:
    """One that leaves the object readable, and the key there, is found."""
    raw = with_checksum(data)
    at %= len(raw)
    damaged = raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]
    try:
        found = json.loads(damaged)
    except ValueError:
        return
    assert CHECKSUM_KEY not in found or checksum_error(damaged, found)


def test_as_anybody_takes_it() -> None:
    """The digest is that of the bytes with zeros in its place, as docs/format.md says."""
    raw = with_checksum({"zeros": "0" * 32, "name": "Lgr5⁺"})
    told = json.loads(raw)[CHECKSUM_KEY]
    assert told == xxhash.xxh3_128_hexdigest(raw.replace(told.encode(), b"0" * 32))


def test_of_an_earlier_release() -> None:
    """The bytes that an earlier release wrote, indented or not, have the digest that it gave."""
    for raw in (
        b'{"a": "\xc3\xbc", "b": [1.0, NaN], "digest": "a42d02037fd6e743052c7a14f9924664"}',
        b'{\n "a": "\xc3\xbc",\n "digest": "4a4790302a70619e6928cc1ecd8faf6f"\n}',
    ):
        data = json.loads(raw)
        assert checksum_error(raw, data) is None
        del data[CHECKSUM_KEY]
        assert with_checksum(data, indent=1 if b"\n" in raw else None) == raw


@pytest.mark.parametrize("told", [None, "", "x", 1, [], "0" * 32])
def test_no_digest(told: Any) -> None:
    """What is in its place and is none is found."""
    raw = json.dumps({"a": 1, CHECKSUM_KEY: told}).encode()
    assert checksum_error(raw, {"a": 1, CHECKSUM_KEY: told})


def test_without() -> None:
    """Without the key there is nothing to hold it against."""
    assert checksum_error(b'{"a": 1}', {"a": 1}) is None
