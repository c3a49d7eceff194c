"""Refuse files of reads with different contigs, or of one name."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, TypeAlias

from slaf.errors import DuplicateInput, GeneMismatch, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

__all__ = ["check_same_contigs"]

_Contigs: TypeAlias = "tuple[tuple[str, int], ...] | None"
# The label of an input, its contigs (None for one without reads), and its cell ids.
_Sample: TypeAlias = "tuple[str, _Contigs, pa.ChunkedArray]"


def check_same_contigs(inputs: Sequence[_Sample]) -> None:
    """Refuse files of reads with other contigs, of one name, or with inputs that are no reads.

    Parameters
    ----------
    inputs
        The label of each, the names and lengths of its contigs (None for an input without reads),
        and its cell ids.

    Raises
    ------
    GeneMismatch
        If the contigs differ; the error names the first that does.
    DuplicateInput
        If two samples have one name.
    InputError
        If some inputs have coverage, and others none.
    """
    (first, expected, _), *_ = inputs
    names: dict[str, str] = {}
    for label, contigs, ids in inputs:
        if (contigs is None) != (expected is None):
            without, other = (label, first) if contigs is None else (first, label)
            msg = (
                f"{without} has no coverage, and {other} has: convert files of reads by themselves"
            )
            raise InputError(msg)
        if contigs is not None and contigs != expected:
            raise _refusal(first, expected or (), label, contigs)
        for name in () if contigs is None else ids.to_pylist():
            if name in names:
                msg = (
                    f"{label}: its sample is called {name!r}, as is that of {names[name]}; rename "
                    "the file, or tell them apart with --cell-id-prefix"
                )
                raise DuplicateInput(msg)
            names[name] = label


def _refusal(
    first: str,
    expected: Sequence[tuple[str, int]],
    label: str,
    found: Sequence[tuple[str, int]],
) -> GeneMismatch:
    pairs = enumerate(zip_longest(expected, found))
    at, (one, other) = next((at, pair) for at, pair in pairs if pair[0] != pair[1])
    return GeneMismatch(
        f"{label}: its contigs are not those of {first}: contig {at + 1} is {_in_words(other)}, "
        f"and there {_in_words(one)}; convert it by itself, choose contigs with --chroms, or align "
        "its reads to the same reference"
    )


def _in_words(contig: tuple[str, int] | None) -> str:
    return "none" if contig is None else f"{contig[0]} of {contig[1]:,} bases"
