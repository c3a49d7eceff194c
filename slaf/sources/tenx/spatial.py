"""What Space Ranger puts beside the matrix of a slide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["spatial_folder"]


# https://www.10xgenomics.com/support/software/space-ranger/latest/analysis/outputs/spatial-outputs
_FOLDER: Final = "spatial"


def spatial_folder(matrix: Path) -> tuple[str, ...]:
    """In words, the folder of images and positions beside a matrix, if there is one."""
    found = (matrix.absolute().parent / _FOLDER).is_dir()
    return (f"{_FOLDER} (images, positions)",) if found else ()
