"""What is told of inputs that are brought together, in words or by refusing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slaf.annotations.concat_columns import columns_not_in_all
from slaf.errors import MissingMatrix
from slaf.format.schema import RAW
from slaf.options import LAYER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slaf.options import SlotSelection
    from slaf.sources.concat.members import Member

__all__ = ["check_known_slots", "check_same_slots", "not_converted", "notes"]


def not_converted(members: Sequence[Member]) -> tuple[str, ...]:
    """What inputs hold and a conversion does not take, and the genes that are left out."""
    added = [member for member in members if not member.stays]
    found: dict[str, int] = {}
    for member in added:
        for what in member.left_behind:
            found[what] = found.get(what, 0) + 1
    said = [what if n == len(added) else f"{what} (of {n:,} inputs)" for what, n in found.items()]
    dropped = np.array([np.count_nonzero(member.positions < 0) for member in members])
    if dropped.any():
        n = np.count_nonzero(dropped)
        said.append(f"genes that not all inputs have: up to {dropped.max():,} of {n:,} inputs")
    return tuple(said)


def notes(
    members: Sequence[Member],
    *,
    repeated: int,
    differing: Sequence[str],
    disagreeing: Sequence[str],
) -> tuple[str, ...]:
    """What a user should know of inputs that were brought together, in words.

    Parameters
    ----------
    members
        The inputs.
    repeated
        Cells that have the id of another.
    differing
        The elements of which inputs hold different ones.
    disagreeing
        The columns of var of which inputs hold different values.
    """
    found = []
    if repeated:
        prefixed = any(member.record.prefix for member in members)
        remedy = "" if prefixed else ", and --cell-id-prefix makes them unique"
        found.append(
            f"{repeated:,} cell ids occur more than once: `source_file` tells them apart{remedy}"
        )
    beside = _absent_beside(members)
    if beside:
        found.append(
            "beside the matrix, what some inputs lack is missing there: " + ", ".join(beside)
        )
    if differing:
        found.append(
            "of what inputs hold different ones, that of the first is kept: " + ", ".join(differing)
        )
    absent = columns_not_in_all([member.cells for member in members])
    if absent:
        found.append(
            "columns of obs that some inputs lack are missing values there: " + ", ".join(absent)
        )
    if disagreeing:
        found.append(
            "columns of var of which inputs hold different values, of which the first is "
            f"kept: {', '.join(disagreeing)}"
        )
    return tuple(found)


def check_known_slots(
    members: Sequence[Member], layers: Iterable[str], without: Iterable[str]
) -> None:
    """Refuse a choice of layers, or of what to leave out, that none of the inputs has.

    Parameters
    ----------
    members
        The inputs.
    layers, without
        What is taken, and left out, by a name that was given now.

    Raises
    ------
    MissingMatrix
        Naming it, and what there is.
    """
    there = list(dict.fromkeys(name for member in members for name in member.offers))
    known = [name.partition(":")[2] for name in there if name.startswith(f"{LAYER}:")]
    for name in layers:
        if name not in known:
            have = ", ".join(known) or "none at all"
            msg = f"there is no layer {name!r} beside the matrix; choose with --layers: {have}"
            raise MissingMatrix(msg)
    for name in without:
        slot, _, key = name.partition(":")
        if key and slot != "uns" and name not in there:
            have = ", ".join(there) or "nothing"
            msg = f"there is no {name} to leave out; beside the matrix there is {have}"
            raise MissingMatrix(msg)


def check_same_slots(members: Sequence[Member], taking: SlotSelection) -> None:
    """Refuse inputs of which one lacks what another has, where that is asked for.

    Raises
    ------
    MissingMatrix
        Naming both, and what it is.
    """
    lacking = _absent_beside(members) if taking.is_strict else []
    if lacking:
        name = lacking[0]
        has, lacks = (
            next(member.place for member in members if (name in member.holds) is there)
            for there in (True, False)
        )
        msg = (
            f"{lacks} has no {name}, which {has} has; make them alike, leave it out with "
            f"--without {name}, or take --layers all for missing values there"
        )
        raise MissingMatrix(msg)


def _absent_beside(members: Sequence[Member]) -> list[str]:
    """What some inputs have beside their matrix, and others have not."""
    names = dict.fromkeys(name for member in members for name in member.holds)
    kinds = (LAYER, RAW, "obsm", "obsp")
    return [
        name
        for name in names
        if name.partition(":")[0] in kinds and not all(name in member.holds for member in members)
    ]
