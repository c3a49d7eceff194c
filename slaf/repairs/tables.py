"""The tables and files that are written whole, made again and held against their digests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slaf.errors import DamagedDataset, SourceChanged
from slaf.format.digests import table_digest
from slaf.format.schema import CELLS, GENE_ORDER, GENES, partitioned_tables
from slaf.runs.annotations import encode_annotations
from slaf.runs.publish import cells_table, genes_table
from slaf.tables.read import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.format.config import DatasetConfig
    from slaf.format.schema import Axis
    from slaf.runs.annotations import EncodedAnnotations
    from slaf.runs.publish import Axes
    from slaf.sources.concat.source import Concat
    from slaf.storage.location import Location

__all__ = ["RebuiltTables", "row_starts", "salvage_rows"]


def salvage_rows(location: Location, published: DatasetConfig, name: str) -> pa.Table | None:
    """The rows of a table that is written whole, out of its own files; None if they are lost.

    Its version is not asked, for that may be what is damaged.
    """
    files = [one for one in published.proof.of(published.tables[name]) if "/data/" in one.file]
    if len(files) != 1:
        return None
    table = read_file(location, files[0].file)
    return table if table_digest(table) == published.proof.tables[name] else None


class RebuiltTables:
    """The tables and files of a dataset, made of its inputs once more.

    Parameters
    ----------
    source
        The inputs.
    published
        What they were made into.
    axes
        The cells and genes of the inputs.
    """

    def __init__(self, source: Concat, published: DatasetConfig, axes: Axes) -> None:
        self._source = source
        self._published = published
        self._axes = axes
        self._kept: EncodedAnnotations = encode_annotations(source, axes.cells, axes.genes)

    def table(self, name: str, starts: Mapping[str, NDArray[np.int64]]) -> pa.Table:
        """A whole table; `starts` are as `starts_of` gives them.

        Raises
        ------
        SourceChanged
            If it is not what was written.
        """
        table = self._table(name, starts)
        if table is None or table_digest(table) != self._published.proof.tables[name]:
            raise self._changed(name)
        return table

    def file(self, name: str) -> bytes:
        """The content of a file of elements, by its name.

        Raises
        ------
        SourceChanged
            If it is not what was written.
        """
        made = [*self._kept.files.values(), *filter(None, self._kept.unses)]
        for record, content in made:
            # Its digest is in its name.
            if record.file == name:
                return content
        raise self._changed(name.partition("-")[0])

    def _table(self, name: str, starts: Mapping[str, NDArray[np.int64]]) -> pa.Table | None:
        if name == CELLS:
            sources = self._published.sources
            return cells_table(self._axes.cells, starts, self._kept.cells, sources)
        if name == GENES:
            return genes_table(self._axes.genes, starts, self._kept.genes)
        return self._kept.tables.get(name)

    def _changed(self, what: str) -> SourceChanged:
        return SourceChanged(
            f"{self._source.info.uri}: {what} made of it is not what was written, so nothing is "
            "mended; give the inputs as they were"
        )


def row_starts(
    location: Location, published: DatasetConfig, files: Mapping[str, Sequence[str]]
) -> dict[str, NDArray[np.int64]]:
    """Where the rows of each cell begin in each of these tables; or of each gene, in their order.

    Parameters
    ----------
    location, published
        The dataset.
    files
        Of each table that is written in parts the files that will hold its rows.
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
        owners = read_file(location, file, [axis.ids[0]]).column(0).to_numpy()
        if owners.max(initial=0) >= n:
            msg = f"{location}: {file} has rows of {axis.name} that there are none of"
            raise DamagedDataset(msg)
        counts += np.bincount(owners, minlength=n)
    return np.cumsum(np.concatenate([np.zeros(1, np.int64), counts]))
