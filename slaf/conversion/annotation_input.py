"""The columns, elements and layers that `slaf.annotate` is given, in the order of the dataset."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.annotations.columns import column_of, to_lance
from slaf.annotations.dataframes import from_frame, is_frame, to_frame
from slaf.annotations.equality import equal_elements
from slaf.conversion.alignment import Ids, read_csr
from slaf.errors import InputError
from slaf.format.schema import CELLS, GENES, TABLES
from slaf.options import ALIGNED_SLOTS, LAYER, ReadOptions
from slaf.sources.anndata.memory import as_matrix
from slaf.sparse.casting import as_float64
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    import pandas as pd
    import pyarrow as pa

    from slaf.conversion.alignment import Alignment
    from slaf.dataset.dataset import Dataset
    from slaf.sources.base import Source
    from slaf.sources.matrix import Matrix

    ColumnsInput = pd.DataFrame | Mapping[str, Any] | str | os.PathLike[str]

__all__ = ["AXIS_OF", "Annotating", "AnnotationInput", "read_table"]

# The axis of the rows of each slot.
AXIS_OF = {
    "obs": CELLS,
    "var": GENES,
    "obsm": CELLS,
    "varm": GENES,
    "obsp": CELLS,
    "varp": GENES,
}
_COLUMNS = {CELLS: "obs", GENES: "var"}


@dataclass(frozen=True)
class Annotating:
    """Columns, elements and layers in the order of a dataset.

    Attributes
    ----------
    columns
        For "cells" and "genes" a table with metadata, the index first.
    slots
        The elements of obsm, varm, obsp, varp and uns, by slot and key.
    layers
        By name.
    """

    columns: dict[str, pa.Table] = field(default_factory=dict)
    slots: dict[str, dict[str, Any]] = field(default_factory=dict)
    layers: dict[str, Matrix] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The name of each, as "obs:NAME", "obsm:KEY", "layer:NAME"."""
        return [
            *(f"{_COLUMNS[axis]}:{name}" for axis in self.columns for name in self.originals(axis)),
            *(f"{slot}:{key}" for slot, elements in self.slots.items() for key in elements),
            *(f"{LAYER}:{name}" for name in self.layers),
        ]

    def originals(self, axis: str) -> list[str]:
        """The names of the columns of cells or genes."""
        fields = list(self.columns[axis].schema)[1:] if axis in self.columns else []
        return [str(column_of(one).original) for one in fields]


class AnnotationInput:
    """The annotations to add to a dataset, read and aligned.

    Parameters
    ----------
    dataset
        The dataset.
    on
        The column of a table that has the ids; None for its index, and of a file the first.

    Attributes
    ----------
    result
        The annotations that the dataset lacks, or has with other values.
    differing
        The names of what is there with other values.
    """

    def __init__(self, dataset: Dataset, on: str | None) -> None:
        read = dataset.annotations.read_columns
        self._ids = {
            name: Ids(name, read(name, [TABLES[name].ids[0]]).column(0)) for name in _COLUMNS
        }
        self._dataset = dataset
        self._on = on
        self._given: set[str] = set()
        self.result = Annotating()
        self.differing: list[str] = []

    def add_columns(self, axis: str, columns: ColumnsInput) -> None:
        """Add columns of obs or var: a table with ids, or values by the name of the column.

        Raises
        ------
        InputError
            If an id is unknown or repeated, or a column cannot be stored.
        """
        slot = _COLUMNS[axis]
        for frame in self._frames(axis, columns):
            with _naming(slot):
                table = from_frame(frame, TABLES[axis].ids[0])
            self._add_table(axis, table, self._ids[axis].align(frame.index, slot))

    def add_elements(self, slot: str, elements: Mapping[str, Any]) -> None:
        """Add elements of obsm, varm, obsp or varp: a row for each id, or a table with ids."""
        ids = self._ids[AXIS_OF[slot]]
        for key, element in elements.items():
            rows = ids.align(element.index, f"{slot}:{key}") if is_frame(element) else ids.all()
            self._add_element(slot, key, element, rows)

    def add_uns(self, uns: Mapping[str, Any]) -> None:
        """Add elements of uns."""
        stored = self._dataset.uns
        for key, element in uns.items():
            same = partial(lambda name, given: equal_elements(given, stored[name]), key, element)
            if self._is_new("uns", key, key in stored, same):
                self.result.slots.setdefault("uns", {})[key] = element

    def add_layers(self, layers: Mapping[str, Any]) -> None:
        """Add layers: matrices of all cells and genes, in order.

        Raises
        ------
        InputError
            If one has another shape, or is no numeric matrix.
        """
        everything = self._ids[CELLS].all(), self._ids[GENES].all()
        for name, layer in layers.items():
            shape = getattr(layer, "shape", None)
            if shape != self._dataset.shape:
                msg = f"layer:{name} is of the shape {shape}, not {self._dataset.shape}"
                raise InputError(msg)
            with _naming(f"layer:{name}"):
                self._add_layer(name, as_matrix(layer, ReadOptions()), *everything)

    def add_source(self, source: Source) -> None:
        """Add everything of an input that stays open, but its X and raw."""
        label = source.info.uri
        cells, genes = (
            self._ids[CELLS].align(source.cells().column(0), label),
            self._ids[GENES].align(source.genes().column(0), label),
        )
        self._add_table(CELLS, source.cells(), cells)
        self._add_table(GENES, source.genes(), genes)
        slots = source.slots()
        for slot in ALIGNED_SLOTS:
            rows = cells if AXIS_OF[slot] == CELLS else genes
            for key, element in getattr(slots, slot).items():
                self._add_element(slot, key, element, rows)
        self.add_uns({key: slots.uns[key] for key in slots.uns})
        for name, layer in source.layers().items():
            self._add_layer(name, layer, cells, genes)

    def _frames(self, axis: str, columns: Any) -> Iterator[pd.DataFrame]:
        import pandas as pd

        if isinstance(columns, str | Path) or hasattr(columns, "__fspath__"):
            yield read_table(Path(columns), self._on)
        elif is_frame(columns):
            yield columns if self._on is None else _with_index(columns, self._on)
        else:
            index = pd.Index(self._ids[axis].values.to_pylist(), dtype=object)
            for name, values in columns.items():
                if isinstance(values, pd.Series):
                    yield values.to_frame(name)
                    continue
                try:
                    frame = pd.DataFrame(index=index)
                    frame[name] = values
                except ValueError as error:
                    column = f"{_COLUMNS[axis]}:{name}"
                    msg = f"{column} cannot be a column of {len(index):,} rows ({error})"
                    raise InputError(msg) from error
                yield frame

    def _add_table(self, axis: str, table: pa.Table, rows: Alignment) -> None:
        """Add the columns of a table with metadata that are not there with these values."""
        lance, columns = to_lance(table, ())
        frame = to_frame(lance, columns)
        stored = self._dataset.obs if axis == CELLS else self._dataset.var
        new = []
        for at, column in enumerate(columns.columns[1:], start=1):
            name = str(column.original)
            same = partial(_same_column, frame, stored, name, rows)
            if self._is_new(_COLUMNS[axis], name, name in stored, same):
                new.append(at)
        if new:
            added, aligned = self.result.columns.get(axis), rows.table(table.select([0, *new]))
            for at, field in enumerate(aligned.schema):
                if added is None or at:
                    column = aligned.column(at)
                    added = (
                        aligned.select([0]) if added is None else added.append_column(field, column)
                    )
            self.result.columns[axis] = added

    def _add_element(self, slot: str, key: str, element: Any, rows: Alignment) -> None:
        stored, name = self._dataset.annotations.slot(slot), f"{slot}:{key}"

        def same() -> bool:
            return equal_elements(element, rows.of(stored[key], pairs=slot.endswith("p")))

        if self._is_new(slot, key, key in stored, same):
            place = rows.pairs if slot.endswith("p") else rows.element
            self.result.slots.setdefault(slot, {})[key] = place(name, element)

    def _add_layer(self, name: str, layer: Matrix, cells: Alignment, genes: Alignment) -> None:
        stored = self._dataset.annotations.layers
        same = partial(_same_layer, self._dataset, name, layer, cells, genes)
        if self._is_new(LAYER, name, name in stored, same):
            self.result.layers[name] = cells.matrix(layer, genes)

    def _is_new(self, kind: str, name: Any, exists: bool, same: Callable[[], bool]) -> bool:  # noqa: FBT001
        """Whether something of this name is added, or replaces other values.

        Raises
        ------
        InputError
            If it was given before, or its name is no string.
        """
        if not isinstance(name, str):
            msg = f"the name {name!r} in {kind} is no string; make it one"
            raise InputError(msg)
        full = f"{kind}:{name}"
        if full in self._given:
            msg = f"{full} is given twice; give it once"
            raise InputError(msg)
        self._given.add(full)
        if exists and same():
            return False
        if exists:
            self.differing.append(full)
        return True


def _same_column(frame: pd.DataFrame, stored: pd.DataFrame, name: str, rows: Alignment) -> bool:
    """Whether a column has the values of a stored one in its rows."""
    given, existing = frame[name], stored[name].iloc[rows.positions]
    if not rows.is_identity and given.dtype == "category" and existing.dtype == "category":
        # A part of an AnnData loses the categories that it does not use.
        given, existing = (one.cat.remove_unused_categories() for one in (given, existing))
    return equal_elements(given.array, existing.array)


def _same_layer(
    dataset: Dataset, name: str, layer: Matrix, cells: Alignment, genes: Alignment
) -> bool:
    """Whether a layer has the type and the values of a stored one in its cells and genes."""
    stored = dataset.matrix(name)
    if str(layer.dtype) != dataset.annotations.layers[name].dtype:
        return False
    if not (cells.is_identity and genes.is_identity):
        return equal_elements(read_csr(layer), stored.read(cells.positions, genes.positions))
    blocks = (RowRange(block.start, block.stop) for block in dataset.published.blocks)
    return all(equal_elements(_entries(layer, rows), _entries(stored, rows)) for rows in blocks)


def _entries(matrix: Any, rows: RowRange) -> list[Any]:
    """Counts, genes and values of some cells, these as float64 and what that leaves."""
    batches = list(matrix.batches(rows))
    columns = [(batch.counts, batch.genes, batch.values) for batch in batches]
    counts, genes, values = (np.concatenate(arrays) for arrays in zip(*columns, strict=True))
    wide = as_float64(values)
    return [counts, genes, wide.values, wide.rest]


def read_table(path: Path, on: str | None = None) -> pd.DataFrame:
    """A table from a CSV, TSV or Parquet file, with its ids as index.

    Raises
    ------
    InputError
        If it cannot be read, or has no column of this name.
    """
    import pandas as pd

    suffixes = {suffix.lower() for suffix in path.suffixes[-2:]}
    if not suffixes & {".parquet", ".csv", ".tsv", ".txt"}:
        msg = f"{path}: a table is read from a .csv, .tsv or .parquet file"
        raise InputError(msg)
    try:
        if ".parquet" in suffixes:
            frame = pd.read_parquet(path)
            if on is None and not isinstance(frame.index, pd.RangeIndex):
                return frame
        else:
            separator = "," if ".csv" in suffixes else "\t"
            names = list(pd.read_csv(path, sep=separator, nrows=0).columns)
            # Ids are text, also where they look like numbers.
            ids = dict.fromkeys([on] if on in names else names[:1], str)
            frame = pd.read_csv(path, sep=separator, dtype=ids)
    except FileNotFoundError as error:
        msg = f"{path}: there is no such file"
        raise InputError(msg) from error
    except (OSError, ValueError, ImportError) as error:
        msg = f"{path}: it cannot be read as a table ({error})"
        raise InputError(msg) from error
    if not len(frame.columns):
        msg = f"{path}: it has no columns; the first has the ids, or name it with --on"
        raise InputError(msg)
    return _with_index(frame, frame.columns[0] if on is None else on)


def _with_index(frame: pd.DataFrame, on: str) -> pd.DataFrame:
    if on not in frame.columns:
        names = ", ".join(map(str, frame.columns))
        msg = f"there is no column {on!r} with the ids; there are {names}"
        raise InputError(msg)
    return frame.set_index(on)


@contextmanager
def _naming(what: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        error.add_note(f"in {what}")
        raise
    except (AttributeError, TypeError, ValueError) as error:
        msg = f"{what} cannot be stored ({error})"
        raise InputError(msg) from error
