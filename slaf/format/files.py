"""Checksums of the files of a dataset, and digests of the tables that are written whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta, field

from slaf.format.validation import Count, Digest, Range, Record, matching

if TYPE_CHECKING:
    from slaf.storage.location import Location

__all__ = ["NO_CHECKSUMS", "FileChecksums", "StorageOptions", "StoredFile", "etag_scope"]

GeneEncoding = Annotated[
    str, matching("uint16|u?int32( lz4| zstd)?", "uint16, uint32 or int32, and perhaps a codec")
]


class StoredFile(Record, frozen=True, omit_defaults=True):
    """The checksums of a file of a dataset.

    Attributes
    ----------
    file
        Its path, relative to the dataset.
    bytes, digest, etag
        As in `FileStat`; digest, etag or both.
    cells, genes
        The range of the cells, or genes, of its rows, in a table that is written in parts.
    rows
        The number of its rows, in such a table.
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


class StorageOptions(Record, frozen=True, omit_defaults=True):
    """How the tables of a dataset are stored.

    Attributes
    ----------
    compression, plain_types, create_indices
        As in `slaf.options.StoreOptions`.
    gene_encodings
        The type and codec of the gene ids of each table that is written in parts; one that is
        absent is encoded as in format 1.0.
    """

    compression: str
    plain_types: bool
    create_indices: bool
    gene_encodings: Mapping[str, GeneEncoding] = {}


class FileChecksums(Record, frozen=True, omit_defaults=True):
    """Checksums of files and digests of tables, to detect damage.

    Attributes
    ----------
    files
        The files of all tables, and the files of elements; without the files of releases that
        recorded no checksums.
    tables
        The digest of each table that is written whole, by `slaf.format.digests`.
    storage
        How the tables are stored.
    etag_scope
        The URL below which the etags are valid; "" on a disk.
    """

    files: Annotated[tuple[StoredFile, ...], Meta(min_length=1)]
    tables: Mapping[str, Digest]
    storage: StorageOptions = field(name="stored")
    etag_scope: str = field(name="place", default="")

    def of(self, directory: str) -> tuple[StoredFile, ...]:
        """The files below a directory."""
        return tuple(stored for stored in self.files if stored.file.startswith(f"{directory}/"))


NO_CHECKSUMS: Final = FileChecksums(
    (), {}, StorageOptions(compression="balanced", plain_types=False, create_indices=False)
)


def etag_scope(location: Location) -> str:
    """The URL below which the etags of a location are valid; "" if it has no etags."""
    return location.uri("").rstrip("/") if location.is_remote else ""
