"""Warnings and refusals about several inputs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from slaf.annotations.concat_columns import columns_not_in_all
from slaf.errors import MissingMatrix
from slaf.format.schema import RAW
from slaf.options import COLUMNS, LAYER

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from slaf.options import SlotSelection
    from slaf.sources.concat.members import Member

__all__ = ["check_known_slots", "check_same_slots", "not_converted", "notes"]


def not_converted(members: Sequence[Member]) -> tuple[str, ...]:
    """The content of inputs that a conversion leaves out, and the genes left out, in words."""
    added = [member for member in members if not member.is_existing]
    counts = Counter(what for member in added for what in member.info.not_converted)
    left = [what if n == len(added) else f"{what} (of {n:,} inputs)" for what, n in counts.items()]
    dropped = np.array([member.gene_map.n_dropped for member in members])
    if dropped.any():
        n = np.count_nonzero(dropped)
        left.append(f"genes that not all inputs have: up to {dropped.max():,} of {n:,} inputs")
    return tuple(left)


def notes(
    members: Sequence[Member],
    *,
    repeated: int,
    differing: Sequence[str],
    differing_columns: Sequence[str],
    computed: Container[str] = (),
) -> tuple[str, ...]:
    """What a user should know of several inputs, in words.

    Parameters
    ----------
    members
        The inputs.
    repeated
        The number of cells with the id of another.
    differing
        The elements that differ between inputs.
    differing_columns
        The columns of var that differ between inputs.
    computed
        The columns that are computed anew, as "obs:NAME".
    """
    messages = []
    if repeated:
        prefixed = any(member.record.prefix for member in members)
        remedy = "" if prefixed else ", and --cell-id-prefix makes them unique"
        messages.append(
            f"{repeated:,} cell ids occur more than once: `source_file` tells them apart{remedy}"
        )
    absent_columns = [
        name
        for name in columns_not_in_all([member.cells for member in members])
        if f"obs:{name}" not in computed
    ]
    lists = (
        ("slots that some inputs lack have missing values there", _not_in_all(members)),
        ("elements differ between inputs, that of the first is kept", differing),
        ("columns of obs that some inputs lack are missing values there", absent_columns),
        ("columns of var differ between inputs, the first value is kept", differing_columns),
    )
    return (*messages, *(f"{title}: {', '.join(names)}" for title, names in lists if names))


def check_known_slots(
    members: Sequence[Member], layers: Iterable[str], without: Iterable[str]
) -> None:
    """Refuse a choice of layers, or of slots to leave out, that no input has.

    Parameters
    ----------
    members
        The inputs.
    layers, without
        The names to take, and to leave out.

    Raises
    ------
    MissingMatrix
        Naming it, and what there is.
    """
    available = list(dict.fromkeys(name for member in members for name in member.available))
    known = [name.partition(":")[2] for name in available if name.startswith(f"{LAYER}:")]
    for name in layers:
        if name not in known:
            names = ", ".join(known) or "none at all"
            msg = f"there is no layer {name!r}; choose with --layers: {names}"
            raise MissingMatrix(msg)
    for name in without:
        slot, _, key = name.partition(":")
        columns = [each for member in members for each in member.columns if slot in COLUMNS]
        known_names = dict.fromkeys(columns if slot in COLUMNS else available)
        if key and slot != "uns" and name not in known_names:
            names = ", ".join(known_names) or "nothing"
            msg = f"there is no {name} to leave out; there is {names}"
            raise MissingMatrix(msg)


def check_same_slots(
    members: Sequence[Member], selection: SlotSelection, annotated: Container[str] = ()
) -> None:
    """Refuse inputs if one lacks what another has, and the selection is strict.

    Raises
    ------
    MissingMatrix
        Naming both, and what it is.
    """
    for name in _not_in_all(members) if selection.is_strict else ():
        if name in annotated:
            continue
        has, lacks = (
            next(member.label for member in members if (name in member.selected) is wanted)
            for wanted in (True, False)
        )
        msg = (
            f"{lacks} has no {name}, which {has} has; make them alike, leave it out with "
            f"--without {name}, or take --layers all for missing values there"
        )
        raise MissingMatrix(msg)


def _not_in_all(members: Sequence[Member]) -> list[str]:
    """The layers, raw, and elements of obsm and obsp that some inputs have and others lack."""
    names = dict.fromkeys(name for member in members for name in member.selected)
    kinds = (LAYER, RAW, "obsm", "obsp")
    return [
        name
        for name in names
        if name.partition(":")[0] in kinds
        and not all(name in member.selected for member in members)
    ]
