"""What config.json says of the files of a dataset, and of the content of its whole tables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slaf.storage.location import Location

__all__ = ["STORED", "FileChecksums", "StoredFile", "etag_scope"]

JSON = dict[str, Any]
_DIGEST = re.compile(r"[0-9a-f]{32}")
# The options that decide how the tables are stored.
STORED = {"compression": str, "plain_types": bool, "create_indices": bool}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a dataset as it was when it was written.

    Attributes
    ----------
    file
        Its name, relative to the dataset.
    bytes, digest, etag
        As of `Mark`.
    cells, genes
        The cells whose rows it holds, ``[start, stop)``, in a table that is written in parts; or
        the genes, where these are in the order of genes.
    rows
        Those rows.
    """

    file: str
    bytes: int
    digest: str = ""
    etag: str = ""
    cells: tuple[int, int] | None = None
    rows: int | None = None
    genes: tuple[int, int] | None = None

    def to_json(self) -> JSON:
        """As config.json has it, without what there is nothing of."""
        found: JSON = {"file": self.file, "bytes": self.bytes}
        optional = {name: getattr(self, name) for name in ("digest", "etag", "cells", "genes")}
        found |= {key: value for key, value in optional.items() if value}
        return found if self.rows is None else found | {"rows": self.rows}

    @classmethod
    def from_json(cls, data: JSON) -> StoredFile:
        """As `to_json` wrote it."""
        found = cls(
            data["file"],
            data["bytes"],
            data.get("digest", ""),
            data.get("etag", ""),
            tuple(data["cells"]) if "cells" in data else None,
            data.get("rows"),
            tuple(data["genes"]) if "genes" in data else None,
        )
        found.check()
        return found

    def check(self) -> None:
        """Check that each is of its kind, and the file one of the dataset.

        Raises
        ------
        ValueError
            Naming what is not.
        """
        inside = not {"", ".", ".."} & set(self.file.split("/")) and "\0" not in self.file
        marked = bool(_DIGEST.fullmatch(self.digest) if self.digest else self.etag)
        counts = [self.bytes]
        ranges = [one for one in (self.cells, self.genes) if one is not None]
        held = len(ranges) == (0 if self.rows is None else 1)
        for start, stop in ranges:
            counts += [start, stop]
        counts += [] if self.rows is None else [self.rows]
        whole = all(type(number) is int and number >= 0 for number in counts)
        if not (inside and marked and held and whole):
            msg = f"proof.files has {str(self.to_json())[:120]}, which is no file of a dataset"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class FileChecksums:
    """By what the files of a dataset, and the tables that are written whole, are known again.

    Attributes
    ----------
    files
        Those of every table, and the files of elements. None of what was written before there
        was such a proof.
    place
        Where the tags of the files were given; "" on a disk.
    tables
        The digest of the content of each table that is written whole, as `slaf.format.digests`
        takes it.
    stored
        How the tables are stored: the options of `STORED`.
    """

    files: tuple[StoredFile, ...] = ()
    place: str = ""
    tables: Mapping[str, str] = field(default_factory=dict)
    stored: Mapping[str, Any] = field(default_factory=dict)

    def of(self, directory: str) -> tuple[StoredFile, ...]:
        """The files below a directory."""
        return tuple(one for one in self.files if one.file.startswith(f"{directory}/"))

    def to_json(self) -> JSON:
        """As config.json has it."""
        found: JSON = {
            "files": [one.to_json() for one in self.files],
            "tables": dict(self.tables),
            "stored": dict(self.stored),
        }
        return found | {"place": self.place} if self.place else found

    @classmethod
    def from_json(cls, data: JSON) -> FileChecksums:
        """As `to_json` wrote it.

        Raises
        ------
        ValueError
            If something of it is not of its kind.
        """
        found = cls(
            tuple(map(StoredFile.from_json, data["files"])),
            data.get("place", ""),
            dict(data["tables"]),
            dict(data["stored"]),
        )
        for key, kept in (
            ("files", found.files),
            ("place", isinstance(found.place, str)),
            ("tables", all(map(_DIGEST.fullmatch, found.tables.values()))),
            ("stored", {key: type(value) for key, value in found.stored.items()} == STORED),
        ):
            if not kept:
                msg = f"proof.{key} is {str(data.get(key))[:60]!r}, which is of another kind"
                raise ValueError(msg)
        return found


def etag_scope(location: Location) -> str:
    """Where the tags of files are those that a location gives now; "" where it gives none."""
    return location.uri("").rstrip("/") if location.is_remote else ""
