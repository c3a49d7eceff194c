"""Records of blocks, layers, raw, annotations and the gene order in config.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import Meta, field
from msgspec.structs import replace

from slaf.annotations.arrays import ElementSpec
from slaf.annotations.columns import ColumnSet
from slaf.annotations.uns import TypeHint
from slaf.format.schema import COVERAGE, LAYERS, RAW, VALUE, VALUE_TYPES
from slaf.format.validation import Count, Digest, NumericType, Range, Record, matching
from slaf.options import SlotSelection

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

__all__ = [
    "AnnotatedRecord",
    "AnnotationsRecord",
    "Block",
    "ComputedRecord",
    "ContigRecord",
    "CoverageRecord",
    "FileRecord",
    "GeneBlock",
    "GeneOrderRecord",
    "HistoryRecord",
    "LayersRecord",
    "MatrixRecord",
    "RawRecord",
    "SlotRecord",
    "StepRecord",
    "ValueType",
    "is_uns_file",
]

JSON = dict[str, Any]

_STEPS: Final = (
    *("standardize_genes", "select", "filter_cells", "filter_genes", "sample", "sort_by"),
    *("downsample_counts", "normalize_total", "log1p"),
)
_TYPES: Final = [str(dtype) for dtype in VALUE_TYPES]
ValueType = Annotated[str, matching("|".join(_TYPES), f"one of {', '.join(_TYPES)}")]
_FILE: Final = r"(uns|elements)-[0-9a-f]{32}\.h5"
_FileName = Annotated[str, matching(_FILE, "uns-DIGEST.h5 or elements-DIGEST.h5")]


class StepRecord(Record, frozen=True):
    """A step that all inputs went through before they were stored: a method of `slaf.View`.

    Attributes
    ----------
    name
        The name of the step; "select" for the selection of cells and genes by filters.
    options
        Its keywords, with the numbers that were computed.
    before, after
        The cells and genes of the inputs of the first run before the step, and after it; None in
        datasets of earlier releases.
    """

    name: Annotated[str, matching("|".join(_STEPS), f"one of {', '.join(_STEPS)}")]
    options: Mapping[str, Any] = {}
    before: tuple[Count, Count] | None = None
    after: tuple[Count, Count] | None = None


class Block(Record, frozen=True):
    """A checksum block: a range of cells, and the digest of their rows."""

    span: Range = field(name="cells")
    rows: Count
    digest: Digest

    def __post_init__(self) -> None:
        start, stop = self.span
        if start > stop:
            msg = f"{self} is no range"
            raise ValueError(msg)

    def __str__(self) -> str:
        return f"cells {self.start} to {self.stop}"

    @property
    def start(self) -> int:
        """The first cell."""
        return self.span[0]

    @property
    def stop(self) -> int:
        """The cell after the last."""
        return self.span[1]


class GeneBlock(Block, frozen=True):
    """A range of genes, and the digest of their rows: cells and values in the order of genes."""

    span: Range = field(name="genes")

    def __str__(self) -> str:
        return f"genes {self.start} to {self.stop}"


class GeneOrderRecord(Record, frozen=True):
    """The table `expression_by_gene`.

    Attributes
    ----------
    fingerprint
        The `MultisetHash` of the rows of `expression`, computed while they were compared with
        their digests; the rows of this table have the same.
    blocks
        All genes, in order.
    """

    fingerprint: Annotated[str, matching("[0-9a-f]{16}", "16 hexadecimal digits")]
    blocks: tuple[GeneBlock, ...]

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return sum(block.rows for block in self.blocks)

    @property
    def blocks_by_column(self) -> dict[str, tuple[Block, ...]]:
        """The blocks of each value column."""
        return {VALUE: self.blocks}


class MatrixRecord(Record, frozen=True, forbid_unknown_fields=True):
    """A column of values of `layers` or `raw`.

    Attributes
    ----------
    name
        The column.
    original
        The user's name for it.
    dtype
        The type in which its values are read.
    source_dtype
        The numeric type of its values in the source.
    value_type
        The type of the column.
    blocks
        The checksum blocks of its values, the same ranges of cells as in `expression`.
    """

    name: str
    original: str
    dtype: NumericType
    source_dtype: NumericType
    value_type: ValueType
    blocks: tuple[Block, ...]

    @property
    def nnz(self) -> int:
        """The number of values."""
        return sum(block.rows for block in self.blocks)


class LayersRecord(Record, frozen=True):
    """The table `layers`: its rows, and its columns of values."""

    rows: Count
    matrices: tuple[MatrixRecord, ...] = field(name="columns")

    @property
    def blocks_by_column(self) -> dict[str, tuple[Block, ...]]:
        """The blocks of each value column."""
        return {matrix.name: matrix.blocks for matrix in self.matrices}


class RawRecord(Record, frozen=True):
    """The tables `raw` and `raw_genes`.

    Attributes
    ----------
    rows
        Rows of `raw`.
    n_genes
        Rows of `raw_genes`.
    matrix
        The values.
    columns
        The user's columns of `raw_genes`.
    varm
        The elements of raw's varm.
    genes_present
        The genes in the raw of each of several inputs, as ranges ``[start, stop)``; no ranges for
        an input without raw.
    """

    rows: Count
    n_genes: Count
    matrix: MatrixRecord
    columns: ColumnSet
    varm: tuple[ElementSpec, ...]
    genes_present: tuple[tuple[Range, ...], ...] = field(name="measured", default=())

    @property
    def matrices(self) -> tuple[MatrixRecord, ...]:
        """The values, as `LayersRecord` has them."""
        return (self.matrix,)

    @property
    def blocks_by_column(self) -> dict[str, tuple[Block, ...]]:
        """The blocks of each value column."""
        return {self.matrix.name: self.matrix.blocks}


class ContigRecord(Record, frozen=True):
    """A contig, and its length in bases."""

    name: str
    length: Count


class CoverageRecord(Record, frozen=True):
    """The table `coverage`: its rows, its contigs in order, and its columns of values."""

    rows: Count
    contigs: tuple[ContigRecord, ...]
    matrices: tuple[MatrixRecord, ...] = field(name="columns")

    @property
    def n_genes(self) -> int:
        """The number of contigs, which are its columns as a matrix."""
        return len(self.contigs)

    @property
    def blocks_by_column(self) -> dict[str, tuple[Block, ...]]:
        """The blocks of each value column."""
        return {matrix.name: matrix.blocks for matrix in self.matrices}


class FileRecord(Record, frozen=True, forbid_unknown_fields=True):
    """A file of elements in anndata's encoding.

    Attributes
    ----------
    file
        Its name, which contains the digest.
    bytes, digest
        Its size, and the xxh3-128 of its content.
    notes
        The types of elements that anndata reads as another type.
    """

    file: _FileName
    bytes: Count
    digest: Digest
    notes: tuple[TypeHint, ...]


class SlotRecord(Record, frozen=True):
    """The elements of obsm, varm, obsp or varp, in their order."""

    specs: tuple[ElementSpec, ...] = field(name="forms")


class AnnotationsRecord(Record, frozen=True, omit_defaults=True):
    """The layers, raw and annotations of a dataset; a slot without elements has no key.

    Attributes
    ----------
    selection
        The selection of slots of the last inputs; None in datasets of the release that converted
        the matrix only.
    obsm, varm, obsp, varp
        The elements of each slot.
    layers, raw
        The layers and raw.
    coverage
        The coverage of reads.
    uns, elements
        The files of uns, and of the elements that do not fit into a table.
    uns_per_source
        The file of the uns of each input, None for an input without uns; empty for one input, whose
        uns is the uns of the dataset.
    """

    selection: SlotSelection | None = field(name="taken", default=None)
    obsm: SlotRecord | None = None
    varm: SlotRecord | None = None
    obsp: SlotRecord | None = None
    varp: SlotRecord | None = None
    layers: LayersRecord | None = None
    raw: RawRecord | None = None
    coverage: CoverageRecord | None = None
    uns: FileRecord | None = None
    elements: FileRecord | None = None
    uns_per_source: tuple[FileRecord | None, ...] = field(name="unses", default=())

    @property
    def specs(self) -> dict[str, tuple[ElementSpec, ...]]:
        """The elements of each slot, in their order."""
        records = {"obsm": self.obsm, "varm": self.varm, "obsp": self.obsp, "varp": self.varp}
        return {slot: record.specs for slot, record in records.items() if record is not None}

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """All files, without repetition."""
        records = (self.uns, self.elements, *self.uns_per_source)
        return tuple({record.file: record for record in records if record}.values())

    def matrices(self) -> dict[str, tuple[MatrixRecord, ...]]:
        """The columns of values of `layers`, `raw` and `coverage`, by table."""
        records = {LAYERS: self.layers, RAW: self.raw, COVERAGE: self.coverage}
        return {table: record.matrices for table, record in records.items() if record is not None}

    def to_json(self) -> JSON:
        """The keys of config.json, with those that slafdb reads."""
        data = super().to_json()
        for slot, specs in self.specs.items():
            widths = {spec.name: spec.width or 1 for spec in specs if spec.name is not None}
            data[slot] |= {"dimensions": widths, **_slafdb_columns(widths)}
        if self.layers is not None:
            data["layers"] |= _slafdb_columns(matrix.name for matrix in self.layers.matrices)
        return data


class ComputedRecord(Record, frozen=True, omit_defaults=True):
    """Columns that were computed of a dataset itself, which appends and removals compute anew.

    Attributes
    ----------
    names
        "obs:NAME" and "var:NAME": metrics by the names of `slaf.View.qc_metrics`.
    options
        Its keywords; None for columns that cannot be computed anew, and are dropped then.
    """

    names: Annotated[tuple[str, ...], Meta(min_length=1)]
    options: Mapping[str, Any] | None = None


class AnnotatedRecord(Record, frozen=True):
    """The content added, replaced or dropped after the inputs of a dataset were converted.

    Attributes
    ----------
    names
        "obs:NAME", "obsm:KEY", "layer:NAME", …; a name that the dataset lacks was dropped.
    digests
        The digest that each table, and each file of elements by "uns" or "elements", would have
        without these: a repair makes it again from the inputs.
    computed
        The names among these whose columns were computed of the dataset itself, and how.
    """

    names: tuple[str, ...]
    digests: Mapping[str, Digest] = {}
    computed: tuple[ComputedRecord, ...] = ()

    def computed_but(self, names: Container[str]) -> tuple[ComputedRecord, ...]:
        """The records of computed columns without some names."""
        left = [tuple(name for name in one.names if name not in names) for one in self.computed]
        pairs = zip(self.computed, left, strict=True)
        return tuple(replace(one, names=kept) for one, kept in pairs if kept)


class HistoryRecord(Record, frozen=True, omit_defaults=True):
    """A version of a dataset: what was published by one run.

    Attributes
    ----------
    version
        Its number, from 1.
    published_at
        ISO 8601, UTC.
    operation
        The run that made it: "convert", "append", "annotate", ….
    n_cells, n_genes
        The shape of the matrix.
    """

    version: Count
    published_at: str
    operation: str
    n_cells: Count
    n_genes: Count


def _slafdb_columns(columns: Iterable[str]) -> JSON:
    names = list(columns)
    return {"available": names, "immutable": names, "mutable": []}


def is_uns_file(name: str) -> bool:
    """Whether a file name is that of a `FileRecord`."""
    return re.fullmatch(_FILE, name) is not None
