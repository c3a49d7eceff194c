"""Fragments of a table, as Lance describes them in JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    said
        All that Lance says of them, which a commit hands back to it as it is.
    """

    said: Mapping[str, Any]

    @property
    def paths(self) -> tuple[str, ...]:
        """The files, below the directory of the table."""
        return tuple(f"data/{file['path']}" for file in self.said["files"])

    @property
    def sizes(self) -> dict[str, int]:
        """The bytes of its files, of those of which Lance says it."""
        sizes = {f"data/{file['path']}": file.get("file_size_bytes") for file in self.said["files"]}
        return {path: int(size) for path, size in sizes.items() if size}

    @property
    def rows(self) -> int:
        """How many rows they hold."""
        return int(self.said["physical_rows"])

    @property
    def is_one_file(self) -> bool:
        """Whether its rows are all rows of one file, in a version that is read by its rows."""
        (file, *more), said = self.said["files"], self.said
        moved = more or said.get("deletion_file") or said.get("overlays") or file.get("base_id")
        return not moved and file["file_major_version"] >= 2  # noqa: PLR2004 - as Lance counts

    def to_json(self) -> JSON:
        """As Lance writes it."""
        return dict(self.said)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """As Lance, or `to_json`, wrote it."""
        return cls(data)

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
