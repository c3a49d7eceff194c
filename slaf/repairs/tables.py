"""Rebuild the tables and files that are written whole, and compare them with their digests."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from slaf.annotations.arrays import pairs_to_table
from slaf.annotations.uns import read_elements
from slaf.errors import DamagedDataset, SourceChanged
from slaf.format.digests import table_digest
from slaf.format.schema import CELLS, GENE_ORDER, GENES, pair_table, partitioned_tables
from slaf.runs.annotated import PAIR_SLOTS, elements_without, table_without
from slaf.runs.annotations import elements_file, encode_annotations
from slaf.runs.publish import cells_table, genes_table, with_plain_ids
from slaf.tables.read import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.format.config import DatasetConfig
    from slaf.format.records import FileRecord
    from slaf.format.schema import Axis
    from slaf.runs.annotations import EncodedAnnotations
    from slaf.runs.publish import Axes
    from slaf.sources.concat.source import Concat
    from slaf.storage.location import Location

__all__ = ["RebuiltTables", "row_starts", "salvage_rows"]


def salvage_rows(location: Location, published: DatasetConfig, name: str) -> pa.Table | None:
    """The rows of a table that is written whole, from its data file; None if they are damaged.

    The version of the table is not read: it may be damaged.
    """
    directory = f"{published.tables[name]}/data"
    files = published.checksums.of(directory)
    if len(files) != 1:
        return None
    table = read_file(location, files[0].file)
    return table if table_digest(table) == published.checksums.tables[name] else None


class RebuiltTables:
    """The tables and files of a dataset, rebuilt from its inputs.

    Parameters
    ----------
    source
        The inputs.
    published
        The damaged dataset.
    axes
        The cells and genes of the inputs.
    """

    def __init__(self, source: Concat, published: DatasetConfig, axes: Axes) -> None:
        self._source = source
        self._published = published
        self._axes = axes
        self._annotations: EncodedAnnotations = encode_annotations(source, axes.cells, axes.genes)

    def table(self, name: str, starts: Mapping[str, NDArray[np.int64]]) -> pa.Table:
        """A table, given the row offsets of `row_starts`.

        Raises
        ------
        SourceChanged
            If the inputs give another.
        """
        table = self._table(name, starts)
        # Of plain types an earlier release stored none in tables that are written whole.
        for candidate in () if table is None else (table, with_plain_ids(name, table)):
            if table_digest(candidate) == self._published.checksums.tables[name]:
                return candidate
        raise self._source_changed(name)

    def file(self, name: str) -> bytes:
        """The content of a file of elements, by its name, which contains its digest.

        Raises
        ------
        SourceChanged
            If the inputs give another.
        """
        key = name.partition("-")[0]
        files = [*self._annotations.files.values(), *self._annotations.uns_per_source]
        if self._published.annotated is not None:
            files.append(self._remaining(key))
        for record, content in filter(None, files):
            if record.file == name:
                return content
        raise self._source_changed(key)

    def remaining_file(self, key: str) -> tuple[FileRecord, bytes] | None:
        """The file "uns" or "elements" without what the dataset was annotated with.

        Raises
        ------
        SourceChanged
            If the inputs give another.
        """
        made = self._remaining(key)
        annotated = self._published.annotated
        expected = "" if annotated is None else annotated.digests.get(key, "")
        if ("" if made is None else made[0].digest) != expected:
            raise self._source_changed(key)
        return made

    def _remaining(self, key: str) -> tuple[FileRecord, bytes] | None:
        if key not in self._annotations.files:
            return None
        record, content = self._annotations.files[key]
        elements = read_elements(BytesIO(content), list(record.notes))
        kept = elements_without(elements, self._published.annotated_names)
        return elements_file(key, kept) if kept else None

    def _without_annotated(self, name: str, table: pa.Table) -> pa.Table:
        columns, specs = self._axes.columns[name], self._annotations.forms
        return table_without(name, table, columns, specs, self._published.annotated_names)

    def _table(self, name: str, starts: Mapping[str, NDArray[np.int64]]) -> pa.Table | None:
        if name == CELLS:
            sources = self._published.sources
            cells = cells_table(self._axes.cells, starts, self._annotations.cells, sources)
            return self._without_annotated(CELLS, cells)
        if name == GENES:
            genes = genes_table(self._axes.genes, starts, self._annotations.genes)
            return self._without_annotated(GENES, genes)
        slot = PAIR_SLOTS.get(name)
        if slot is not None and any(
            n.startswith(f"{slot}:") for n in self._published.annotated_names
        ):
            return self._remaining_pairs(slot)
        return self._annotations.tables.get(name)

    def _remaining_pairs(self, slot: str) -> pa.Table | None:
        elements, names = getattr(self._source.slots(), slot), self._published.annotated_names
        kept = {key: elements[key] for key in elements if f"{slot}:{key}" not in names}
        n = self._published.n_cells if slot == "obsp" else self._published.n_genes
        return pairs_to_table(kept, n, pair_table(slot).ids)[0]

    def _source_changed(self, name: str) -> SourceChanged:
        return SourceChanged(
            f"{self._source.info.uri}: {name} made of it is not what was written, so nothing is "
            "repaired; give the inputs as they were"
        )


def row_starts(
    location: Location, published: DatasetConfig, files: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[np.int64]]:
    """The row offsets of each cell in each of these tables; in `expression_by_gene`, of each gene.

    Parameters
    ----------
    location, published
        The dataset.
    files
        The files with the rows of each table that is written in parts.
    """
    return {
        spec.name: _starts(location, published, files[spec.name], spec.axis)
        for spec in partitioned_tables(files)
    }


def _starts(
    location: Location, published: DatasetConfig, files: Sequence[str], axis: Axis
) -> NDArray[np.int64]:
    n = published.n_genes if axis == GENE_ORDER else published.n_cells
    counts = np.zeros(n, np.int64)
    for file in files:
        positions = read_file(location, file, [axis.ids[0]]).column(0).to_numpy()
        if positions.max(initial=0) >= n:
            msg = f"{location}: {file} has rows of {axis.name} that do not exist"
            raise DamagedDataset(msg)
        counts += np.bincount(positions, minlength=n)
    return np.cumsum(np.concatenate([np.zeros(1, np.int64), counts]))
