"""What a format has to offer to be converted: the Source protocol and the SourceFormat record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import anndata
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.sparse.batch import Batch
    from slaf.sparse.ranges import RowRange

__all__ = [
    "Inputs",
    "Matrix",
    "MatrixSize",
    "Raw",
    "Slots",
    "Source",
    "SourceFormat",
]


# What a user may name as inputs: one, or several. (A string, for nothing of it is imported.)
Inputs: TypeAlias = (
    "str | os.PathLike[str] | anndata.AnnData | Sequence[str | os.PathLike[str] | anndata.AnnData]"
)


@dataclass(frozen=True, slots=True)
class MatrixSize:
    """How much a matrix holds, as far as can be told without reading it.

    Attributes
    ----------
    layout
        How it lies in the input, for people: "CSR", "CSC", "dense".
    entries
        The entries that are stored, zeros and repeated ones among them.
    exact
        Whether `entries` was counted by whoever wrote the input; else it is an estimate.
    least_scratch, scratch
        The bytes of scratch that bringing it into the order of cells takes, at the least if all
        values are small, and at the most.
    memory
        The bytes of memory that this takes.
    """

    layout: str
    entries: int
    exact: bool = True
    least_scratch: int = 0
    scratch: int = 0
    memory: int = 0

    @classmethod
    def of_all(cls, extents: Iterable[MatrixSize]) -> Self:
        """What several matrices hold together, of which one after the other takes its scratch."""
        found = list(extents)
        return cls(
            " and ".join(dict.fromkeys(extent.layout for extent in found)),
            sum(extent.entries for extent in found),
            exact=all(extent.exact for extent in found),
            least_scratch=max((extent.least_scratch for extent in found), default=0),
            scratch=max((extent.scratch for extent in found), default=0),
            memory=max((extent.memory for extent in found), default=0),
        )


class Matrix(Protocol):
    """One matrix of an input, readable by ranges of cells."""

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numeric type of its values."""

    def extent(self) -> MatrixSize:
        """How much it holds."""

    def sample_values(self) -> NDArray[Any]:
        """Some of the first stored values, in any order: cheap, and enough for a first guess."""

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: exact, or an estimate."""

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order; bounded in size."""


@dataclass(frozen=True, slots=True)
class Raw:
    """The matrix that AnnData calls raw, with the genes that are its own.

    Attributes
    ----------
    matrix
        Its values; the cells are those of the source.
    genes
        Its genes, as `Source.genes` gives them.
    varm
        What stands beside them, by name.
    measured
        Of several inputs, the genes that the raw of each has, as ranges ``[start, stop)``.
    """

    matrix: Matrix
    genes: pa.Table
    varm: Mapping[str, Any]
    measured: tuple[tuple[tuple[int, int], ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Slots:
    """What stands beside the matrix, each by its name and as anndata has it in memory.

    Attributes
    ----------
    obsm, varm
        Of as many rows as there are cells, or genes.
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


class Source(Protocol):
    """A read-only matrix of n_cells × n_genes, sparse, in cell order, with its two tables.

    Its methods may be called from several threads at once. It is a context manager that
    closes what it opened.

    Attributes
    ----------
    uri
        Where it is, for people and for config.json.
    format
        The name of its format.
    matrix
        The matrix that was chosen: "X", "raw" or "layer:NAME".
    dtype
        The numeric type of the values as the source holds them.
    n_cells, n_genes
        The shape of the matrix.
    """

    uri: str
    format: str
    matrix: str
    dtype: np.dtype[Any]
    n_cells: int
    n_genes: int

    def identity(self) -> Mapping[str, Any]:
        """What makes this input this input, as JSON: sizes, times, a sampled digest."""

    def matrices(self) -> tuple[str, ...]:
        """The names of all matrices it holds, each of which could be chosen."""

    def left_behind(self) -> tuple[str, ...]:
        """What it holds and a conversion does not take, in words."""

    def extent(self) -> MatrixSize:
        """How much the chosen matrix holds."""

    def sample_values(self, matrix: str | None = None) -> NDArray[Any]:
        """Some of the first stored values of the chosen matrix, or of another."""

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: exact, or an estimate."""

    def cells(self) -> pa.Table:
        """Cells in order: `cell_id`, then obs as :mod:`slaf.annotations.dataframes` has it."""

    def genes(self) -> pa.Table:
        """Genes in order: `gene_id`, then var as :mod:`slaf.annotations.dataframes` has it."""

    def layers(self) -> Mapping[str, Matrix]:
        """Further matrices of the same cells and genes, by name; opened when asked for."""

    def raw(self) -> Raw | None:
        """The matrix called raw, unless it is the chosen one, or there is none."""

    def slots(self) -> Slots:
        """What stands beside the matrix; read when asked for."""

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order: `batches([a, b))` and `batches([b, c))` make `batches([a, c))`."""

    def __enter__(self) -> Self:
        """The source itself."""

    def __exit__(self, *exception: object) -> None:
        """Close what was opened."""


@dataclass(frozen=True, slots=True)
class SourceFormat:
    """A format of inputs: one line in `FORMATS`.

    Attributes
    ----------
    name
        What `--format` takes.
    description
        What people call it.
    recognises
        Whether the content at this place is of this format; never judged by its name.
    open
        Open it for reading.
    looks_for
        What `recognises` goes by, for errors.
    choices
        Which of `slaf.options.INPUT_CHOICES` it leaves to whoever reads it.
    suffixes
        What its files are called by those who name them well: in a folder, one of such a name
        is meant to be an input, even if it is not recognised.
    members
        The inputs that lie in a folder which it recognises: often the folder itself.
    """

    name: str
    description: str
    recognises: Callable[[Path], bool]
    open: Callable[[Path, ReadOptions], Source]
    looks_for: str = field(default="")
    choices: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()
    members: Callable[[Path], list[Path]] = lambda place: [place]
