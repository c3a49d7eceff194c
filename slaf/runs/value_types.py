"""Value types: the next wider type for a value, or the error that no type holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.errors import InexactValue
from slaf.format.schema import VALUE_TYPES, value_type_for
from slaf.sparse.casting import exact_cast, first_inexact

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.format.config import SourceRecord
    from slaf.sparse.batch import Batch

__all__ = ["AxisIds", "overflows_source_dtype", "unrepresentable_value_error", "wider_type"]


@dataclass(frozen=True, slots=True)
class AxisIds:
    """The ids of all cells and genes, in order."""

    cells: pa.ChunkedArray
    genes: pa.ChunkedArray


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
    return InexactValue(
        f"{source.uri}: {what} holds {batch.values[wrong]!s} at cell {cell - source.offset} "
        f"({identifiers.cells[cell].as_py()!r}), gene {identifiers.genes[gene].as_py()!r}, and no "
        f"type that the table may have ({', '.join(map(str, allowed))}) holds every value "
        f"exactly; {remedy}"
    )
