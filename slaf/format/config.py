"""config.json: what is published, and the checkpoint while a run is unfinished."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from slaf.annotations.columns import ColumnSet
from slaf.errors import ConversionInProgress, DamagedDataset, NotADataset, UnsupportedFormat
from slaf.format.epoch import EPOCH, epoch_of
from slaf.format.files import FileChecksums
from slaf.format.schema import (
    BY_GENE,
    CELL_PAIRS,
    CELLS,
    EXPRESSION,
    FORMAT_VERSION,
    GENE_PAIRS,
    GENES,
    KNOWN_VERSIONS,
    LAYERS,
    RAW,
    RAW_GENES,
    VALUE_TYPES,
)
from slaf.format.validation import (
    CHECKSUM_KEY,
    check_offsets,
    checksum_error,
    validate,
    with_checksum,
)
from slaf.options import StoreOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slaf.storage.location import Location

__all__ = [
    "ANNOTATION_KEYS",
    "CONFIG",
    "LEGACY_DIR",
    "LEGACY_TABLES",
    "OPTIONAL_TABLES",
    "TABLES",
    "Block",
    "DatasetConfig",
    "Manifest",
    "SourceRecord",
    "load",
    "load_published",
    "save",
    "table_paths",
]

CONFIG: Final = "config.json"
TABLES: Final = {name: f"{name}.lance" for name in (EXPRESSION, CELLS, GENES)}

# What a dataset has only if its input has it, or if it was asked for.
OPTIONAL_TABLES: Final = {
    name: f"{name}.lance" for name in (BY_GENE, LAYERS, RAW, RAW_GENES, CELL_PAIRS, GENE_PAIRS)
}

# What config.json says of all that stands beside the matrix; `slaf.format.records` reads it.
ANNOTATION_KEYS: Final = (
    "taken",
    "layers",
    "raw",
    "obsm",
    "varm",
    "obsp",
    "varp",
    "uns",
    "unses",
    "elements",
    "by_gene",
)

# Where the tables of a dataset go that another program wrote under the names above: those stay
# what they are until config.json names these.
LEGACY_DIR: Final = "adopted"
LEGACY_TABLES: Final = {
    name: f"{LEGACY_DIR}/{table}" for name, table in {**TABLES, **OPTIONAL_TABLES}.items()
}

# The directory of what a run writes outside its tables, and a receipt in it: one for each part.
SCRATCH: Final = ".parts"
RECEIPT: Final = re.compile(r"part-(\d{6,})\.json")
_JOURNAL: Final = re.compile(r"[0-9a-f]{32}")

# What holds the unfinished run in the config.json of another program.
_LEGACY_RUN: Final = "adoption"
_TEXTS: Final = ("value_type", "dtype", "created_at", "last_updated", "writer")
_WAYS_OUT: Final = "restore it from a copy, or remove the dataset and convert again"
JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Block:
    """A run of whole cells, and the digest of what they hold."""

    start: int
    stop: int
    rows: int
    digest: str

    def __str__(self) -> str:
        return f"cells {self.start} to {self.stop}"

    def to_json(self) -> JSON:
        """As config.json has it."""
        return {"cells": [self.start, self.stop], "rows": self.rows, "digest": self.digest}

    @classmethod
    def from_json(cls, data: JSON) -> Self:
        """As `to_json` wrote it."""
        start, stop = data["cells"]
        return cls(start, stop, data["rows"], data["digest"])


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One input of a dataset.

    Attributes
    ----------
    uri
        Where it was read.
    format
        The name of its format.
    matrix
        Which of its matrices was taken: "X", "raw" or "layer:NAME".
    dtype
        The numeric type that its values had there.
    n_cells, n_genes
        Its shape.
    offset
        Its first cell's position in the dataset.
    identity
        What makes this input this input.
    choice
        What else was chosen of it: "genome", "feature_type", "measurement".
    genes
        How its genes were brought together with those before: "strict", "union" or
        "intersection".
    measured
        The genes of the dataset that it has, as ranges ``[start, stop)`` of positions.
    prefix
        What was put before each of its cell ids.
    holds
        The names of what was taken of it beside its matrix: "layer:NAME", "raw", "obsm:KEY", …;
        None where that was not recorded, and it is all there is.
    taken
        What was asked for of it, as :class:`slaf.options.SlotSelection` writes it.
    """

    uri: str
    format: str
    matrix: str
    dtype: str
    n_cells: int
    n_genes: int
    offset: int
    identity: Mapping[str, Any]
    choice: Mapping[str, str] = field(default_factory=dict)
    genes: str = "strict"
    measured: tuple[tuple[int, int], ...] = ()
    prefix: str = ""
    holds: tuple[str, ...] | None = None
    taken: Mapping[str, Any] | None = None

    def to_json(self) -> JSON:
        """As config.json has it."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, data: JSON) -> SourceRecord:
        """As `to_json` wrote it."""
        # What the first datasets do not say: of one input they have all genes.
        first: JSON = {"genes": "strict", "prefix": "", "measured": [[0, data.get("n_genes", 0)]]}
        known = first | {"holds": None, "taken": None} | data
        measured = tuple((int(start), int(stop)) for start, stop in known["measured"])
        holds = None if known["holds"] is None else tuple(known["holds"])
        made = {"measured": measured, "holds": holds}
        return cls(**{f.name: known[f.name] for f in fields(cls)} | made)


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """What readers see of a dataset.

    Attributes
    ----------
    n_cells, n_genes
        The shape of the matrix.
    versions
        The Lance version of each table that makes this dataset: readers open those.
    value_type
        The type of the `value` column.
    dtype
        The type that values are given back in: the source's.
    expression_count
        Nonzeros.
    expression_stats
        Their least, greatest and mean value, and standard deviation; None where undefined.
    columns
        For `cells` and `genes`, the user's own columns.
    sources
        The inputs, in the order of their cells.
    blocks
        The cells in runs, in order, each with its digest.
    optimizations
        What slafdb calls so: whether ids are integers, and whether only integers are stored.
    created_at, last_updated
        ISO 8601, UTC.
    writer
        The program and release that wrote it.
    tables
        The directory of each table.
    beside
        What stands beside the matrix, by slot, as :mod:`slaf.format.records` writes it.
    proof
        By what its files are known again; empty in datasets of before there was one.
    """

    n_cells: int
    n_genes: int
    versions: Mapping[str, int]
    value_type: str
    dtype: str
    expression_count: int
    expression_stats: Mapping[str, float | None]
    columns: Mapping[str, ColumnSet]
    sources: tuple[SourceRecord, ...]
    blocks: tuple[Block, ...]
    optimizations: Mapping[str, bool]
    created_at: str
    last_updated: str
    writer: str
    tables: Mapping[str, str] = field(default_factory=lambda: dict(TABLES))
    beside: Mapping[str, Any] = field(default_factory=dict)
    proof: FileChecksums = field(default_factory=FileChecksums)

    @property
    def store_options(self) -> StoreOptions:
        """The options that its tables were written with, as far as they are recorded."""
        stored = StoreOptions.from_json(self.proof.stored)
        return replace(stored, string_ids=not self.optimizations.get("optimize_storage", True))

    def to_json(self) -> JSON:
        """As config.json has it: the keys that slafdb knows, and ours."""
        total = self.n_cells * self.n_genes
        density = self.expression_count / total if total else 0.0
        files = [
            {
                "file_path": source.uri,
                "file_name": source.uri.rsplit("/", 1)[-1],
                "n_cells": source.n_cells,
                "cell_offset": source.offset,
            }
            for source in self.sources
        ]
        data: JSON = {
            "array_shape": [self.n_cells, self.n_genes],
            "n_cells": self.n_cells,
            "n_genes": self.n_genes,
            "tables": dict(self.tables),
            "versions": dict(self.versions),
            "value_type": self.value_type,
            "dtype": self.dtype,
            "optimizations": dict(self.optimizations),
            "metadata": {
                "expression_count": self.expression_count,
                "sparsity": 1.0 - density,
                "density": density,
                "total_possible_elements": total,
                "expression_stats": dict(self.expression_stats),
            },
            "created_at": self.created_at,
            "last_updated": self.last_updated,
            "writer": self.writer,
            "multi_file": {
                "source_files": files,
                "total_files": len(files),
                "total_cells_from_files": self.n_cells,
            },
            "columns": {name: columns.to_json() for name, columns in self.columns.items()},
            "sources": [source.to_json() for source in self.sources],
            "blocks": [block.to_json() for block in self.blocks],
        }
        proof = {"proof": self.proof.to_json()} if self.proof.files else {}
        return data | dict(self.beside) | proof

    @classmethod
    def from_json(cls, data: JSON) -> DatasetConfig:
        """As `to_json` wrote it."""
        _check_kinds(data)
        n_cells, n_genes = data["array_shape"]
        if min(n_cells, n_genes) < 0 or (n_cells, n_genes) != (data["n_cells"], data["n_genes"]):
            msg = "array_shape and n_cells, n_genes do not agree"
            raise ValueError(msg)
        check_offsets(data)
        return cls(
            n_cells=n_cells,
            n_genes=n_genes,
            tables=data["tables"],
            versions=data["versions"],
            value_type=data["value_type"],
            dtype=data["dtype"],
            expression_count=data["metadata"]["expression_count"],
            expression_stats=data["metadata"]["expression_stats"],
            columns={k: ColumnSet.from_json(v) for k, v in data["columns"].items()},
            sources=tuple(map(SourceRecord.from_json, data["sources"])),
            blocks=tuple(map(Block.from_json, data["blocks"])),
            optimizations=dict(data["optimizations"]),
            created_at=data["created_at"],
            last_updated=data["last_updated"],
            writer=data["writer"],
            beside={key: data[key] for key in ANNOTATION_KEYS if key in data},
            proof=FileChecksums.from_json(data["proof"]) if "proof" in data else FileChecksums(),
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """All of config.json.

    Attributes
    ----------
    published
        What readers see; None until a first conversion is whole.
    checkpoint
        The unfinished run, as :mod:`slaf.runs.checkpoint` writes it; None without one.
    older
        What another program wrote, of an earlier format: it stays as it is until there is
        something published; None if there is no such thing.
    epoch
        How often the lock was taken over from a process that may still have been writing.
    """

    published: DatasetConfig | None = None
    checkpoint: Mapping[str, Any] | None = None
    older: Mapping[str, Any] | None = None
    epoch: int = 0

    @property
    def status(self) -> str:
        """Either "published", or "converting" while there is no dataset yet."""
        return "converting" if self.published is None else "published"

    def progress(self, location: Location) -> tuple[int, int]:
        """Parts of the unfinished run that have a receipt, by its name, and parts in all."""
        if self.checkpoint is None:
            return (0, 0)
        total = len(self.checkpoint["plan"]["parts"])
        if "journal" not in self.checkpoint:
            # The last release had them here.
            return len(self.checkpoint["done"]), total
        names = location.list(journal_directory(self.checkpoint["journal"]))
        return sum(RECEIPT.fullmatch(name.rpartition("/")[2]) is not None for name in names), total


def journal_directory(plan_digest: Any) -> str:
    """The directory of the receipts of a plan.

    Raises
    ------
    ValueError
        If this is no digest of a plan: a stranger's config.json leads nowhere else.
    """
    if not isinstance(plan_digest, str) or not _JOURNAL.fullmatch(plan_digest):
        msg = f"checkpoint.journal is {plan_digest!r}, but must be the digest of a plan"
        raise ValueError(msg)
    return f"{SCRATCH}/{plan_digest[:16]}"


def table_paths(tables: Mapping[str, str]) -> dict[str, str]:
    """The directory of each table of a dataset, and of those that it could get yet.

    Parameters
    ----------
    tables
        Of those that it has.
    """
    adopted = tables[EXPRESSION].startswith(f"{LEGACY_DIR}/")
    return {**(LEGACY_TABLES if adopted else {**TABLES, **OPTIONAL_TABLES}), **tables}


def load(location: Location, *, older: bool = False) -> Manifest | None:
    """What config.json says, or None if there is none.

    Parameters
    ----------
    older
        Take one of an earlier format too, as it is.

    Raises
    ------
    UnsupportedFormat
        If another program wrote it, or a newer release.
    DamagedDataset
        If it is not what this program writes.
    """
    raw = location.read(CONFIG)
    if raw is None:
        return None
    where = f"{location}: {CONFIG}"
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        msg = f"{where} is not JSON ({error}); {_WAYS_OUT}"
        raise DamagedDataset(msg) from error
    if not isinstance(data, dict) or "format_version" not in data:
        msg = f"{where} has no format_version: this is not a SLAF dataset"
        raise DamagedDataset(msg)
    if older and _number(data["format_version"])[0] == 0:
        return Manifest(checkpoint=data.pop(_LEGACY_RUN, None), older=data, epoch=epoch_of(data))
    _check_version(where, data["format_version"])
    try:
        published = DatasetConfig.from_json(data) if _is_published(data["status"]) else None
        manifest = Manifest(published, data.get("checkpoint"), epoch=epoch_of(data))
        _check_checkpoint(manifest.checkpoint)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        reason = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        msg = f"{where} is damaged: {reason}; {_WAYS_OUT}"
        raise DamagedDataset(msg) from error
    if broken := checksum_error(raw, data):
        msg = (
            f"{where} is not what was written: {broken}; restore it from a copy or, if it was "
            f"edited on purpose, take the key {CHECKSUM_KEY} out of it"
        )
        raise DamagedDataset(msg)
    return manifest


def load_published(location: Location) -> DatasetConfig:
    """What is published here.

    Raises
    ------
    NotADataset, ConversionInProgress
        If nothing is.
    """
    manifest = load(location)
    if manifest is None:
        missing = "does not exist" if not location.exists() else f"has no {CONFIG}"
        msg = f"{location}: not a SLAF dataset (it {missing}); make one with `slaf convert`"
        raise NotADataset(msg)
    if manifest.published is None:
        done, total = manifest.progress(location)
        msg = (
            f"{location}: conversion in progress, {done} of {total} parts; "
            "run the same `slaf convert` again to finish it if it was stopped"
        )
        raise ConversionInProgress(msg)
    return manifest.published


def save(location: Location, manifest: Manifest) -> None:
    """Replace config.json by an atomic, durable write."""
    data: JSON
    checkpoint = manifest.checkpoint
    # For people when it is finished; until then it is written often, and ten times faster so.
    indent = 1 if checkpoint is None else None
    if manifest.published is None and manifest.older is not None:
        # Its own program knows nothing of seals.
        data = dict(manifest.older) | ({} if checkpoint is None else {_LEGACY_RUN: checkpoint})
        location.put(CONFIG, json.dumps(data, indent=indent, ensure_ascii=False).encode())
        return
    data = {"format_version": FORMAT_VERSION, "status": manifest.status}
    if manifest.epoch:
        data[EPOCH] = manifest.epoch
    if manifest.published is not None:
        data |= manifest.published.to_json()
    if checkpoint is not None:
        data["checkpoint"] = checkpoint
    location.put(CONFIG, with_checksum(data, indent=indent))


def _check_kinds(data: JSON) -> None:
    """Raise an error for what would only be missed where it is used."""
    for key in _TEXTS:
        if not isinstance(data[key], str):
            msg = f"{key} is {data[key]!r}, which is not text"
            raise TypeError(msg)
    for table in dict.fromkeys((*TABLES, *data["tables"])):
        name, version = data["tables"][table], data["versions"][table]
        if not isinstance(name, str) or not isinstance(version, int):
            msg = f"version {version!r} of table {name!r} is not a number of a name"
            raise TypeError(msg)
    for table in (CELLS, GENES):
        data["columns"][table]["columns"][0]
    validate(data)
    if data["value_type"] not in map(str, VALUE_TYPES):
        msg = f"value_type is {data['value_type']!r}, not one of {', '.join(map(str, VALUE_TYPES))}"
        raise ValueError(msg)
    np.dtype(data["dtype"])


def _check_checkpoint(checkpoint: Mapping[str, Any] | None) -> None:
    if checkpoint is not None:
        len(checkpoint["plan"]["parts"])
        if "done" not in checkpoint:
            journal_directory(checkpoint["journal"])


def _is_published(status: Any) -> bool:
    if status not in {"published", "converting"}:
        msg = f"its status is {status!r}, which is neither published nor converting"
        raise ValueError(msg)
    return bool(status == "published")


def _check_version(where: str, version: Any) -> None:
    if version in KNOWN_VERSIONS:
        return
    if _number(version) > _number(FORMAT_VERSION):
        msg = (
            f"{where} is of format {version}, newer than this release reads ({FORMAT_VERSION}); "
            "upgrade slaf"
        )
    else:
        msg = (
            f"{where} is of format {version}, which another program wrote; "
            f"this release reads {' and '.join(KNOWN_VERSIONS)}: convert the original input again, "
            "or append to it with `slaf append`, which writes it anew"
        )
    raise UnsupportedFormat(msg)


def _number(version: Any) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in str(version).split("."))
    except ValueError:
        return (0,)
