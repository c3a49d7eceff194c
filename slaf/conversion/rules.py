"""The rules of the format, asked of tables that another program wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slaf.arrays import RowRange
from slaf.errors import DamagedDataset
from slaf.schema import VALUE_TYPES
from slaf.tables.read import scan

if TYPE_CHECKING:
    import lance
    from numpy.typing import NDArray

__all__ = ["Rules"]

_IDS = ("cell_integer_id", "gene_integer_id")
_COLUMNS = (*_IDS, "value")
_STRINGS = ("cell_id", "gene_id")
_ID_TYPES = ("int32", "uint16", "uint32")


class Rules:
    """What the tables of a dataset have to satisfy; what does not is named with its row.

    Parameters
    ----------
    place
        What to call the dataset in an error.
    """

    def __init__(self, place: str) -> None:
        self._place = place

    def broken(self, where: str, what: str) -> NoReturn:
        """Refuse the dataset.

        Raises
        ------
        DamagedDataset
            Always.
        """
        msg = (
            f"{self._place}: {where}: {what}; nothing was changed: convert the original input "
            "anew, and append to that"
        )
        raise DamagedDataset(msg)

    def check_axis(self, name: str, table: pa.Table) -> None:
        """Check the ids of `cells` or `genes`: each row has one, and they are numbered in order."""
        kind = name.removesuffix("s")
        text, number = f"{kind}_id", f"{kind}_integer_id"
        for column in (text, number):
            if column not in table.column_names:
                self.broken(name, f"there is no column {column}")
            self._refuse_row(name, pc.is_null(table.column(column)), f"{column} is null")
        found = table.column(text).type
        if not (pa.types.is_string(found) or pa.types.is_large_string(found)):
            self.broken(name, f"{text} is of type {found}, not string")
        if not pa.types.is_integer(table.column(number).type):
            self.broken(name, f"{number} is of type {table.column(number).type}, not an integer")
        wrong = pc.not_equal(table.column(number), pa.array(np.arange(table.num_rows)))
        self._refuse_row(name, wrong, f"{number} is not the position of the row")

    def check_starts(self, table: pa.Table, offsets: NDArray[np.int64]) -> None:
        """Check `cell_start_index`, where it is there, against the rows that each cell has."""
        if "cell_start_index" not in table.column_names:
            return
        starts = table.column("cell_start_index")
        if starts.type != pa.int64():
            self.broken("cells", f"cell_start_index is of type {starts.type}, not int64")
        self._refuse_row("cells", pc.is_null(starts), "cell_start_index is null")
        found = starts.to_numpy()
        wrong = np.flatnonzero(found != offsets[:-1])
        if len(wrong):
            row = int(wrong[0])
            self.broken(
                f"cells, row {row:,}",
                f"cell_start_index is {found[row]:,}, but the rows of the cell begin at "
                f"{offsets[row]:,}",
            )

    def check_expression(
        self, table: lance.LanceDataset, cells: pa.ChunkedArray, genes: pa.ChunkedArray
    ) -> NDArray[np.int64]:
        """Check every row of `expression`, and count where those of each cell begin.

        Parameters
        ----------
        table
            As it is pinned.
        cells, genes
            The ids of the axes.
        """
        names = self._check_types(table.schema)
        counts = np.zeros(len(cells), np.int64)
        before, seen = (-1, -1), 0
        for batch in scan(table, RowRange(0, table.count_rows()), names):
            self._refuse_nulls(batch, seen)
            ids = [batch.column(name).to_numpy().astype(np.int64) for name in _IDS]
            self._check_order(ids[0], ids[1], (len(cells), len(genes)), before, seen)
            zeros = batch.column("value").to_numpy() == 0
            self._refuse_first("expression", zeros, seen, "value is zero")
            for name, axis, positions in zip(_STRINGS, (cells, genes), ids, strict=True):
                if name in names:
                    differ = pc.not_equal(batch.column(name), axis.take(pa.array(positions)))
                    self._refuse_row("expression", differ, f"{name} is not that of the id", seen)
            present, found = np.unique(ids[0], return_counts=True)
            counts[present] += found
            before, seen = (int(ids[0][-1]), int(ids[1][-1])), seen + batch.num_rows
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])

    def _check_types(self, schema: pa.Schema) -> list[str]:
        names = list(schema.names)
        if [*names[-3:]] != [*_COLUMNS] or names[:-3] not in ([], [*_STRINGS]):
            self.broken(
                "expression", f"its columns are {', '.join(names)}, not {', '.join(_COLUMNS)}"
            )
        types = {name: str(schema.field(name).type) for name in names}
        allowed = [str(pa.from_numpy_dtype(dtype)) for dtype in VALUE_TYPES]
        for name, known in (*((name, _ID_TYPES) for name in _IDS), ("value", allowed)):
            if types[name] not in known:
                self.broken(
                    "expression", f"{name} is of type {types[name]}, not one of {', '.join(known)}"
                )
        return names

    def _check_order(
        self,
        cells: NDArray[np.int64],
        genes: NDArray[np.int64],
        shape: tuple[int, int],
        before: tuple[int, int],
        seen: int,
    ) -> None:
        for name, ids, count in zip(_IDS, (cells, genes), shape, strict=True):
            wrong = (ids < 0) | (ids >= count)
            self._refuse_first("expression", wrong, seen, f"{name} is not below {count:,}")
        steps = np.diff(cells, prepend=before[0])
        self._refuse_first("expression", steps < 0, seen, "its cell is before that of the last row")
        rises = np.diff(genes, prepend=before[1])
        wrong = (steps == 0) & (rises <= 0)
        self._refuse_first(
            "expression", wrong, seen, "its gene is not behind that of the row before, of one cell"
        )

    def _refuse_nulls(self, batch: pa.RecordBatch, seen: int) -> None:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if column.null_count:
                self._refuse_row("expression", pc.is_null(column), f"{name} is null", seen)

    def _refuse_row(self, table: str, wrong: Any, what: str, seen: int = 0) -> None:
        self._refuse_first(table, wrong.to_numpy(zero_copy_only=False), seen, what)

    def _refuse_first(self, table: str, wrong: NDArray[np.bool_], seen: int, what: str) -> None:
        rows = np.flatnonzero(wrong)
        if len(rows):
            self.broken(f"{table}, row {seen + int(rows[0]):,}", what)
