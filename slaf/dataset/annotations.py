"""What a dataset holds beside its matrix, read when it is asked for."""

from __future__ import annotations

from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any

from slaf.annotations.arrays import column_to_array, table_to_matrix
from slaf.annotations.dataframes import to_frame
from slaf.dataset.selection import resolve_indexer
from slaf.errors import DamagedDataset, SelectionError
from slaf.format.schema import CELLS, GENES, LAYERS, RAW_GENES, pair_table
from slaf.options import RAW_VARM
from slaf.runtime.lazy import LazyMapping

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import pandas as pd
    import scipy.sparse as sp
    from numpy.typing import NDArray

    from slaf.annotations.arrays import ElementSpec
    from slaf.dataset.matrix import StoredMatrix
    from slaf.dataset.selection import Indexer
    from slaf.format.config import DatasetConfig
    from slaf.format.records import AnnotationsRecord, FileRecord, MatrixRecord, RawRecord
    from slaf.sparse.ranges import Rows
    from slaf.storage.location import Location
    from slaf.tables.read import LanceTable

__all__ = ["Annotations", "StoredRaw", "element_rows"]

_AXES = {"obsm": CELLS, "varm": GENES}


class Annotations:
    """The layers, raw and slots of a published dataset.

    Parameters
    ----------
    location
        Where it is.
    published
        What config.json says of it.
    """

    def __init__(self, location: Location, published: DatasetConfig) -> None:
        self._location = location
        self._published = published

    @cached_property
    def beside(self) -> AnnotationsRecord:
        """The records of config.json."""
        return self._published.annotations

    @property
    def n_cells(self) -> int:
        """The number of cells."""
        return self._published.n_cells

    @property
    def layers(self) -> Mapping[str, MatrixRecord]:
        """The layers by the names that they had."""
        return {one.original: one for one in self.beside.matrices().get(LAYERS, ())}

    def slot(self, name: str) -> Mapping[str, Any]:
        """The elements of obsm, varm, obsp or varp."""
        forms = {form.key: form for form in self.beside.forms.get(name, ())}
        read = self._aligned if name in _AXES else self._pairs
        return LazyMapping(forms, lambda key: read(name, forms[key]))

    @property
    def uns(self) -> dict[str, Any]:
        """All of uns."""
        record = self.beside.uns
        found: dict[str, Any] = {} if record is None else self.unpacked(record)["uns"]
        return found

    def uns_of(self, source: int) -> dict[str, Any]:
        """The uns of one of the inputs, by its place among them."""
        if not self.beside.unses:
            return self.uns if len(self._published.sources) == 1 else {}
        record = self.beside.unses[source]
        found: dict[str, Any] = {} if record is None else self.unpacked(record)["uns"]
        return found

    @cached_property
    def elements(self) -> Mapping[str, Any]:
        """The elements that no table holds, by slot."""
        record = self.beside.elements
        return {} if record is None else self.unpacked(record)

    def unpacked(self, record: FileRecord) -> dict[str, Any]:
        """What a file of elements holds.

        Raises
        ------
        DamagedDataset
            If it is not there, or cannot be read.
        """
        from slaf.annotations.uns import read_elements

        place = self._location.uri(record.file)
        content = self._location.read(record.file)
        if content is None:
            msg = f"{place}: there is no such file; restore it from a copy, or convert again"
            raise DamagedDataset(msg)
        try:
            return read_elements(BytesIO(content), list(record.notes))
        except (OSError, LookupError, RuntimeError, TypeError, ValueError) as error:
            msg = f"{place}: cannot be read ({error})"
            raise DamagedDataset(msg) from error

    def table(self, name: str) -> LanceTable:
        """One of the tables that config.json lists."""
        from slaf.tables.read import open_table

        published = self._published
        return open_table(self._location, published.tables[name], published.versions[name])

    def column(self, table: str, form: ElementSpec) -> NDArray[Any]:
        """An array that is a column of a table."""
        from slaf.tables.read import read_table

        return column_to_array(read_table(self.table(table), [str(form.name)]).column(0), form)

    def _aligned(self, slot: str, form: ElementSpec) -> Any:
        if form.name is None:
            return self.elements[slot][form.key]
        return self.column(_AXES[slot], form)

    def _pairs(self, slot: str, form: ElementSpec) -> Any:
        from slaf.tables.read import read_table

        if form.name is None:
            return self.elements[slot][form.key]
        spec = pair_table(slot)
        rows = read_table(self.table(spec.name), [*spec.ids, form.name])
        return table_to_matrix(rows, spec.ids, form)


class StoredRaw:
    """The matrix that AnnData calls raw, with the genes that are its own."""

    def __init__(
        self, held: Annotations, record: RawRecord, stored: Callable[[], StoredMatrix]
    ) -> None:
        self._held = held
        self._record = record
        self._stored = stored
        self.n_genes = record.n_genes

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return (self._held.n_cells, self.n_genes)

    @property
    def nnz(self) -> int:
        """Number of nonzeros."""
        return self._record.rows

    @property
    def matrix(self) -> StoredMatrix:
        """The matrix as it is stored."""
        return self._stored()

    @property
    def measured(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Of each of several inputs the genes that its raw has; empty where there is one input."""
        return self._record.measured

    @property
    def var(self) -> pd.DataFrame:
        """The table of its genes."""
        from slaf.tables.read import read_table

        names = [column.name for column in self._record.columns.columns]
        return to_frame(read_table(self._held.table(RAW_GENES), names), self._record.columns)

    @property
    def varm(self) -> Mapping[str, Any]:
        """What stands beside its genes."""
        forms = {form.key: form for form in self._record.varm}
        return LazyMapping(forms, lambda key: self._element(forms[key]))

    def read(self, cells: Indexer = None, genes: Indexer = None) -> sp.csr_matrix:
        """The matrix, or a part of it.

        Parameters
        ----------
        cells, genes
            As for `Dataset.read`, but for filters.

        Raises
        ------
        SelectionError
            If something asked for is not there.
        """
        rows = self._selected(CELLS, cells)
        return self.matrix.read(rows, None if genes is None else self._selected(GENES, genes))

    def _element(self, form: ElementSpec) -> Any:
        if form.name is None:
            return self._held.elements[RAW_VARM][form.key]
        return self._held.column(RAW_GENES, form)

    def _selected(self, what: str, selector: Indexer) -> Rows:
        from slaf.tables.read import read_table

        table = RAW_GENES if what == GENES else CELLS
        column = f"{what.removesuffix('s')}_id"

        def ids() -> list[str]:
            found: list[str] = read_table(self._held.table(table), [column]).column(0).to_pylist()
            return found

        def where(condition: str) -> NDArray[np.int64]:
            msg = f"raw is not selected by filters: {condition!r}; ask the dataset for positions"
            raise SelectionError(msg)

        size = self.n_genes if what == GENES else self.shape[0]
        return resolve_indexer(selector, size, ids, where, what)


def element_rows(element: Any, rows: NDArray[np.int64]) -> Any:
    """Some rows of an element of obsm or varm."""
    return element.iloc[rows] if hasattr(element, "iloc") else element[rows]
