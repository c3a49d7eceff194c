"""What of a dataset is damaged, and what it takes to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from slaf.format.schema import GENE_ORDER, TABLES
from slaf.sparse.ranges import RowRange
from slaf.verification.files import damaged_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
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
        The files that are not what was written.
    parts
        The cells whose rows are to be written again, and in which tables.
    genes
        The genes whose rows are to be sorted again.
    tables
        The tables of which anything is damaged, be it an index.
    unopened
        Those of them whose version is damaged, so that Lance is not to open them.
    lost
        Those that are written whole and whose rows are damaged.
    elements
        The damaged files of elements.
    """

    files: tuple[DamagedFile, ...]
    parts: Mapping[RowRange, frozenset[str]]
    genes: frozenset[RowRange]
    tables: frozenset[str]
    unopened: frozenset[str]
    lost: frozenset[str]
    elements: frozenset[str]

    @property
    def needs_inputs(self) -> bool:
        """Whether something is gone that only the inputs hold."""
        return bool(self.parts or self.lost or self.elements)

    def rows_of(self, table: str) -> AbstractSet[RowRange]:
        """The cells, or genes, whose rows in a table are to be written again."""
        if TABLES[table].axis == GENE_ORDER:
            return self.genes
        return {cells for cells, tables in self.parts.items() if table in tables}

    @classmethod
    def of(cls, location: Location, published: DatasetConfig) -> Self:
        """The damage of what is published here; reads every file."""
        return cls.found(published, damaged_files(location, published))

    @classmethod
    def found(cls, published: DatasetConfig, damaged: Iterable[DamagedFile]) -> Self:
        """The damage that these files are."""
        files = tuple(damaged)
        parts: dict[RowRange, frozenset[str]] = {}
        genes = set()
        tables, unopened, lost = set(), set(), set()
        names = {one.file.file for one in files}
        elements = names.intersection(record.file for record in published.annotations.files)
        for one in files:
            table, kind = _place(published, one.file.file)
            if not table:
                continue
            tables.add(table)
            if kind == "_versions":
                unopened.add(table)
            elif kind == "data" and one.file.cells is not None:
                cells = RowRange(*one.file.cells)
                parts[cells] = parts.get(cells, frozenset()) | {table}
            elif kind == "data" and one.file.genes is not None:
                genes.add(RowRange(*one.file.genes))
            elif kind == "data":
                lost.add(table)
        return cls(
            files,
            {cells: parts[cells] for cells in sorted(parts)},
            frozenset(genes),
            frozenset(tables),
            frozenset(unopened),
            frozenset(lost),
            frozenset(elements),
        )


def _place(published: DatasetConfig, file: str) -> tuple[str, str]:
    """The table that a file is of, and which of its folders it is in; "" for neither."""
    for table, directory in published.tables.items():
        if file.startswith(f"{directory}/"):
            return table, file.removeprefix(f"{directory}/").split("/", 1)[0]
    return "", ""
