"""The interface of a format to read: Source, Matrix and SourceFormat."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    NamedTuple,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    runtime_checkable,
)

import numpy as np

from slaf.annotations.columns import column_of, fill_columns, find_names, to_lance
from slaf.errors import InexactValue, InputError, MissingMatrix
from slaf.format.schema import CELL_COLUMNS, CELLS, GENE_COLUMNS
from slaf.runtime.lazy import LazyMapping
from slaf.sparse.csr import csr_from_batches
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from contextlib import AbstractContextManager
    from pathlib import Path

    import anndata
    import pyarrow as pa
    import scipy.sparse as sp
    from numpy.typing import NDArray

    from slaf.annotations.columns import ColumnSet
    from slaf.annotations.lazy_table import AnyTable
    from slaf.format.config import SourceRecord
    from slaf.options import ReadOptions
    from slaf.sparse.batch import Batch

__all__ = [
    "Coverage",
    "HasSource",
    "Inputs",
    "LabelledMatrix",
    "Matrix",
    "MatrixSize",
    "MatrixView",
    "Measured",
    "Raw",
    "Slots",
    "Source",
    "SourceFormat",
    "SourceInfo",
    "add_note",
    "check_numeric",
    "check_only_x",
    "choices",
    "measured_by",
    "note_once",
]


T = TypeVar("T")

# One input or several. (A string: none of its types is imported.)
Inputs: TypeAlias = (
    "str | os.PathLike[str] | anndata.AnnData | HasSource"
    " | Sequence[str | os.PathLike[str] | anndata.AnnData | HasSource]"
)


@dataclass(frozen=True, slots=True)
class MatrixSize:
    """The size of a matrix, without reading its values.

    Attributes
    ----------
    layout
        Its layout in the input, for messages: "CSR", "CSC", "dense".
    entries
        Stored entries, zeros and repeated ones included.
    exact
        Whether `entries` is exact; else it is an estimate.
    least_scratch, scratch
        Bytes of scratch that sorting by cell takes: at least (if all values are small), and at
        most.
    memory
        Bytes of memory that sorting takes.
    """

    layout: str
    entries: int
    exact: bool = True
    least_scratch: int = 0
    scratch: int = 0
    memory: int = 0

    @classmethod
    def of_all(cls, sizes: Iterable[MatrixSize]) -> Self:
        """The size of several matrices together, sorted one at a time."""
        sizes = list(sizes)
        return cls(
            " and ".join(dict.fromkeys(size.layout for size in sizes)),
            sum(size.entries for size in sizes),
            exact=all(size.exact for size in sizes),
            least_scratch=max((size.least_scratch for size in sizes), default=0),
            scratch=max((size.scratch for size in sizes), default=0),
            memory=max((size.memory for size in sizes), default=0),
        )


class Matrix(Protocol):
    """A matrix of cells × genes, read by ranges of cells."""

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numeric type of the values."""

    @property
    def size(self) -> MatrixSize:
        """The number of entries, and what sorting them takes."""

    def sample_values(self) -> NDArray[Any]:
        """Some of the first stored values, in any order: cheap, for a first guess."""

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: exact, or an estimate."""

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order: `batches([a, b))` and `batches([b, c))` make `batches([a, c))`."""


class MatrixView:
    """Another matrix, unchanged: the base class of matrices that change something of one.

    Parameters
    ----------
    matrix
        The other matrix.
    """

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return self._matrix.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numeric type of the values."""
        return self._matrix.dtype

    @property
    def size(self) -> MatrixSize:
        """The number of entries, and what sorting them takes."""
        return self._matrix.size

    def sample_values(self) -> NDArray[Any]:
        """Some of the first stored values."""
        return self._matrix.sample_values()

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells."""
        return self._matrix.indptr_estimate(step)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        return self._matrix.batches(rows)


class LabelledMatrix(MatrixView):
    """A matrix whose errors name its location.

    Parameters
    ----------
    matrix
        The matrix.
    errors
        Makes the context in which values are read.
    """

    def __init__(self, matrix: Matrix, errors: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(matrix)
        self._errors = errors

    def sample_values(self) -> NDArray[Any]:
        """Some of the first stored values."""
        with self._errors():
            return self._matrix.sample_values()

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells."""
        with self._errors():
            return self._matrix.indptr_estimate(step)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        with self._errors():
            yield from self._matrix.batches(rows)


def measured_by(
    records: Sequence[SourceRecord], slot: str | None = None, raw: Raw | None = None
) -> tuple[Measured, ...]:
    """The genes that each of several inputs has measured.

    Parameters
    ----------
    records
        The inputs.
    slot
        "layer:NAME" for the genes of a layer, which not every input has.
    raw
        For the genes of raw.
    """
    cells = [RowRange(record.offset, record.offset + record.n_cells) for record in records]
    if raw is not None:
        ranges = raw.genes_present or (((0, raw.matrix.shape[1]),),) * len(records)
        return tuple(map(Measured, cells, ranges))
    return tuple(
        Measured(
            rows,
            record.genes_present
            if not slot or record.slots is None or slot in record.slots
            else (),
        )
        for rows, record in zip(cells, records, strict=True)
    )


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


def check_numeric(dtype: np.dtype[Any], label: str) -> None:
    """Refuse anything but numbers of at most 64 bits.

    Raises
    ------
    InputError
        If it is anything else.
    """
    if dtype.kind not in "biuf" or dtype.itemsize > 8:  # noqa: PLR2004 - 64 bits
        msg = (
            f"{label} holds values of type {dtype}, which no table holds exactly; write "
            "them as integers or floats of at most 64 bits"
        )
        raise InputError(msg)


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


@dataclass(frozen=True, slots=True)
class Raw:
    """The matrix that AnnData calls raw, with its own genes.

    Attributes
    ----------
    matrix
        Its values; its cells are those of the source.
    genes
        Its genes, as from `Source.genes`.
    varm
        Its varm, by name.
    genes_present
        The genes in the raw of each of several inputs, as ranges ``[start, stop)``.
    """

    matrix: Matrix
    genes: pa.Table
    varm: Mapping[str, Any]
    genes_present: tuple[tuple[tuple[int, int], ...], ...] = ()


class Measured(NamedTuple):
    """The genes that an input of several has measured: a zero of another is no measurement.

    Attributes
    ----------
    rows
        The cells of the input.
    genes
        The genes, as ranges ``[start, stop)``.
    """

    rows: RowRange
    genes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """The depth of every base of aligned reads, as runs of equal depth.

    Attributes
    ----------
    contigs
        The name and the length of each contig.
    columns
        The strand, start, length and depth of the runs, as matrices of cells × contigs. A cell has
        several runs of a contig, in the order of strands and starts.
    """

    contigs: tuple[tuple[str, int], ...]
    columns: Mapping[str, Matrix]

    def mapped(self, change: Callable[[Matrix], Matrix]) -> Coverage:
        """The runs of other cells, by what becomes of each column."""
        return replace(self, columns={name: change(one) for name, one in self.columns.items()})


@dataclass(frozen=True, slots=True)
class Slots:
    """The elements of obsm, varm, obsp, varp and uns by name, as anndata has them in memory.

    Attributes
    ----------
    obsm, varm
        With a row for each cell, or gene.
    obsp, varp
        Cells × cells, genes × genes.
    uns
        Anything.
    """

    obsm: Mapping[str, Any] = field(default_factory=dict)
    varm: Mapping[str, Any] = field(default_factory=dict)
    obsp: Mapping[str, Any] = field(default_factory=dict)
    varp: Mapping[str, Any] = field(default_factory=dict)
    uns: Mapping[str, Any] = field(default_factory=dict)


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
        from slaf.sources.selection import SelectedMatrix

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
