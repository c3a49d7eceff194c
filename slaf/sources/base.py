"""The interface of a format to read: Source, its description, and SourceFormat."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

import numpy as np

from slaf.annotations.columns import column_of, fill_columns, find_names, to_lance
from slaf.errors import InexactValue, InputError, MissingMatrix
from slaf.format.schema import CELL_COLUMNS, CELLS, GENE_COLUMNS
from slaf.runtime.lazy import LazyMapping
from slaf.sources.contents import Measured, Slots
from slaf.sparse.csr import csr_from_batches
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    import anndata
    import pyarrow as pa
    import scipy.sparse as sp
    from numpy.typing import NDArray

    from slaf.annotations.columns import ColumnSet
    from slaf.annotations.lazy_table import AnyTable
    from slaf.options import ReadOptions
    from slaf.sources.contents import Coverage, Raw
    from slaf.sources.matrix import Matrix, MatrixSize

__all__ = [
    "HasSource",
    "Inputs",
    "Source",
    "SourceFormat",
    "SourceInfo",
    "add_note",
    "check_only_x",
    "choices",
    "note_once",
]


T = TypeVar("T")

# One input or several. (A string: none of its types is imported.)
Inputs: TypeAlias = (
    "str | os.PathLike[str] | anndata.AnnData | HasSource"
    " | Sequence[str | os.PathLike[str] | anndata.AnnData | HasSource]"
)


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """A description of an input.

    Attributes
    ----------
    uri
        Its path or URL, for messages and config.json.
    format
        The name of its format.
    matrix
        The chosen matrix: "X", "raw" or "layer:NAME".
    dtype
        The numeric type of the chosen matrix in the input.
    n_cells, n_genes
        The shape of the chosen matrix.
    size
        The size of the chosen matrix.
    identity
        A fingerprint, as JSON: sizes, times, a sampled digest. Of content in memory it is computed
        on first access.
    matrices
        The names of all matrices that could be chosen.
    layers
        The other matrices of the same cells and genes: the name of each as a layer, and as
        `Source.matrix` takes it.
    not_converted
        The content that a conversion leaves out, in words.
    details
        Further facts of the format, in words.
    reads
        The paths and URLs of what is read; `uri` if None.
    """

    uri: str
    format: str
    matrix: str
    dtype: np.dtype[Any]
    n_cells: int
    n_genes: int
    size: MatrixSize
    identity: Mapping[str, Any]
    matrices: tuple[str, ...] = ("X",)
    layers: Mapping[str, str] = field(default_factory=dict)
    not_converted: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    reads: tuple[str, ...] | None = None

    @property
    def places(self) -> tuple[str, ...]:
        """The paths and URLs of what is read."""
        return (self.uri,) if self.reads is None else self.reads

    @classmethod
    def of(cls, matrix: Matrix, name: str = "X", **fields: Any) -> Self:
        """A description with the type, shape and size of the chosen matrix."""
        n_cells, n_genes = matrix.shape
        return cls(
            matrix=name,
            dtype=matrix.dtype,
            n_cells=n_cells,
            n_genes=n_genes,
            size=matrix.size,
            **fields,
        )


class Source(ABC):
    """A read-only input: matrices of cells × genes in cell order, two tables, and annotations.

    A format sets `info` and implements `read_cells`, `read_genes` and `open_matrix`; and
    `open_raw`, `open_coverage`, `measure`, `slots` and `close` where it has these. Several threads
    may call the methods. A source is a context manager that closes what it opened.

    Attributes
    ----------
    info
        The description of the input.
    reading
        The memory and the scratch directory for sorting cells; None for those by default.
    """

    info: SourceInfo
    reading: ReadOptions | None = None

    def __init__(self) -> None:
        self._opened: dict[str, Any] = {}
        self._opening = threading.RLock()

    @abstractmethod
    def read_cells(self) -> pa.Table:
        """Read the cells, for `cells`."""

    @abstractmethod
    def read_genes(self) -> pa.Table:
        """Read the genes, for `genes`."""

    @abstractmethod
    def open_matrix(self, name: str) -> Matrix:
        """Open the matrix of this name, for `matrix`.

        Raises
        ------
        MissingMatrix
            If there is none; the error lists the names.
        """

    def open_raw(self) -> Raw | None:
        """Open raw, for `raw`."""
        return None

    def open_coverage(self) -> Coverage | None:
        """Open the coverage, for `coverage`."""
        return None

    def measure(
        self,
        rows: RowRange,  # noqa: ARG002
    ) -> Mapping[RowRange, Mapping[str, Sequence[Any]]]:
        """Columns of some cells that are known once their values are read, for ranges of cells.

        `cells` has other values of the same types for them.
        """
        return {}

    @contextmanager
    def kept_open(self, rows: RowRange) -> Iterator[None]:  # noqa: ARG002
        """Keep what some cells are read from open, with what it has read."""
        yield

    def slots(self) -> Slots:
        """obsm, varm, obsp, varp and uns; elements are read when they are used."""
        return Slots()

    def measured(self, name: str | None = None) -> Sequence[Measured]:
        """The genes that each input has measured, in the order of cells.

        Parameters
        ----------
        name
            As for `matrix`.
        """
        n_cells, n_genes = self.matrix(name).shape
        return (Measured(RowRange(0, n_cells), ((0, n_genes),)),)

    def close(self) -> None:  # noqa: B027 - not every format keeps something open
        """Close what was opened."""

    def cells(self) -> pa.Table:
        """Cells in order: `cell_id`, then obs as :mod:`slaf.annotations.dataframes` has it."""
        return self._once("obs", self.read_cells)

    def measured_cells(self) -> pa.Table:
        """The table of `cells` with the columns that `measure` gives: may read all values."""
        rows = RowRange(0, self.info.n_cells)
        return self._once("measured obs", lambda: self.cells_with(self.measure(rows)))

    def cells_with(self, measured: Mapping[RowRange, Mapping[str, Sequence[Any]]]) -> pa.Table:
        """The table of `cells` with columns that `measure` gave."""
        table = self.cells()
        return fill_columns(table, [column_of(field).original for field in table.schema], measured)

    def genes(self) -> pa.Table:
        """Genes in order: `gene_id`, then var as :mod:`slaf.annotations.dataframes` has it."""
        return self._once("var", self.read_genes)

    def lazy_genes(self) -> AnyTable:
        """The table of `genes`; a lazy one, where its rows follow from little."""
        return self.genes()

    def raw(self) -> Raw | None:
        """The matrix called raw, unless it is the chosen one, or there is none."""
        return self._once("raw", self.open_raw)

    def coverage(self) -> Coverage | None:
        """The runs of equal depth; None for an input that is no file of reads."""
        return self._once("coverage", self.open_coverage)

    def matrix(self, name: str | None = None) -> Matrix:
        """The matrix of this name, or the chosen one.

        Raises
        ------
        MissingMatrix
            If there is none; the error lists the names.
        """
        name = self.info.matrix if name is None else name
        return self._once(f"matrix {name}", partial(self.open_matrix, name))

    def select(
        self,
        name: str | None,
        cells: NDArray[np.int64] | None = None,
        genes: NDArray[np.int64] | None = None,
        reading: ReadOptions | None = None,
    ) -> Matrix:
        """Some cells and genes of the matrix of this name, or of the chosen one, in their order.

        Parameters
        ----------
        name
            As for `matrix`.
        cells, genes
            Positions in any order, each any number of times; None for all.
        reading
            The memory and the scratch directory for sorting cells; those of the source if None.
        """
        from slaf.sources.selected_matrix import SelectedMatrix

        matrix = self.matrix(name)
        if cells is None and genes is None:
            return matrix
        return SelectedMatrix(matrix, cells, genes, reading or self.reading)

    def read(
        self,
        name: str | None,
        cells: NDArray[np.int64] | None = None,
        genes: NDArray[np.int64] | None = None,
    ) -> sp.csr_matrix:
        """Some cells and genes of a matrix, in memory.

        Parameters
        ----------
        name, cells, genes
            As for `select`.

        Returns
        -------
        scipy.sparse.csr_matrix
            In the type of the matrix; in a wider one, if that does not hold a sum of repeated
            entries.
        """
        matrix = self.select(name, cells, genes)
        n_cells, n_genes = matrix.shape
        entries, dtypes = [], [matrix.dtype]
        for batch in matrix.batches(RowRange(0, n_cells)):
            entries.append((batch.counts, batch.genes, batch.values))
            dtypes.append(batch.values.dtype)
        try:
            return csr_from_batches(entries, n_genes, matrix.dtype)
        except InexactValue:
            return csr_from_batches(entries, n_genes, np.result_type(*dtypes))

    def find(self, axis: str, names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where some ids of cells or genes are: the index of each name, and its position."""
        ids = self.read_columns(axis, [self.columns(axis).columns[0].name])
        return find_names(names, ids.column(0))

    def stored(self, axis: str) -> tuple[pa.Table, ColumnSet]:
        """The cells or genes as a dataset stores them, without positions; and their columns."""
        table, reserved = (
            (self.measured_cells(), CELL_COLUMNS) if axis == CELLS else (self.genes(), GENE_COLUMNS)
        )
        return self._once(f"stored {axis}", lambda: to_lance(table, reserved))

    def columns(self, axis: str) -> ColumnSet:
        """The columns of cells or genes, by the names of `stored`."""
        return self.stored(axis)[1]

    def schema(self, axis: str) -> pa.Schema:
        """The types of the columns of cells or genes, by the names of `stored`."""
        return self.stored(axis)[0].schema

    def read_columns(
        self, axis: str, names: Sequence[str], rows: NDArray[np.int64] | None = None
    ) -> pa.Table:
        """Some columns of some cells or genes, by the names of `stored`."""
        table = self.stored(axis)[0].select(names)
        return table if rows is None else table.take(rows)

    def layers(self) -> Mapping[str, Matrix]:
        """The other matrices of the same cells and genes, by name; opened when they are used."""
        return LazyMapping(self.info.layers, lambda layer: self.matrix(self.info.layers[layer]))

    def _once(self, key: str, open: Callable[[], T]) -> T:
        """Read or open something once, and keep it until the source is closed."""
        with self._opening:
            if key not in self._opened:
                self._opened[key] = open()
            opened: T = self._opened[key]
            return opened

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # The scratch of sorted matrices goes with them.
        self._opened.clear()
        self.close()


@runtime_checkable
class HasSource(Protocol):
    """An object that is open as a source already: a view."""

    def as_source(self) -> Source:
        """The source; closing it leaves what it was made of open."""


@dataclass(frozen=True, slots=True)
class SourceFormat:
    """A format of inputs: one line in `FORMATS`.

    Attributes
    ----------
    name
        Its name for `--format`.
    description
        Its name for people.
    recognises
        Whether the content at a path is of this format; never judged by its name.
    open
        Open it for reading.
    looks_for
        What `recognises` looks for, for errors.
    choices
        The options of `slaf.options.INPUT_CHOICES` that it has.
    suffixes
        The usual suffixes of its files: in a folder, a file with one is an input, or an error.
    members
        The inputs in a folder that it recognises, and the names of all files that they are made
        of; the folder may hold other inputs too. None where the folder itself is the input.
    package
        The package of an extra that reading needs.
    """

    name: str
    description: str
    recognises: Callable[[Path], bool]
    open: Callable[[Path, ReadOptions], Source]
    looks_for: str = field(default="")
    choices: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()
    members: Callable[[Path], tuple[list[Path], AbstractSet[str]]] | None = None
    package: str = ""


def check_only_x(matrix: str, label: str) -> None:
    """Refuse any matrix but X.

    Raises
    ------
    MissingMatrix
        If another one is named.
    """
    if matrix != "X":
        msg = f"{label} has no matrix {matrix!r}, only X"
        raise MissingMatrix(msg)


@contextmanager
def add_note(note: str, error_type: type[InputError] = InputError) -> Iterator[None]:
    """Add a note to the errors of reading."""
    try:
        yield
    except error_type as error:
        note_once(error, note)
        raise


def note_once(error: BaseException, note: str) -> None:
    """Add a note to an error, unless it has it already, alone or with a place within."""
    known = getattr(error, "__notes__", ())
    if not any(one == note or one.startswith(f"{note},") for one in known):
        error.add_note(note)


def choices(option: str, names: Iterable[str]) -> str:
    """The remedy for a name that is not there: the names to choose, or that there are none."""
    listed = ", ".join(names)
    return f"choose one with {option}: {listed}" if listed else "there is none to choose: write one"
