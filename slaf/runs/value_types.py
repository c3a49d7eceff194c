"""Value types: the next wider type for a value, requests for one, and the error without one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

from slaf.errors import InexactValue
from slaf.format.schema import VALUE_TYPES, value_type_for
from slaf.format.validation import checksum_error, with_checksum
from slaf.sparse.casting import exact_cast, first_inexact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from slaf.annotations.lazy_table import AnyColumn
    from slaf.format.config import SourceRecord
    from slaf.runs.plan import Plan
    from slaf.sparse.batch import Batch
    from slaf.storage.location import Location

__all__ = [
    "AxisIds",
    "overflows_source_dtype",
    "request_types",
    "requested_types",
    "unrepresentable_value_error",
    "wider_type",
]

# The names of requests for wider types, in the directory of the receipts.
_REQUESTS = "wider"


@dataclass(frozen=True, slots=True)
class AxisIds:
    """The ids of cells and genes, in order.

    Attributes
    ----------
    cells
        The ids of all cells, or of those from `first_cell` on; or what reads them.
    genes
        The ids of all genes.
    first_cell
        The cell that the first id is of.
    """

    cells: pa.ChunkedArray | Callable[[], pa.ChunkedArray]
    genes: pa.ChunkedArray | AnyColumn
    first_cell: int = 0

    def of_cells(self, positions: NDArray[Any]) -> pa.ChunkedArray:
        """The ids of the cells at these positions among all."""
        cells = self.cells() if callable(self.cells) else self.cells
        return cells.take(pa.array(positions.astype(np.int64) - self.first_cell))

    def of_genes(self, positions: NDArray[Any]) -> pa.Array:
        """The ids of the genes at these positions."""
        ids = self.genes.take(positions.astype(np.int64))
        return ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids


def overflows_source_dtype(batch: Batch, dtype: str) -> bool:
    """Whether a batch holds values that the type of its source does not.

    Only sums of repeated entries come in another type than that.
    """
    declared = np.dtype(dtype).newbyteorder("=")
    return batch.values.dtype != declared and first_inexact(batch.values, declared) is not None


def wider_type(
    values: NDArray[Any], current: str, allowed: Sequence[np.dtype[Any]]
) -> np.dtype[Any]:
    """The first type behind the current one that holds these values.

    Parameters
    ----------
    current
        The type that does not.
    allowed
        The types that a column may have, the preferred one first.

    Raises
    ------
    InexactValue
        If there is none.
    """
    # The current type may be one that a new dataset of these options has not.
    first = VALUE_TYPES.index(np.dtype(current)) + 1
    wider = [dtype for dtype in VALUE_TYPES[first:] if dtype in allowed]
    if not wider:
        exact_cast(values, np.dtype(current))
    return value_type_for(values, wider)


def request_types(location: Location, plan: Plan, types: Mapping[str, Mapping[str, str]]) -> None:
    """Record that a part of a plan needs wider types, for all processes that work at it.

    A request is a file that is never changed, named by its content: of one that several parts need
    there is one.

    Parameters
    ----------
    plan
        The plan that config.json has.
    types
        The types that a part needs, by table and value column.
    """
    data = with_checksum({"plan": plan.digest, "types": types})
    location.put_new(f"{plan.journal}/{_REQUESTS}/{xxhash.xxh3_64_hexdigest(data)}.json", data)


def requested_types(location: Location, plan: Plan) -> dict[str, dict[str, str]]:
    """The widest types that parts of a plan have requested, by table and value column."""
    current = {
        (table.table, column.name): column.value_type
        for table in plan.matrix_tables
        for column in table.values
    }
    widest: dict[str, dict[str, str]] = {}
    for table, column, dtype in _requests(location, plan):
        before = widest.get(table, {}).get(column) or current.get((table, column))
        if before is not None and _position(dtype) > _position(before):
            widest.setdefault(table, {})[column] = dtype
    return widest


def _requests(location: Location, plan: Plan) -> Iterator[tuple[str, str, str]]:
    """The table, value column and type of each request; one that is torn or forged has none."""
    # In a directory of their own: the names of thousands of receipts take long to list.
    for name in location.list(f"{plan.journal}/{_REQUESTS}"):
        raw = location.read(name) or b""
        try:
            data = json.loads(raw)
            if "digest" not in data or checksum_error(raw, data) or data["plan"] != plan.digest:
                continue
            columns = [
                (str(table), str(column), str(dtype))
                for table, types in data["types"].items()
                for column, dtype in types.items()
                if _position(dtype) >= 0
            ]
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
            continue
        yield from columns


def _position(dtype: str) -> int:
    """The position of a type among those that a column may have."""
    return VALUE_TYPES.index(np.dtype(dtype))


def unrepresentable_value_error(
    batch: Batch,
    what: str,
    source: SourceRecord,
    *,
    identifiers: AxisIds,
    allowed: Sequence[np.dtype[Any]],
    remedy: str,
) -> InexactValue:
    """The refusal of a batch with a value that no type holds: which it is, where, what to do.

    Parameters
    ----------
    batch
        Cells of all inputs.
    what
        The matrix, in words.
    source
        The input whose cells they are.
    identifiers
        The ids of all cells, and of the genes of the matrix.
    allowed
        The types that the column may have.
    remedy
        What to do.
    """
    wrong = first_inexact(batch.values, allowed[-1]) or 0
    cell, gene = batch.cell_of(wrong), int(batch.genes[wrong])
    cell_id = identifiers.of_cells(np.array([cell]))[0].as_py()
    gene_id = identifiers.of_genes(np.array([gene]))[0].as_py()
    return InexactValue(
        f"{source.uri}: {what} holds {batch.values[wrong]!s} at cell {cell - source.offset} "
        f"({cell_id!r}), gene {gene_id!r}, and no "
        f"type that the table may have ({', '.join(map(str, allowed))}) holds every value "
        f"exactly; {remedy}"
    )
