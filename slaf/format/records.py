"""What config.json says of all that stands beside the matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from slaf.annotations.arrays import ElementSpec
from slaf.annotations.columns import ColumnSet
from slaf.annotations.uns import TypeHint
from slaf.errors import DamagedDataset
from slaf.format.config import Block
from slaf.format.schema import EXPRESSION, LAYERS, RAW
from slaf.options import ALIGNED_SLOTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slaf.format.config import DatasetConfig

__all__ = [
    "AnnotationsRecord",
    "FileRecord",
    "GeneBlock",
    "GeneOrderRecord",
    "LayersRecord",
    "MatrixRecord",
    "RawRecord",
    "annotations_record",
    "checksum_blocks",
    "gene_order_record",
    "is_uns_file",
]

JSON = dict[str, Any]

# The slots whose elements each have a form, and the group of raw's varm in the file of elements.
_NAME_LENGTH: Final = 32


@dataclass(frozen=True, slots=True)
class MatrixRecord:
    """A column of values of `layers` or `raw`.

    Attributes
    ----------
    name
        The column.
    original
        The user's name for it.
    dtype
        The numeric type that its values are given back in.
    source_dtype
        That which they have in the source.
    value_type
        The type of the column.
    blocks
        The digests of its values, as `blocks` of the dataset has those of `expression`.
    """

    name: str
    original: str
    dtype: str
    source_dtype: str
    value_type: str
    blocks: tuple[Block, ...]

    @property
    def nnz(self) -> int:
        """Values that are not zero."""
        return sum(block.rows for block in self.blocks)

    def to_json(self) -> JSON:
        """As config.json has it."""
        return {
            "name": self.name,
            "original": self.original,
            "dtype": self.dtype,
            "source_dtype": self.source_dtype,
            "value_type": self.value_type,
            "blocks": [block.to_json() for block in self.blocks],
        }

    @classmethod
    def from_json(cls, data: JSON) -> MatrixRecord:
        """As `to_json` wrote it."""
        return cls(**data | {"blocks": tuple(map(Block.from_json, data["blocks"]))})


@dataclass(frozen=True, slots=True)
class LayersRecord:
    """The table `layers`: its rows, and its columns of values."""

    rows: int
    matrices: tuple[MatrixRecord, ...]

    def to_json(self) -> JSON:
        """As config.json has it: the keys that slafdb knows, and ours."""
        names = [matrix.name for matrix in self.matrices]
        return {
            **_listed(names),
            "rows": self.rows,
            "columns": [matrix.to_json() for matrix in self.matrices],
        }

    @classmethod
    def from_json(cls, data: JSON) -> LayersRecord:
        """As `to_json` wrote it."""
        return cls(data["rows"], tuple(map(MatrixRecord.from_json, data["columns"])))


@dataclass(frozen=True, slots=True)
class RawRecord:
    """The tables `raw` and `raw_genes`.

    Attributes
    ----------
    rows
        Of `raw`.
    n_genes
        Rows of `raw_genes`.
    matrix
        The values.
    columns
        What the columns of `raw_genes` were.
    varm
        The elements beside its genes.
    measured
        Of several inputs, the genes that the raw of each has, as ranges ``[start, stop)``: none
        of one that has no raw.
    """

    rows: int
    n_genes: int
    matrix: MatrixRecord
    columns: ColumnSet
    varm: tuple[ElementSpec, ...]
    measured: tuple[tuple[tuple[int, int], ...], ...] = ()

    def to_json(self) -> JSON:
        """As config.json has it."""
        return {
            "rows": self.rows,
            "n_genes": self.n_genes,
            "matrix": self.matrix.to_json(),
            "columns": self.columns.to_json(),
            "varm": [form.to_json() for form in self.varm],
            "measured": self.measured,
        }

    @classmethod
    def from_json(cls, data: JSON) -> RawRecord:
        """As `to_json` wrote it."""
        return cls(
            data["rows"],
            data["n_genes"],
            MatrixRecord.from_json(data["matrix"]),
            ColumnSet.from_json(data["columns"]),
            tuple(map(ElementSpec.from_json, data["varm"])),
            tuple(
                tuple((start, stop) for start, stop in ranges)
                for ranges in data.get("measured", ())
            ),
        )


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file of elements, by anndata's own writer.

    Attributes
    ----------
    file
        Its name, which has the digest in it, so that another content has another name.
    bytes, digest
        Its size, and the xxh3-128 of its content.
    notes
        What anndata does not say of the elements.
    """

    file: str
    bytes: int
    digest: str
    notes: tuple[TypeHint, ...]

    def to_json(self) -> JSON:
        """As config.json has it."""
        return {
            "file": self.file,
            "bytes": self.bytes,
            "digest": self.digest,
            "notes": [note.to_json() for note in self.notes],
        }

    @classmethod
    def from_json(cls, data: JSON) -> FileRecord:
        """As `to_json` wrote it."""
        return cls(**data | {"notes": tuple(map(TypeHint.from_json, data["notes"]))})


@dataclass(frozen=True, slots=True)
class AnnotationsRecord:
    """All that stands beside the matrix.

    Attributes
    ----------
    layers, raw
        Further matrices; None without.
    forms
        Of each slot, what its elements were, in their order.
    uns, elements
        The files of uns, and of the elements that no table holds; None without.
    taken
        What was selected of the inputs that came last, as
        :class:`slaf.options.SlotSelection`
        writes it; None of a dataset that was made when nothing was taken along.
    unses
        The file of the uns of each input, None of one without; empty where there is one input,
        whose uns is that of the dataset.
    """

    layers: LayersRecord | None = None
    raw: RawRecord | None = None
    forms: Mapping[str, tuple[ElementSpec, ...]] = field(default_factory=dict)
    uns: FileRecord | None = None
    elements: FileRecord | None = None
    taken: Mapping[str, Any] | None = None
    unses: tuple[FileRecord | None, ...] = ()

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """All files, each once."""
        records = (self.uns, self.elements, *self.unses)
        return tuple({record.file: record for record in records if record}.values())

    def matrices(self) -> dict[str, tuple[MatrixRecord, ...]]:
        """The columns of values of each table of further matrices that there is."""
        found = {} if self.layers is None else {LAYERS: self.layers.matrices}
        return found if self.raw is None else found | {RAW: (self.raw.matrix,)}

    def to_json(self) -> JSON:
        """As config.json has it, each under its own key; nothing of what is not there."""
        data: JSON = {} if self.taken is None else {"taken": dict(self.taken)}
        for slot, forms in self.forms.items():
            data[slot] = {
                **_listed([form.name for form in forms if form.name is not None]),
                "dimensions": {form.name: form.width or 1 for form in forms if form.name},
                "forms": [form.to_json() for form in forms],
            }
        for key in ("layers", "raw", "uns", "elements"):
            record = getattr(self, key)
            if record is not None:
                data[key] = record.to_json()
        if any(self.unses):
            data["unses"] = [record and record.to_json() for record in self.unses]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AnnotationsRecord:
        """As `to_json` wrote it."""
        read: JSON = {"layers": LayersRecord.from_json, "raw": RawRecord.from_json}
        read |= {"uns": FileRecord.from_json, "elements": FileRecord.from_json}
        found: JSON = {key: make(data[key]) for key, make in read.items() if key in data}
        forms = {
            slot: tuple(map(ElementSpec.from_json, data[slot]["forms"]))
            for slot in ALIGNED_SLOTS
            if slot in data
        }
        unses = tuple(
            None if record is None else FileRecord.from_json(record)
            for record in data.get("unses", ())
        )
        return cls(forms=forms, taken=data.get("taken"), unses=unses, **found)


def annotations_record(published: DatasetConfig) -> AnnotationsRecord:
    """What a dataset has beside its matrix.

    Raises
    ------
    DamagedDataset
        If config.json does not say it.
    """
    try:
        return AnnotationsRecord.from_json(published.beside)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        msg = (
            f"what config.json says of what stands beside the matrix is damaged ({error!r}); "
            "restore it from a copy, or convert again"
        )
        raise DamagedDataset(msg) from error


def checksum_blocks(published: DatasetConfig | None) -> dict[str, tuple[Block, ...]]:
    """The blocks of a dataset by table, and column of values as in "layers.spliced"."""
    if published is None:
        return {}
    found = {EXPRESSION: published.blocks}
    for table, matrices in annotations_record(published).matrices().items():
        found |= {f"{table}.{matrix.name}": matrix.blocks for matrix in matrices}
    return found


def is_uns_file(name: str) -> bool:
    """Whether a file at the top of a dataset is one that a `FileRecord` may name."""
    stem, dot, suffix = name.partition(".")
    what, dash, digest = stem.partition("-")
    return (
        (what, dash, dot, suffix) in {("uns", "-", ".", "h5"), ("elements", "-", ".", "h5")}
        and len(digest) == _NAME_LENGTH
        and set(digest) <= set("0123456789abcdef")
    )


def _listed(names: list[str]) -> JSON:
    return {"available": names, "immutable": names, "mutable": []}


_KEY = "by_gene"


@dataclass(frozen=True, slots=True)
class GeneBlock(Block):
    """A run of whole genes, and the digest of what they hold.

    It is taken as that of cells is: over the rows of each gene, the cells and the values.
    """

    def __str__(self) -> str:
        return f"genes {self.start} to {self.stop}"

    def to_json(self) -> JSON:
        """As config.json has it."""
        return {"genes": [self.start, self.stop], "rows": self.rows, "digest": self.digest}

    @classmethod
    def from_json(cls, data: JSON) -> Self:
        """As `to_json` wrote it."""
        start, stop = data["genes"]
        return cls(start, stop, data["rows"], data["digest"])


@dataclass(frozen=True, slots=True)
class GeneOrderRecord:
    """The proof of the table.

    Attributes
    ----------
    blocks
        The genes in runs, in order, each with its digest.
    fingerprint
        That of all rows of `expression`, taken while they were held against their own digests:
        the rows of this table have the same.
    """

    blocks: tuple[GeneBlock, ...]
    fingerprint: str

    def to_json(self) -> JSON:
        """The key of config.json, and what is there."""
        blocks = [block.to_json() for block in self.blocks]
        return {_KEY: {"fingerprint": self.fingerprint, "blocks": blocks}}


def gene_order_record(published: DatasetConfig) -> GeneOrderRecord | None:
    """What a dataset says of the table; None if it has none."""
    data = published.beside.get(_KEY)
    if data is None:
        return None
    return GeneOrderRecord(tuple(map(GeneBlock.from_json, data["blocks"])), data["fingerprint"])
