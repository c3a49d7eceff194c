"""Formats that are refused by name, with a remedy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from slaf.errors import StorageError
from slaf.sources.hdf5.file import recognise

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet
    from pathlib import Path

__all__ = ["UNSUPPORTED", "UnsupportedInput", "is_dataset"]


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
