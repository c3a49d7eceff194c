"""Contents of an export: matrices, read as streams, and elements, read into memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from slaf.annotations.plain_columns import plain_table
from slaf.annotations.plain_elements import is_plain
from slaf.dataset.coverage import CoverageReader
from slaf.dataset.dataset import Dataset, View
from slaf.format.schema import CELLS, GENES
from slaf.options import ALIGNED_SLOTS
from slaf.runtime.lazy import LazyMapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pandas as pd

    from slaf.annotations.plain_columns import PlainTable
    from slaf.dataset.lazy_matrix import LazyMatrix
    from slaf.options import ReadOptions
    from slaf.sparse.batch import Batch

__all__ = ["LAYERS", "RAW", "Contents", "Matrix", "X", "contents_of"]


# AnnData's names of the matrices.
X: Final = "X"
LAYERS: Final = "layers/"
RAW: Final = "raw/X"


class Matrix(Protocol):
    """A matrix of cells × genes that is read from its first cell to its last."""

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numeric type to write its values in; batches may have another that holds them."""

    @property
    def value_type(self) -> np.dtype[Any]:
        """The smallest type that holds all values: of whole numbers, if there are no others."""

    @property
    def n_entries(self) -> int:
        """Number of entries, or of at most as many."""

    @property
    def is_counted(self) -> bool:
        """Whether `n_entries` is their number."""

    def batches(self) -> Iterator[Batch]:
        """All cells, in order, in batches of bounded size."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of an export, by AnnData's names.

    Attributes
    ----------
    matrices
        "X", "layers/NAME" and "raw/X".
    elements
        "obs", "var" and "raw/var" are frames, made on access; "obsm", "varm", "obsp", "varp", "uns"
        and "raw/varm" are dictionaries of what anndata writes.
    coverage
        The reader of coverage; None without it.
    plain
        "obs" and "var" as plain tables, made on access; None for one that needs a frame.
    """

    matrices: Mapping[str, Matrix]
    elements: Mapping[str, Any]
    coverage: CoverageReader | None = None
    plain: Mapping[str, PlainTable | None] = field(default_factory=dict)

    @property
    def x(self) -> Matrix:
        """The matrix of the dataset."""
        return self.matrices[X]

    @property
    def obs(self) -> pd.DataFrame:
        """The table of cells."""
        frame: pd.DataFrame = self.elements["obs"]
        return frame

    @property
    def var(self) -> pd.DataFrame:
        """The table of genes."""
        frame: pd.DataFrame = self.elements["var"]
        return frame


def contents_of(view: View, reading: ReadOptions | None = None) -> Contents:
    """The contents of a view.

    Parameters
    ----------
    view
        The view.
    reading
        The memory and the scratch directory for cells in another order.
    """
    raw = view.raw
    elements: dict[str, Callable[[], Any]] = {
        "obs": partial(view.frame, CELLS),
        "var": partial(view.frame, GENES),
        **{slot: partial(_elements, view, slot) for slot in ALIGNED_SLOTS},
        "uns": view.uns.copy,
    }
    if raw is not None:
        elements |= {"raw/var": raw.frame, "raw/varm": lambda: dict(raw.varm)}
    coverage = view.source.coverage()
    reader = None if coverage is None else CoverageReader(view, coverage)
    axes = {"obs": CELLS, "var": GENES}
    return Contents(
        dict(_matrices(view, reading)),
        LazyMapping(elements, lambda name: elements[name](), keep=True),
        reader,
        LazyMapping(axes, lambda name: _plain(view, axes[name])),
    )


def _elements(view: View, slot: str) -> dict[str, Any]:
    return dict(getattr(view, slot))


def _plain(view: View, axis: str) -> PlainTable | None:
    columns = view.source.columns(axis)
    names = [column.name for column in columns.columns]
    table = plain_table(view.source.read_columns(axis, names, view.positions(axis)), columns)
    return table if table is not None and is_plain(table) else None


def _matrices(view: View, reading: ReadOptions | None) -> Iterator[tuple[str, Matrix]]:
    yield X, _ViewMatrix(view.X, _value_type(view), _is_counted(view), reading)
    for name, layer in view.layers.items():
        # The rows are those of all layers.
        yield LAYERS + name, _ViewMatrix(layer, layer.value_type, False, reading)  # noqa: FBT003
    if view.raw is not None:
        raw = view.raw.X
        yield RAW, _ViewMatrix(raw, raw.value_type, isinstance(view.origin, Dataset), reading)


def _is_counted(view: View) -> bool:
    """Whether the number of entries is known without reading them."""
    return view.genes is None and isinstance(view.origin, Dataset)


def _value_type(view: View) -> np.dtype[Any]:
    """int32 in place of uint32, where that holds all values too: more formats know it."""
    stored = view.X.value_type
    if not isinstance(view.origin, Dataset):
        return stored
    largest = view.origin.published.expression_stats["max_value"]
    fits = largest is not None and largest <= np.iinfo(np.int32).max
    return np.dtype(np.int32) if stored == np.uint32 and fits else stored


@dataclass(frozen=True, slots=True)
class _ViewMatrix:
    """A matrix of a view; a `Matrix`.

    Attributes
    ----------
    matrix
        The matrix.
    value_type, is_counted
        As `Matrix` has them.
    reading
        The memory and the scratch directory for cells in another order.
    """

    matrix: LazyMatrix
    value_type: np.dtype[Any]
    is_counted: bool
    reading: ReadOptions | None

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return self.matrix.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type to give its values in."""
        return self.matrix.dtype

    @property
    def n_entries(self) -> int:
        """How many entries there are, or at most."""
        return self.matrix.most_entries

    def batches(self) -> Iterator[Batch]:
        """All cells, in order."""
        return self.matrix.batches(self.reading)
