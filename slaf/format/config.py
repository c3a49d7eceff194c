"""config.json: load and save the published dataset and the checkpoint of an unfinished run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Self, TypeAlias, cast

import numpy as np
from msgspec import field, structs

from slaf.annotations.columns import ColumnSet
from slaf.errors import ConversionInProgress, DamagedDataset, UnsupportedFormat
from slaf.format.epoch import EPOCH, epoch_of
from slaf.format.files import NO_CHECKSUMS, FileChecksums
from slaf.format.records import (
    AnnotatedRecord,
    AnnotationsRecord,
    Block,
    GeneOrderRecord,
    HistoryRecord,
    SlotRecord,
    StepRecord,
    ValueType,
)
from slaf.format.schema import (
    CELLS,
    EXPRESSION,
    FORMAT_VERSION,
    GENES,
    KNOWN_VERSIONS,
    TABLES,
    VALUE,
    table_schema,
)
from slaf.format.validation import (
    CHECKSUM_KEY,
    Count,
    NumericType,
    Range,
    Record,
    Version,
    checksum_error,
    matching,
    validate,
    with_checksum,
)
from slaf.options import SlotSelection, StoreOptions
from slaf.storage.paths import no_dataset

if TYPE_CHECKING:
    import pyarrow as pa

    from slaf.options import Compression
    from slaf.storage.location import Location

__all__ = [
    "CONFIG",
    "LEGACY_DIR",
    "DatasetConfig",
    "Manifest",
    "Metadata",
    "SampleValue",
    "SourceRecord",
    "former_config",
    "load",
    "load_former",
    "load_published",
    "parse",
    "save",
    "save_former",
    "table_directories",
]

CONFIG: Final = "config.json"

# The directory of the new tables of a slafdb dataset. The tables of slafdb are not changed before
# config.json names these.
LEGACY_DIR: Final = "adopted"

# The directory of the files of a run, and the receipt of a part in it.
SCRATCH: Final = ".parts"
RECEIPT: Final = re.compile(r"part-(\d{6,})\.json")

# The directory of the records of former versions that are kept.
HISTORY: Final = "history"
_JOURNAL: Final = re.compile(r"[0-9a-f]{32}")

# The key of the unfinished run in the config.json of slafdb.
_LEGACY_RUN: Final = "adoption"
_WAYS_OUT: Final = "restore it from a copy, or remove the dataset and convert again"
JSON = dict[str, Any]

# A value that all cells of an input have in a column of obs; None where it is missing.
SampleValue: TypeAlias = str | bool | int | float | None

# A table is next to config.json or in LEGACY_DIR: no config.json leads to another directory.
_FOLDER: Final = r"(adopted/)?[^/\\\0]*[^/\\\0.][^/\\\0]*"
_Folder = Annotated[str, matching(_FOLDER, "the name of a folder")]
_OF_SAMPLES: Final = frozenset({"obs", "sheet"})
_ALL_GENES: Final = ((0, 2**63 - 1),)


class SourceRecord(Record, frozen=True):
    """One input of a dataset.

    Attributes
    ----------
    uri
        Its path or URL.
    format
        The name of its format.
    matrix
        The converted matrix: "X", "raw" or "layer:NAME".
    dtype
        The numeric type of its values in the input.
    n_cells, n_genes
        Its shape.
    offset
        The position of its first cell in the dataset.
    identity
        A fingerprint, as JSON: sizes, times, a sampled digest.
    choice
        Further choices: "genome", "feature_type", "measurement".
    genes
        How its genes were merged with those of the inputs before: "strict", "union" or
        "intersection".
    genes_present
        The genes of the dataset that the input has, as ranges ``[start, stop)`` of positions.
    prefix
        The prefix of its cell ids.
    sample
        Columns of obs with one value for all of its cells: its sample, and the row of its sheet.
    sheet
        The sample sheet of these columns; "" without one.
    slots
        The names of its converted layers, raw and annotations: "layer:NAME", "raw", "obsm:KEY", …;
        None if they were not recorded, and are all slots of the dataset.
    selection
        The selection of slots that was requested.
    """

    uri: str
    format: str
    matrix: str
    dtype: NumericType
    n_cells: Count
    n_genes: Count
    offset: Count
    identity: Mapping[str, Any]
    choice: Mapping[str, str | bool | int] = {}
    genes: Annotated[
        str, matching("strict|union|intersection", "one of strict, union, intersection")
    ] = "strict"
    genes_present: tuple[Range, ...] = field(name="measured", default=_ALL_GENES)
    prefix: str = ""
    sample: Mapping[str, SampleValue] = field(name="obs", default={})
    sheet: str = ""
    slots: tuple[str, ...] | None = field(name="holds", default=None)
    selection: SlotSelection | None = field(name="taken", default=None)

    def __post_init__(self) -> None:
        if self.genes_present is _ALL_GENES:
            # The first datasets lack the key: their one input has all genes.
            structs.force_setattr(self, "genes_present", ((0, self.n_genes),))
        elif any(start >= stop for start, stop in self.genes_present):
            ranges = str(self.genes_present)[:60]
            msg = f"measured is {ranges!r}, but must be ranges [start, stop] of genes"
            raise ValueError(msg)

    def to_json(self) -> JSON:
        """The JSON object; without samples it has no keys of theirs."""
        data = super().to_json()
        return {key: value for key, value in data.items() if value or key not in _OF_SAMPLES}


class Metadata(Record, frozen=True):
    """The number of nonzeros, and their minimum, maximum, mean and standard deviation."""

    expression_count: Count
    expression_stats: Mapping[str, int | float | None]


class DatasetConfig(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The part of config.json that describes the published dataset.

    Attributes
    ----------
    n_cells, n_genes
        The shape of the matrix.
    tables
        The directory of each table.
    versions
        The Lance version of each table that readers open.
    value_type
        The type of the `value` column.
    dtype
        The type in which values are read: the type in the source.
    optimizations
        Flags of slafdb: whether ids are integers, and whether only integers are stored.
    metadata
        Statistics of the values.
    created_at, last_updated
        ISO 8601, UTC.
    writer
        The program and release that wrote it.
    columns
        The user's columns of `cells` and `genes`.
    sources
        The inputs, in the order of their cells.
    blocks
        The checksum blocks: ranges of all cells, in order, each with its digest.
    by_gene
        The table `expression_by_gene`; None without it.
    checksums
        The checksums of its files; empty in datasets of releases that recorded none.
    annotations
        Layers, raw and annotations, whose keys are at the top level of config.json.
    annotated
        The content that is not from the inputs; None if all of it is.
    transforms
        The steps that all inputs went through before they were stored, in order.
    removed
        The inputs whose cells were removed again, as they were recorded.
    history
        The versions of the dataset, this one last; empty in datasets of releases without.
    """

    n_cells: Count
    n_genes: Count
    tables: Mapping[str, _Folder]
    versions: Mapping[str, Version]
    value_type: ValueType
    dtype: NumericType
    optimizations: Mapping[str, bool]
    metadata: Metadata
    created_at: str
    last_updated: str
    writer: str
    columns: Mapping[str, ColumnSet]
    sources: tuple[SourceRecord, ...]
    blocks: tuple[Block, ...]
    by_gene: GeneOrderRecord | None = None
    checksums: FileChecksums = field(name="proof", default=NO_CHECKSUMS)
    annotations: AnnotationsRecord = AnnotationsRecord()
    annotated: AnnotatedRecord | None = None
    transforms: tuple[StepRecord, ...] = ()
    removed: tuple[SourceRecord, ...] = ()
    history: tuple[HistoryRecord, ...] = ()

    @property
    def version(self) -> int:
        """The number of this version of the dataset."""
        return self.history[-1].version if self.history else 1

    def with_history(self, previous: DatasetConfig | None, operation: str) -> DatasetConfig:
        """The dataset as the next version of a previous one."""
        before = () if previous is None or operation == "convert" else previous.history
        if previous is not None and not before and operation != "convert":
            # A release without a history made it.
            before = previous.with_history(None, "convert").history
        version = before[-1].version + 1 if before else 1
        return structs.replace(self, history=(*before, self._history_record(version, operation)))

    def _history_record(self, version: int, operation: str) -> HistoryRecord:
        return HistoryRecord(version, self.last_updated, operation, self.n_cells, self.n_genes)

    @property
    def annotated_names(self) -> tuple[str, ...]:
        """The names added, replaced or dropped since: "obs:NAME", "obsm:KEY", "layer:NAME", …."""
        return () if self.annotated is None else self.annotated.names

    @property
    def expression_count(self) -> int:
        """The number of nonzeros."""
        return self.metadata.expression_count

    @property
    def expression_stats(self) -> Mapping[str, float | None]:
        """Statistics of the finite values by name; None where undefined."""
        return self.metadata.expression_stats

    @property
    def store_options(self) -> StoreOptions:
        """The recorded options of its tables."""
        string_ids = not self.optimizations.get("optimize_storage", True)
        storage = self.checksums.storage
        return StoreOptions(
            compression=cast("Compression", storage.compression),
            plain_types=storage.plain_types,
            create_indices=storage.create_indices,
            string_ids=string_ids,
        )

    @property
    def rows(self) -> int:
        """Rows of `expression`."""
        return self.expression_count

    @property
    def blocks_by_column(self) -> dict[str, tuple[Block, ...]]:
        """The blocks of each value column of `expression`."""
        return {VALUE: self.blocks}

    def schema(self, table: str, options: StoreOptions | None = None) -> pa.Schema:
        """The columns of a table that is written in parts, as they are recorded.

        Parameters
        ----------
        table
            The name of the table.
        options
            Other options than those recorded, for a dataset that recorded none.
        """
        original = TABLES[table].copies or table
        types = {VALUE: self.value_type}
        if original != EXPRESSION:
            types = {one.name: one.value_type for one in self.annotations.matrices()[original]}
        return table_schema(
            table,
            {name: np.dtype(value_type) for name, value_type in types.items()},
            getattr(self.record(original), "n_genes", self.n_genes),
            options or self.store_options,
            self.checksums.storage.gene_encodings.get(original, ""),
        )

    def record(self, table: str) -> Any:
        """The record of an optional table, and all of this for another; None without a record.

        The record of a table that is written in parts has `rows` and `blocks_by_column`.
        """
        spec = TABLES[table]
        if spec.required:
            return self
        owner = self if spec.record in self.__struct_fields__ else self.annotations
        return getattr(owner, spec.record)

    def has_record(self, table: str) -> bool:
        """Whether the records say that there is a table."""
        record = self.record(table)
        if isinstance(record, SlotRecord):
            # Elements without a column are in the file of elements.
            return any(spec.name is not None for spec in record.specs)
        return record is not None

    def blocks_of(self, table: str) -> dict[str, tuple[Block, ...]]:
        """The blocks of each value column of a table that is written in parts."""
        record = self.record(table)
        return {} if record is None else dict(record.blocks_by_column)

    def to_json(self) -> JSON:
        """The keys of config.json, with those that slafdb reads."""
        data = super().to_json()
        data["sources"] = [source.to_json() for source in self.sources]
        total = self.n_cells * self.n_genes
        density = self.expression_count / total if total else 0.0
        data["array_shape"] = [self.n_cells, self.n_genes]
        data["metadata"] |= {
            "sparsity": 1.0 - density,
            "density": density,
            "total_possible_elements": total,
        }
        files = [
            {
                "file_path": source.uri,
                "file_name": source.uri.rsplit("/", 1)[-1],
                "n_cells": source.n_cells,
                "cell_offset": source.offset,
            }
            for source in self.sources
        ]
        data["multi_file"] = {
            "source_files": files,
            "total_files": len(files),
            "total_cells_from_files": self.n_cells,
        }
        data.pop("annotations", None)
        if not self.checksums.files:
            data.pop("proof", None)
        return data | self.annotations.to_json()

    @classmethod
    def from_json(cls, data: JSON) -> Self:
        """The record that `to_json` wrote.

        Raises
        ------
        ValueError
            Naming the key that is missing, has a value of another kind, or contradicts others.
        """
        annotations = validate(data, AnnotationsRecord)
        config = validate({**data, "annotations": annotations}, cls)
        if data["array_shape"] != [config.n_cells, config.n_genes]:
            msg = "array_shape and n_cells, n_genes do not agree"
            raise ValueError(msg)
        _require("tables", config.tables, (name for name, spec in TABLES.items() if spec.required))
        _require("versions", config.versions, config.tables)
        _require("columns", config.columns, (CELLS, GENES))
        _check_selections(data)
        _check_offsets(config)
        _check_history(config)
        n_uns, n_sources = len(annotations.uns_per_source), len(config.sources)
        if n_uns not in {0, n_sources}:
            msg = f"unses is a list of {n_uns}, but must be of {n_sources}, one for each source"
            raise ValueError(msg)
        return config


def _check_offsets(config: DatasetConfig) -> None:
    """Check that the cells of the sources are contiguous, and are all cells."""
    cells = 0
    for at, source in enumerate(config.sources):
        if source.offset != cells:
            msg = f"sources[{at}].offset is {source.offset}, but {cells} cells come before it"
            raise ValueError(msg)
        cells += source.n_cells
    if cells != config.n_cells:
        msg = f"n_cells is {config.n_cells}, but the sources have {cells} cells"
        raise ValueError(msg)


def _check_history(config: DatasetConfig) -> None:
    """Check that versions count from 1, and that the last one has the shape of the dataset."""
    for at, record in enumerate(config.history):
        if record.version != at + 1:
            msg = f"history[{at}].version is {record.version}, but must be {at + 1}"
            raise ValueError(msg)
    for last in config.history[-1:]:
        if (last.n_cells, last.n_genes) != (config.n_cells, config.n_genes):
            msg = f"history[{len(config.history) - 1}] and n_cells, n_genes do not agree"
            raise ValueError(msg)


def _check_selections(data: JSON) -> None:
    """Refuse a selection without layers or raw: the defaults of a command are no record."""
    selections = {
        f"sources[{at}].taken": each.get("taken") for at, each in enumerate(data["sources"])
    }
    for key, selection in {"taken": data.get("taken"), **selections}.items():
        if selection is not None:
            _require(key, selection, ("layers", "raw"))


def _require(key: str, record: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if name not in record:
            msg = f"key {name!r} is missing in {key}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Manifest:
    """All of config.json.

    Attributes
    ----------
    published
        The published dataset; None until a first conversion is complete.
    checkpoint
        The unfinished run, as written by :mod:`slaf.runs.checkpoint`; None without one.
    legacy
        The config.json of slafdb, unchanged until a dataset is published; None without one.
    epoch
        How often the lock was taken over from a process that may still have been writing.
    """

    published: DatasetConfig | None = None
    checkpoint: Mapping[str, Any] | None = None
    legacy: Mapping[str, Any] | None = None
    epoch: int = 0

    def progress(self, location: Location) -> tuple[int, int]:
        """The parts of the unfinished run that have a receipt, and all parts; reads no receipt."""
        if self.checkpoint is None:
            return (0, 0)
        total = len(self.checkpoint["plan"]["parts"])
        if "journal" not in self.checkpoint:
            # The last release recorded the finished parts here.
            return len(self.checkpoint["done"]), total
        names = location.list(journal_directory(self.checkpoint["journal"]))
        return sum(RECEIPT.fullmatch(name.rpartition("/")[2]) is not None for name in names), total


def journal_directory(plan_digest: Any) -> str:
    """The directory of the receipts of a plan.

    Raises
    ------
    ValueError
        If it is no digest of a plan: no config.json leads to another directory.
    """
    if not isinstance(plan_digest, str) or not _JOURNAL.fullmatch(plan_digest):
        msg = f"checkpoint.journal is {plan_digest!r}, but must be the digest of a plan"
        raise ValueError(msg)
    return f"{SCRATCH}/{plan_digest[:16]}"


def table_directories(*, legacy: bool = False) -> dict[str, str]:
    """The directory of each table of a new dataset, or of one that takes over a slafdb dataset."""
    below = f"{LEGACY_DIR}/" if legacy else ""
    return {name: f"{below}{spec.directory}" for name, spec in TABLES.items()}


def load(location: Location, *, legacy: bool = False) -> Manifest | None:
    """Read config.json; None if there is none.

    Parameters
    ----------
    legacy
        Accept the config.json of slafdb too, without a check.

    Raises
    ------
    UnsupportedFormat
        If another program or a newer release wrote it.
    DamagedDataset
        If it violates the format or its checksum.
    """
    return parse(location, location.read(CONFIG), legacy=legacy)


def parse(location: Location, raw: bytes | None, *, legacy: bool = False) -> Manifest | None:
    """The content of a config.json that was read; as `load` gives it."""
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
    if legacy and _number(data["format_version"])[0] == 0:
        return Manifest(checkpoint=data.pop(_LEGACY_RUN, None), legacy=data, epoch=epoch_of(data))
    _check_version(where, data["format_version"])
    try:
        published = DatasetConfig.from_json(data) if _is_published(data["status"]) else None
        manifest = Manifest(published, data.get("checkpoint"), epoch=epoch_of(data))
        _check_checkpoint(manifest.checkpoint)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
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
    """Read the published dataset from config.json.

    Raises
    ------
    NotADataset, ConversionInProgress
        If there is none.
    """
    manifest = load(location)
    if manifest is None:
        missing = "does not exist" if not location.exists() else f"has no {CONFIG}"
        raise no_dataset(location, missing)
    if manifest.published is None:
        done, total = manifest.progress(location)
        msg = (
            f"{location}: conversion in progress, {done} of {total} parts; "
            "`slaf status` prints the command that finishes it, if it was stopped"
        )
        raise ConversionInProgress(msg)
    return manifest.published


def former_config(version: int) -> str:
    """The file with the config.json of a version that was published before."""
    return f"{HISTORY}/{version:06d}.json"


def load_former(location: Location, version: int) -> DatasetConfig | None:
    """A version that was published before; None if it is not kept.

    Raises
    ------
    DamagedDataset
        If its record is damaged.
    """
    raw = location.read(former_config(version))
    if raw is None:
        return None
    try:
        data = json.loads(raw)
        broken = checksum_error(raw, data)
        former = DatasetConfig.from_json(data)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        broken = str(error)
    if broken:
        msg = f"{location}: {former_config(version)} is damaged: {broken}; use another version"
        raise DamagedDataset(msg)
    return former


def save_former(location: Location, former: DatasetConfig) -> None:
    """Keep the record of a version that is about to be replaced."""
    data = {"format_version": FORMAT_VERSION, "status": "published"} | former.to_json()
    location.put(former_config(former.version), with_checksum(data))


def save(location: Location, manifest: Manifest) -> None:
    """Replace config.json by an atomic, durable write."""
    checkpoint = manifest.checkpoint
    # Indented for people once no run is unfinished; without indentation json is ten times faster.
    indent = 1 if checkpoint is None else None
    if manifest.published is None and manifest.legacy is not None:
        # slafdb has no checksum.
        data = dict(manifest.legacy) | ({} if checkpoint is None else {_LEGACY_RUN: checkpoint})
        location.put(CONFIG, json.dumps(data, indent=indent, ensure_ascii=False).encode())
        return
    status = "converting" if manifest.published is None else "published"
    data = {"format_version": FORMAT_VERSION, "status": status}
    if manifest.epoch:
        data[EPOCH] = manifest.epoch
    if manifest.published is not None:
        data |= manifest.published.to_json()
    if checkpoint is not None:
        data["checkpoint"] = checkpoint
    location.put(CONFIG, with_checksum(data, indent=indent))


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
