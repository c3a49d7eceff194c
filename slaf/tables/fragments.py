"""Fragments of a table, as Lance describes them in JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from slaf.format.files import StoredFile

__all__ = ["STORAGE_VERSION", "Fragment"]

JSON = dict[str, Any]

# Every Lance since 0.38 reads 2.1, but not 2.2, and hardly any a mixture of both.
STORAGE_VERSION: Final = "2.1"


@dataclass(frozen=True, slots=True)
class Fragment:
    """Contiguous rows of a table in files of their own.

    Attributes
    ----------
    metadata
        The JSON of Lance, which a commit passes on unchanged.
    """

    metadata: JSON

    @property
    def paths(self) -> tuple[str, ...]:
        """Data files, relative to the directory of the table."""
        return tuple(f"data/{file['path']}" for file in self.metadata["files"])

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of the files in bytes, where Lance records them."""
        files = self.metadata["files"]
        sizes = {f"data/{file['path']}": file.get("file_size_bytes") for file in files}
        return {path: int(size) for path, size in sizes.items() if size}

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.metadata["physical_rows"])

    @property
    def is_one_file(self) -> bool:
        """Whether its rows are all rows of one file, whose format can be read by row ranges."""
        (file, *more), data = self.metadata["files"], self.metadata
        changed = more or data.get("deletion_file") or data.get("overlays") or file.get("base_id")
        return not changed and file["file_major_version"] >= 2  # noqa: PLR2004 - as Lance counts

    @classmethod
    def of_file(cls, file: StoredFile, n_columns: int, rows: int | None = None) -> Self:
        """Make the fragment of one file which no version of the table names any more.

        Parameters
        ----------
        file
            The record of the file.
        n_columns
            Number of columns of the table.
        rows
            Number of rows, if that is not recorded.
        """
        major, minor = map(int, STORAGE_VERSION.split("."))
        columns = list(range(n_columns))
        return cls(
            {
                "id": 0,
                "files": [
                    {
                        "path": file.file.rsplit("/", 1)[-1],
                        "fields": columns,
                        "column_indices": columns,
                        "file_major_version": major,
                        "file_minor_version": minor,
                        "file_size_bytes": file.bytes,
                        "base_id": None,
                    }
                ],
                "physical_rows": file.rows if rows is None else rows,
                "deletion_file": None,
                "row_id_meta": None,
            }
        )
