"""Damage of a dataset: its damaged files, and the parts, tables and elements to write again."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from slaf.format.schema import GENE_ORDER, TABLES
from slaf.sparse.ranges import RowRange
from slaf.verification.files import damaged_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from slaf.format.config import DatasetConfig
    from slaf.storage.location import Location
    from slaf.verification.files import DamagedFile

__all__ = ["Damage"]


@dataclass(frozen=True, slots=True)
class Damage:
    """The damage of a dataset.

    Attributes
    ----------
    files
        The damaged files.
    parts
        The ranges of cells whose rows are damaged, in order, and the tables of these rows.
    genes
        The ranges of genes whose rows in `expression_by_gene` are damaged.
    tables
        The tables with a damaged file, if only of an index.
    unreadable
        The tables whose version is damaged, which Lance must not open.
    lost
        The tables that are written whole and whose rows are damaged.
    elements
        The damaged files of elements.
    """

    files: tuple[DamagedFile, ...]
    parts: Mapping[RowRange, frozenset[str]]
    genes: frozenset[RowRange]
    tables: frozenset[str]
    unreadable: frozenset[str]
    lost: frozenset[str]
    elements: frozenset[str]

    @property
    def needs_inputs(self) -> bool:
        """Whether the inputs are needed to repair it."""
        return bool(self.parts or self.lost or self.elements)

    def rows_of(self, table: str) -> AbstractSet[RowRange]:
        """The cells, or genes, whose rows in a table are to be written again."""
        if TABLES[table].axis == GENE_ORDER:
            return self.genes
        return {cells for cells, tables in self.parts.items() if table in tables}

    @classmethod
    def of(cls, location: Location, published: DatasetConfig) -> Self:
        """The damage of a published dataset; reads every file."""
        files = tuple(damaged_files(location, published))
        parts: dict[RowRange, set[str]] = defaultdict(set)
        genes, tables, unreadable, lost = set(), set(), set(), set()
        for damaged in files:
            table, folder = _table_and_folder(published, damaged.file.file)
            if not table:
                continue
            tables.add(table)
            if folder == "_versions":
                unreadable.add(table)
            elif folder != "data":
                continue
            elif damaged.file.cells is not None:
                parts[RowRange(*damaged.file.cells)].add(table)
            elif damaged.file.genes is not None:
                genes.add(RowRange(*damaged.file.genes))
            else:
                lost.add(table)
        return cls(
            files=files,
            parts={cells: frozenset(parts[cells]) for cells in sorted(parts)},
            genes=frozenset(genes),
            tables=frozenset(tables),
            unreadable=frozenset(unreadable),
            lost=frozenset(lost),
            elements=frozenset(damaged.file.file for damaged in files)
            & {record.file for record in published.annotations.files},
        )


def _table_and_folder(published: DatasetConfig, file: str) -> tuple[str, str]:
    """The table of a file and its folder in the directory of the table; "" for other files."""
    for table, directory in published.tables.items():
        if file.startswith(f"{directory}/"):
            return table, file.removeprefix(f"{directory}/").split("/", 1)[0]
    return "", ""
