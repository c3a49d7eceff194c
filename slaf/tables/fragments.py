"""Fragments of a table, as Lance describes them in JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from slaf.format.files import StoredFile

__all__ = ["STORAGE_VERSION", "Fragment"]

JSON = dict[str, Any]

# Readable by every Lance since 0.38; 2.2 is not, and a mixture of both by hardly any.
STORAGE_VERSION: Final = "2.1"


@dataclass(frozen=True, slots=True)
class Fragment:
    """Rows of a table that follow each other, in files of their own.

    Attributes
    ----------
    metadata
        The JSON of Lance, which a commit gives back to it unchanged.
    """

    metadata: JSON

    @property
    def paths(self) -> tuple[str, ...]:
        """The files, below the directory of the table."""
        return tuple(f"data/{file['path']}" for file in self.metadata["files"])

    @property
    def sizes(self) -> dict[str, int]:
        """The bytes of its files, of those of which Lance says it."""
        files = self.metadata["files"]
        sizes = {f"data/{file['path']}": file.get("file_size_bytes") for file in files}
        return {path: int(size) for path, size in sizes.items() if size}

    @property
    def rows(self) -> int:
        """How many rows they hold."""
        return int(self.metadata["physical_rows"])

    @property
    def is_one_file(self) -> bool:
        """Whether its rows are all rows of one file, in a version that is read by its rows."""
        (file, *more), known = self.metadata["files"], self.metadata
        moved = more or known.get("deletion_file") or known.get("overlays") or file.get("base_id")
        return not moved and file["file_major_version"] >= 2  # noqa: PLR2004 - as Lance counts

    @classmethod
    def of_file(cls, file: StoredFile, n_columns: int, rows: int | None = None) -> Self:
        """A file that is a fragment of its own, where no version of the table says so any more.

        Parameters
        ----------
        file
            What was noted of it.
        n_columns
            Of the table.
        rows
            Those that it holds, if that was not noted.
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
