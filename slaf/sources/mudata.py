"""MuData: one modality of an h5mu file or a zarr store, as an AnnData."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from slaf.errors import MissingMatrix
from slaf.sources.anndata.h5ad import Hdf5Groups
from slaf.sources.anndata.stored import StoredAnnData
from slaf.sources.anndata.zarr import ZarrGroups, top_names
from slaf.sources.base import SourceFormat, choices
from slaf.sources.hdf5.file import decode_text, is_hdf5, recognise
from slaf.sources.slots import in_words

if TYPE_CHECKING:
    from pathlib import Path

    from slaf.options import ReadOptions
    from slaf.sources.anndata.groups import Groups

__all__ = ["FORMAT"]

_DEFAULT_MODALITY = "rna"

# The members of the file with elements of all modalities together.
_TABLES = ("obs", "var")
_SLOTS = ("obsm", "varm", "obsp", "varp", "uns")
_MEMBERS = frozenset({"mod", "obsmap", "varmap", *_TABLES, *_SLOTS})


def _recognises(path: Path) -> bool:
    names = top_names(path)
    if names:
        return "mod" in names
    return recognise(path, matches=lambda file: "mod" in file)


def _open(path: Path, options: ReadOptions) -> StoredAnnData:
    groups: Groups = Hdf5Groups(path) if is_hdf5(path) else ZarrGroups(path)
    with ExitStack() as closing, groups.errors(groups.uri):
        closing.callback(groups.close)
        names = groups.keys("mod")
        name = _chosen(names, options.modality, groups.uri)
        others = (
            *(f"modality {other}" for other in names if other != name),
            *_of_all_modalities(groups, names),
        )
        modality = groups.within(f"mod/{name}")
        closing.pop_all()
    return StoredAnnData(modality, options, "mudata", others)


def _chosen(names: list[str], modality: str | None, uri: str) -> str:
    """The modality of this name; by default rna, or the only one.

    Raises
    ------
    MissingMatrix
        If there is none; the error lists the names.
    """
    name = modality or (names[0] if len(names) == 1 else _DEFAULT_MODALITY)
    if name not in names:
        msg = f"{uri}: there is no modality {name!r}; {choices('--modality', names)}"
        raise MissingMatrix(msg)
    return name


def _of_all_modalities(groups: Groups, modalities: list[str]) -> list[str]:
    """The elements of the MuData itself, in words."""
    found: list[str] = []
    for table in _TABLES:
        index = (
            decode_text(groups.attribute(table, "_index", "_index")) if groups.has(table) else ""
        )
        columns = [name for name in groups.keys(table) if name not in {index, "__categories"}]
        found += in_words(f"columns of {table} of the MuData", _own(columns, modalities))
    for slot in _SLOTS:
        found += in_words(f"{slot} of the MuData", _own(groups.keys(slot), modalities))
    others = [name for name in groups.keys("") if name not in _MEMBERS]
    return found + in_words("others of the MuData", others)


def _own(names: list[str], modalities: list[str]) -> list[str]:
    """The names without those that MuData makes from modalities: ``rna:total_counts``, ``rna``."""
    return [name for name in names if name.partition(":")[0] not in modalities]


FORMAT = SourceFormat(
    name="mudata",
    description="MuData (.h5mu, or on zarr)",
    recognises=_recognises,
    open=_open,
    looks_for="an HDF5 file or a zarr group with mod",
    choices=frozenset({"modality"}),
    suffixes=(".h5mu",),
)
