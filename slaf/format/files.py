"""Checksums of the files of a dataset, and of the content of its whole tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final, TypedDict

from msgspec import Meta

from slaf.format.validation import Count, Digest, Range, Record

if TYPE_CHECKING:
    from slaf.storage.location import Location

__all__ = ["NO_CHECKSUMS", "FileChecksums", "StorageOptions", "StoredFile", "etag_scope"]


class StoredFile(Record, frozen=True, omit_defaults=True):
    """A file of a dataset as it was when it was written.

    Attributes
    ----------
    file
        Its name, relative to the dataset.
    bytes, digest, etag
        As in `FileStat`: of digest and etag, one or both.
    cells, genes
        The range of cells, or of genes, whose rows it holds, in a table that is written in parts.
    rows
        The number of those rows.
    """

    file: str
    bytes: Count
    digest: Digest = ""
    etag: str = ""
    cells: Range | None = None
    rows: Count | None = None
    genes: Range | None = None

    def __post_init__(self) -> None:
        inside = not {"", ".", ".."} & set(self.file.split("/")) and "\0" not in self.file
        ranges = (self.cells is not None) + (self.genes is not None)
        if not (inside and (self.digest or self.etag) and ranges == (self.rows is not None)):
            msg = f"{str(self.to_json())[:120]} is no file of a dataset"
            raise ValueError(msg)


class StorageOptions(TypedDict):
    """How the tables of a dataset are stored."""

    compression: str
    plain_types: bool
    create_indices: bool


class FileChecksums(Record, frozen=True, omit_defaults=True):
    """Checksums of files and tables, by which damage is recognised.

    Attributes
    ----------
    files
        The files of every table, and the files of elements; without those that were written before
        there were checksums.
    tables
        The digest of the content of each table that is written whole, as `slaf.format.digests`
        takes it.
    stored
        How the tables are stored.
    place
        The URL below which the etags of the files are valid; "" on a disk.
    """

    files: Annotated[tuple[StoredFile, ...], Meta(min_length=1)]
    tables: Mapping[str, Digest]
    stored: StorageOptions
    place: str = ""

    def of(self, directory: str) -> tuple[StoredFile, ...]:
        """The files below a directory."""
        return tuple(one for one in self.files if one.file.startswith(f"{directory}/"))


NO_CHECKSUMS: Final = FileChecksums(
    (), {}, {"compression": "balanced", "plain_types": False, "create_indices": False}
)


def etag_scope(location: Location) -> str:
    """The URL below which the etags that a location gives now are valid; "" if it gives none."""
    return location.uri("").rstrip("/") if location.is_remote else ""
