"""The folder of images and positions of Space Ranger, which is only reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["spatial_folder"]


# https://www.10xgenomics.com/support/software/space-ranger/latest/analysis/outputs/spatial-outputs
_FOLDER: Final = "spatial"


def spatial_folder(matrix: Path) -> tuple[str, ...]:
    """The folder of images and positions next to a matrix, in words."""
    exists = (matrix.absolute().parent / _FOLDER).is_dir()
    return (f"{_FOLDER} (images, positions)",) if exists else ()
