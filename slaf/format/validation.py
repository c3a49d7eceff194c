"""The rules of config.json that are kept by the kinds of its values, whoever edited it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xxhash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CHECKSUM_KEY", "check_offsets", "checksum_error", "validate", "with_checksum"]

_MOST = 2**63
_GENES = ("strict", "union", "intersection")
_MERGES = ("same", "unique", "first", "only")
_LEFT_OUT = ("layer", "raw", "raw_varm", "obsm", "varm", "obsp", "varp", "uns")
_TAKEN = "an object that says which layers, and whether raw, were asked for; or null"
_DIGEST = re.compile(r"[0-9a-f]{32}")
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")

# What a dataset says that has no rows in the order of genes.
_NO_GENES: dict[str, Any] = {"fingerprint": "0" * 16, "blocks": []}

# A table is a folder beside config.json, or in the one that holds what was written anew of an
# older dataset: a stranger's file leads nowhere else.
_FOLDER = re.compile(r"(adopted/)?[^/\\\0]*[^/\\\0.][^/\\\0]*")


def validate(data: dict[str, Any]) -> None:
    """Check that each value of a published config.json is of the kind that it must be.

    Raises
    ------
    ValueError
        Naming the key, its value and the rule that it breaks.
    """
    for key, value, rule, keeps in _values(data):
        if not keeps(value):
            msg = f"{key} is {str(value)[:60]!r}, but must be {rule}"
            raise ValueError(msg)


def check_offsets(data: dict[str, Any]) -> None:
    """Check that the cells of the sources follow each other, and are all there are.

    Raises
    ------
    ValueError
        Naming the source that does not begin where the one before it ends.
    """
    cells = 0
    for at, source in enumerate(data["sources"]):
        if source["offset"] != cells:
            msg = f"sources[{at}].offset is {source['offset']}, but {cells} cells come before it"
            raise ValueError(msg)
        cells += source["n_cells"]
    if cells != data["n_cells"]:
        msg = f"n_cells is {data['n_cells']}, but the sources have {cells} cells"
        raise ValueError(msg)


def _values(data: dict[str, Any]) -> Iterator[tuple[str, Any, str, Callable[[Any], bool]]]:
    """Each value with its place, the rule, and whether it is kept."""
    for key in ("n_cells", "n_genes"):
        yield key, data[key], "a whole number from 0", _is_count
    yield "dtype", data["dtype"], "a type of numbers", _is_numeric
    for name, folder in data["tables"].items():
        yield f"tables.{name}", folder, "the name of a folder", _is_folder
    for name, version in data["versions"].items():
        yield f"versions.{name}", version, "a whole number from 1", _is_version
    for key, flag in data["optimizations"].items():
        yield f"optimizations.{key}", flag, "true or false", _is_flag
    metadata = data["metadata"]
    count = metadata["expression_count"]
    yield "metadata.expression_count", count, "a whole number from 0", _is_count
    for key, number in metadata["expression_stats"].items():
        yield f"metadata.expression_stats.{key}", number, "a number or null", _is_number_or_null
    for table, columns in data["columns"].items():
        yield from _of_columns(f"columns.{table}", columns)
    for at, source in enumerate(data["sources"]):
        yield from _of_source(f"sources[{at}]", source)
    yield "taken", data.get("taken"), _TAKEN, _is_taken
    one_each = f"a list of {len(data['sources'])}, one for each source"
    unses = data.get("unses") or [None] * len(data["sources"])
    yield "unses", unses, one_each, lambda found: _is_as_long(found, data["sources"])
    for at, block in enumerate(data["blocks"]):
        yield from _of_block(f"blocks[{at}]", block, "cells")
    by_gene = data.get("by_gene", _NO_GENES)
    yield "by_gene", by_gene, "an object", _is_object
    fingerprint = by_gene["fingerprint"]
    yield "by_gene.fingerprint", fingerprint, "16 hexadecimal digits", _is_fingerprint
    for at, block in enumerate(by_gene["blocks"]):
        yield from _of_block(f"by_gene.blocks[{at}]", block, "genes")


def _of_columns(
    place: str, columns: dict[str, Any]
) -> Iterator[tuple[str, Any, str, Callable[[Any], bool]]]:
    yield f"{place}.index_name", columns["index_name"], "text or null", _is_text_or_null
    for at, column in enumerate(columns["columns"]):
        here = f"{place}.columns[{at}]"
        for key in ("name", "dtype"):
            yield f"{here}.{key}", column[key], "text", _is_text
        for key in ("original", "categories", "missing"):
            yield f"{here}.{key}", column.get(key), "text or null", _is_text_or_null
        yield f"{here}.ordered", column.get("ordered", False), "true or false", _is_flag
        yield f"{here}.values", column.get("values"), "a list or null", _is_list_or_null


def _of_source(
    place: str, source: dict[str, Any]
) -> Iterator[tuple[str, Any, str, Callable[[Any], bool]]]:
    for key in ("uri", "format", "matrix"):
        yield f"{place}.{key}", source[key], "text", _is_text
    yield f"{place}.dtype", source["dtype"], "a type of numbers", _is_numeric
    for key in ("n_cells", "n_genes", "offset"):
        yield f"{place}.{key}", source[key], "a whole number from 0", _is_count
    for key in ("identity", "choice"):
        yield f"{place}.{key}", source[key], "an object", _is_object
    yield f"{place}.prefix", source.get("prefix", ""), "text", _is_text
    yield f"{place}.holds", source.get("holds"), "a list of names or null", _is_names_or_null
    yield f"{place}.taken", source.get("taken"), _TAKEN, _is_taken
    yield f"{place}.genes", source.get("genes", "strict"), f"one of {_GENES}", _GENES.__contains__
    for run in source.get("measured", []):
        yield f"{place}.measured", run, "ranges [start, stop] of genes", _is_range


def _of_block(
    place: str, block: dict[str, Any], axis: str
) -> Iterator[tuple[str, Any, str, Callable[[Any], bool]]]:
    start, stop = block[axis]
    yield f"{place}.{axis}", start, "whole numbers from 0", _is_count
    yield f"{place}.{axis}", stop, "whole numbers from 0", _is_count
    yield f"{place}.rows", block["rows"], "a whole number from 0", _is_count
    yield f"{place}.digest", block["digest"], "32 hexadecimal digits", _is_digest


def _is_count(value: Any) -> bool:
    # To Python true is the number 1.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def _is_range(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2  # noqa: PLR2004 - its start and its stop
        and all(map(_is_count, value))
        and value[0] < value[1]
    )


def _is_version(value: Any) -> bool:
    return _is_count(value) and value > 0


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number_or_null(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_null(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_list_or_null(value: Any) -> bool:
    return value is None or isinstance(value, list)


def _is_names_or_null(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_text, value)))


def _is_as_long(value: Any, other: list[Any]) -> bool:
    return isinstance(value, list) and len(value) == len(other)


def _is_taken(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict):
        return False
    layers, without = value.get("layers"), value.get("without", [])
    return (
        (_is_text(layers) or (layers is not None and _is_names_or_null(layers)))
        and _is_flag(value.get("raw"))
        and isinstance(without, list)
        and all(_is_text(name) and name.partition(":")[0] in _LEFT_OUT for name in without)
        and value.get("uns_merge", "unique") in _MERGES
    )


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_folder(value: Any) -> bool:
    return isinstance(value, str) and _FOLDER.fullmatch(value) is not None


def _is_numeric(value: Any) -> bool:
    try:
        return isinstance(value, str) and np.dtype(value).kind in "biuf"
    except TypeError:
        return False


def _is_fingerprint(value: Any) -> bool:
    return isinstance(value, str) and _FINGERPRINT.fullmatch(value) is not None


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


CHECKSUM_KEY: Final = "digest"
_BLANK: Final = b'"%s"' % (b"0" * 32)


def with_checksum(data: dict[str, Any], *, indent: int | None = None) -> bytes:
    """An object in JSON whose last key is the digest of it all, taken with zeros in its place."""
    blank = data | {CHECKSUM_KEY: json.loads(_BLANK)}
    raw = json.dumps(blank, indent=indent, ensure_ascii=False).encode()
    head, _, tail = raw.rpartition(_BLANK)
    return head + json.dumps(_digest(raw)).encode() + tail


def checksum_error(raw: bytes, data: dict[str, Any]) -> str | None:
    """In words, in what a file is not as it was sealed; None if it is, or has no seal.

    Parameters
    ----------
    raw
        The bytes of the file.
    data
        The object they hold.
    """
    if CHECKSUM_KEY not in data:
        return None
    told = data[CHECKSUM_KEY]
    # Blanks behind the object say nothing: in a bucket whoever takes the lock leaves some there.
    head, _, tail = raw.rstrip().rpartition(json.dumps(told).encode())
    found = _digest(head + _BLANK + tail)
    return None if found == told else f"its {CHECKSUM_KEY} is {found}, where it says {told}"


def _digest(raw: bytes) -> str:
    return str(xxhash.xxh3_128_hexdigest(raw))
