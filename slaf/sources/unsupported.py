"""Formats that are refused by name, with a remedy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from slaf.errors import DamagedInput, StorageError, UnknownFormat
from slaf.sources.hdf5.file import recognise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

__all__ = ["UNSUPPORTED", "UnsupportedInput", "check_known_otherwise", "is_dataset"]


@dataclass(frozen=True, slots=True)
class UnsupportedInput:
    """A format that is not read.

    Attributes
    ----------
    name
        Its name for people.
    recognises
        Whether a path is of this format.
    remedy
        What to do instead.
    """

    name: str
    recognises: Callable[[Path], bool]
    remedy: str


def _has_members(*layouts: AbstractSet[str]) -> Callable[[Path], bool]:
    """Recognise an HDF5 file by its members: all of one of the layouts."""
    return partial(recognise, matches=lambda file: any(layout <= set(file) for layout in layouts))


def is_dataset(path: Path) -> bool:
    """Whether a path is a SLAF dataset, finished or not."""
    config = path / "config.json"
    # Opening a pipe would wait for ever.
    try:
        content = json.loads(config.read_bytes()) if config.is_file() else None
    except StorageError:
        raise
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "format_version" in content


UNSUPPORTED = (
    UnsupportedInput(
        "a molecule_info file of Cell Ranger",
        _has_members({"barcode_idx", "umi"}, {"barcode", "gene", "umi"}),
        "it holds molecules, not a matrix: convert the filtered_feature_bc_matrix.h5 of that run",
    ),
)


_AS_H5AD: Final = "write it as h5ad, and convert that"
_BY_NAME: Final[Mapping[tuple[str, ...], tuple[str, str]]] = {
    (".rds", ".rda", ".rdata"): (
        "a file of R",
        f"in R {_AS_H5AD}: anndataR::write_h5ad(object, 'NAME.h5ad')",
    ),
    (".h5seurat",): (
        "a file of SeuratDisk",
        f"in R {_AS_H5AD}: SeuratDisk::Convert('FILE', dest = 'h5ad')",
    ),
    (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"): (
        "an archive",
        "unpack it (tar -xf FILE), and convert what it holds",
    ),
    (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz"): (
        "a table of text",
        (
            "with a .mtx, name their folder; with values, in Python "
            f"{_AS_H5AD}: anndata.io.read_csv('FILE').write_h5ad('NAME.h5ad')"
        ),
    ),
    (".parquet", ".feather", ".arrow"): (
        "a table of Arrow",
        f"in Python {_AS_H5AD}: anndata.AnnData(pandas.read_parquet('FILE')).write_h5ad(...)",
    ),
}


def check_known_otherwise(path: Path) -> None:
    """Refuse what no format recognises, but its size or its name explains.

    Raises
    ------
    DamagedInput
        If it is empty.
    UnknownFormat
        With what to do instead.
    """
    if path.is_file() and not path.stat().st_size:
        msg = f"{path}: the file is empty"
        raise DamagedInput(msg)
    for suffixes, (name, advice) in _BY_NAME.items():
        if path.name.lower().endswith(suffixes):
            remedy = advice.replace("FILE", path.name).replace("NAME", path.stem)
            msg = f"{path}: this is {name}, by its name: {remedy}"
            raise UnknownFormat(msg)
