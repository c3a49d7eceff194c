"""The uns of several inputs, as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slaf.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slaf.sources.base import Source
    from slaf.sources.members import Member
    from slaf.sources.taking import Taking, UnsMerge

__all__ = ["merged", "uns_of"]


def uns_of(member: Member, taking: Taking) -> Mapping[str, Any]:
    """The uns of an input, as far as it is taken."""
    uns = member.ask(_uns) if "uns" in member.holds else {}
    return {key: uns[key] for key in uns if taking.takes(f"uns:{key}")}


def merged(unses: Sequence[Mapping[str, Any]], how: UnsMerge) -> Mapping[str, Any]:
    """One uns of several, as `anndata.concat` merges them; that of the only one as it is.

    Raises
    ------
    InputError
        If they cannot be compared.
    """
    if len(unses) == 1:
        return unses[0]
    if not any(unses):
        return {}
    import anndata
    import pandas as pd

    held = [anndata.AnnData(obs=pd.DataFrame(index=["0"]), uns=dict(uns)) for uns in unses]
    try:
        return dict(anndata.concat(held, uns_merge=str(how), index_unique="-").uns)
    except (TypeError, ValueError, AttributeError) as error:
        msg = f"uns of the inputs cannot be compared ({error}); leave it out with --without uns"
        raise InputError(msg) from error


def _uns(source: Source) -> Mapping[str, Any]:
    uns = source.slots().uns
    return {key: uns[key] for key in uns}
