"""Figures of a benchmark, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

__all__ = ["Row", "report", "seconds", "size"]

Row = Mapping[str, str | int | float]

_MEGABYTE = 1 << 20


def report(rows: Sequence[Row], *, as_json: bool) -> None:
    """Print rows with the same columns."""
    print(json.dumps(rows, indent=1) if as_json else _table(rows))


def seconds(value: float) -> float:
    """Seconds, rounded to milliseconds."""
    return round(value, 3)


def size(n_bytes: float) -> float:
    """MiB, from bytes."""
    return round(n_bytes / _MEGABYTE, 1)


def _table(rows: Sequence[Row]) -> str:
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numeric = [not isinstance(value, str) for value in rows[0].values()]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        for line in lines
    )
