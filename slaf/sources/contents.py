"""Contents of an input other than its matrix: raw, coverage, slots, and measured genes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from slaf.format.config import SourceRecord
    from slaf.sources.matrix import Matrix

__all__ = ["Coverage", "Measured", "Raw", "Slots", "measured_by"]


@dataclass(frozen=True, slots=True)
class Raw:
    """The matrix that AnnData calls raw, with its own genes.

    Attributes
    ----------
    matrix
        Its values; its cells are those of the source.
    genes
        Its genes, as from `Source.genes`.
    varm
        Its varm, by name.
    genes_present
        The genes in the raw of each of several inputs, as ranges ``[start, stop)``.
    """

    matrix: Matrix
    genes: pa.Table
    varm: Mapping[str, Any]
    genes_present: tuple[tuple[tuple[int, int], ...], ...] = ()


class Measured(NamedTuple):
    """The genes that an input of several has measured: a zero of another is no measurement.

    Attributes
    ----------
    rows
        The cells of the input.
    genes
        The genes, as ranges ``[start, stop)``.
    """

    rows: RowRange
    genes: tuple[tuple[int, int], ...]


def measured_by(
    records: Sequence[SourceRecord], slot: str | None = None, raw: Raw | None = None
) -> tuple[Measured, ...]:
    """The genes that each of several inputs has measured.

    Parameters
    ----------
    records
        The inputs.
    slot
        "layer:NAME" for the genes of a layer, which not every input has.
    raw
        For the genes of raw.
    """
    cells = [RowRange(record.offset, record.offset + record.n_cells) for record in records]
    if raw is not None:
        ranges = raw.genes_present or (((0, raw.matrix.shape[1]),),) * len(records)
        return tuple(map(Measured, cells, ranges))
    return tuple(
        Measured(
            rows,
            record.genes_present
            if not slot or record.slots is None or slot in record.slots
            else (),
        )
        for rows, record in zip(cells, records, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Coverage:
    """The depth of every base of aligned reads, as runs of equal depth.

    Attributes
    ----------
    contigs
        The name and the length of each contig.
    columns
        The strand, start, length and depth of the runs, as matrices of cells × contigs. A cell has
        several runs of a contig, in the order of strands and starts.
    """

    contigs: tuple[tuple[str, int], ...]
    columns: Mapping[str, Matrix]

    def mapped(self, change: Callable[[Matrix], Matrix]) -> Coverage:
        """The runs of other cells, by what becomes of each column."""
        return replace(self, columns={name: change(one) for name, one in self.columns.items()})


@dataclass(frozen=True, slots=True)
class Slots:
    """The elements of obsm, varm, obsp, varp and uns by name, as anndata has them in memory.

    Attributes
    ----------
    obsm, varm
        With a row for each cell, or gene.
    obsp, varp
        Cells × cells, genes × genes.
    uns
        Anything.
    """

    obsm: Mapping[str, Any] = field(default_factory=dict)
    varm: Mapping[str, Any] = field(default_factory=dict)
    obsp: Mapping[str, Any] = field(default_factory=dict)
    varp: Mapping[str, Any] = field(default_factory=dict)
    uns: Mapping[str, Any] = field(default_factory=dict)
