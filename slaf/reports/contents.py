"""The content of a report: warnings, sources, quality, genes, bytes and history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

if TYPE_CHECKING:
    from slaf.format.config import SourceRecord
    from slaf.format.records import HistoryRecord, StepRecord

__all__ = [
    "ColumnBytes",
    "DatasetReport",
    "FragmentBytes",
    "GeneCounts",
    "ReportWarning",
    "SourceQuality",
    "TableBytes",
    "Verification",
]

# The range, quartiles and mean of a metric, by name; None without a cell that has the metric.
Summary = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class ReportWarning:
    """A warning.

    Attributes
    ----------
    kind
        "damaged", "unverified", "empty", "negative", "fractional", "not finite", "repeated ids",
        "raw droplets", "cells without counts" or "not measured".
    text
        The warning, with numbers.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The state of verification.

    Attributes
    ----------
    state
        "quick" (the tables agree with each other and their records), "failed" or "none".
    checks
        The checks, as text.
    differences
        The first differences, as text.
    """

    state: str
    checks: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceQuality:
    """An input, and the quality of its cells.

    Attributes
    ----------
    name
        Its short name.
    record
        Its record in config.json.
    n_genes
        The genes of the matrix that it has measured.
    nonzeros
        The nonzeros of its cells; None if the values could not be read.
    metrics
        The summary of each metric, by scanpy's names: `n_genes_by_counts`, `total_counts` and,
        where there are mitochondrial genes, `total_counts_mt` and `pct_counts_mt`.
    knee
        At most 200 pairs of a rank and the sum of the cell of this rank, the greatest first; cells
        whose sum is not above zero are not among them.
    """

    name: str
    record: SourceRecord
    n_genes: int
    nonzeros: int | None = None
    metrics: Mapping[str, Summary] = field(default_factory=dict)
    knee: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class GeneCounts:
    """A gene: id, symbol ("" without one), sum of its values, and the cells that have any."""

    id: str
    symbol: str
    total: float
    n_cells: int


@dataclass(frozen=True, slots=True)
class ColumnBytes:
    """A column of a table, by the name that the user gave it, and its bytes."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class FragmentBytes:
    """A file of a table: its rows, where they are recorded, and bytes."""

    file: str
    rows: int | None
    bytes: int


@dataclass(frozen=True, slots=True)
class TableBytes:
    """A table: the version that readers open, its bytes, columns and files of data."""

    name: str
    version: int
    bytes: int
    columns: tuple[ColumnBytes, ...]
    fragments: tuple[FragmentBytes, ...]


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """The content of a report of a dataset, as `slaf report` makes it.

    Attributes
    ----------
    location
        Its directory or URL.
    digest
        The digest in config.json, which covers the records of all blocks, files and tables; "" of
        a release that recorded none.
    matrix
        The matrix whose values are described: "X", "raw" or "layer:NAME".
    n_cells, n_genes, nonzeros
        Its shape and nonzeros.
    dtype, value_type
        The type in which its values are read, and the type that is stored.
    bytes
        The size of all files.
    warnings
        The warnings, the worst first.
    verification
        The state of verification.
    sources
        The inputs, in the order of their cells.
    mt_genes
        The number of mitochondrial genes.
    genes
        The genes with the greatest sums, the greatest first.
    tables
        The tables.
    annotations
        Layers, raw, obsm and the other slots, as text.
    left_behind
        The content of the inputs that is not in the dataset, as far as it is recorded, as text.
    steps
        The steps that the inputs went through before they were stored.
    history
        The versions of the dataset.
    created_at, last_updated, writer
        The times of writing (ISO 8601, UTC), and the program.
    commands
        The lines that make the dataset again from its inputs: of a shell, or of Python if the
        inputs were transformed.
    """

    location: str
    digest: str
    matrix: str
    n_cells: int
    n_genes: int
    nonzeros: int
    dtype: str
    value_type: str
    bytes: int
    warnings: tuple[ReportWarning, ...]
    verification: Verification
    sources: tuple[SourceQuality, ...]
    mt_genes: int
    genes: tuple[GeneCounts, ...]
    tables: tuple[TableBytes, ...]
    annotations: tuple[str, ...]
    left_behind: tuple[str, ...]
    steps: tuple[StepRecord, ...]
    history: tuple[HistoryRecord, ...]
    created_at: str
    last_updated: str
    writer: str
    commands: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `slaf report --json` prints it."""
        data: dict[str, Any] = to_builtins(self)
        return data
