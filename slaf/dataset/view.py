"""View: some cells and genes of a dataset or of inputs, read lazily."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, Self

from slaf.annotations.columns import ColumnSet
from slaf.annotations.dataframes import to_frame
from slaf.annotations.read_only import ReadOnlyDict, ReadOnlyMapping, refuse
from slaf.dataset.aggregate import Aggregates
from slaf.dataset.blocks import Blocks
from slaf.dataset.display import as_html, as_text
from slaf.dataset.in_memory import InMemory
from slaf.dataset.lazy_matrix import LazyMatrix, composed
from slaf.dataset.names import AxisNames
from slaf.dataset.raw import RawView
from slaf.dataset.reduce import Reductions
from slaf.dataset.selection import resolve_indexer
from slaf.dataset.sql import Sql
from slaf.dataset.steps import Steps
from slaf.dataset.verbs import Verbs
from slaf.errors import SelectionError
from slaf.format.schema import CELLS, GENES, RAW
from slaf.sources.identity import content_identity
from slaf.sources.selection import SelectedSource, element_pairs, element_rows
from slaf.sparse.ranges import RowRange, as_positions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from slaf.dataset.selection import Indexer
    from slaf.dataset.steps import Step
    from slaf.options import Normalization, Strand
    from slaf.sources.base import Source
    from slaf.sources.matrix import Matrix
    from slaf.sparse.ranges import Rows

    Positions = NDArray[np.int64] | None

__all__ = ["View"]


class View(InMemory, Sql, Steps, Verbs, Reductions, Aggregates, Blocks):
    """Some cells and genes of a dataset, or of inputs, in an order: lazy and immutable.

    ``view[cells, genes]`` is another view. Cells and genes are selected by a position or several, a
    slice, a mask, a boolean Series (aligned by its index), ids, symbols of genes, or a filter on
    obs or var. `slaf.open` and `slaf.scan` make the first view.

    Parameters
    ----------
    origin
        The dataset or the scan.
    cells, genes
        Positions in it, in any order, each any number of times; None for all.
    steps
        The steps of an analysis that made the view, besides selections.

    Attributes
    ----------
    origin
        The dataset or the scan, itself one, or one with its values changed.
    cells, genes
        Positions in the origin, int64, in the order of the view; None for all.
    steps
        As above.

    Examples
    --------
    >>> import anndata, numpy, slaf
    >>> view = slaf.scan(anndata.AnnData(numpy.eye(4, 3)))
    >>> view[1:, ["2", "0"]].shape
    (3, 2)
    >>> view[[3, 1]].obs_names.to_list()
    ['3', '1']
    """

    def __init__(
        self,
        origin: View,
        cells: Positions = None,
        genes: Positions = None,
        steps: tuple[Step, ...] = (),
    ) -> None:
        self.__dict__.update(origin=origin, cells=cells, genes=genes, steps=steps)

    def __reduce__(self) -> tuple[Any, ...]:
        return View, (self.origin, self.cells, self.genes, self.steps)

    origin: View
    cells: Positions
    genes: Positions
    steps: tuple[Step, ...]

    @property
    def source(self) -> Source:
        """The dataset, or the inputs, as a source."""
        return self.origin.source

    @property
    def root(self) -> View:
        """The dataset or the scan, whatever steps lie between."""
        return self.origin if self.origin is self else self.origin.root

    @property
    def label(self) -> str:
        """The name of the dataset or of the inputs, for messages."""
        return self.source.info.uri

    # ------------------------------------------------------------------------------------ the shape

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return (self.n_obs, self.n_vars)

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.origin.n_obs if self.cells is None else len(self.cells)

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return self.origin.n_vars if self.genes is None else len(self.genes)

    def __len__(self) -> int:
        return self.n_obs

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    # ------------------------------------------------------------------------------------ selection

    def __getitem__(self, index: Any) -> View:
        cells, genes = _two_axes(index)
        rows, columns = self.resolve(CELLS, cells), self.resolve(GENES, genes)
        return View(
            self.origin,
            composed(self.cells, _partial(rows, self.n_obs)),
            composed(self.genes, _partial(columns, self.n_vars)),
            self.steps,
        )

    def resolve(self, axis: str, indexer: Indexer) -> Rows:
        """The positions in the view of some cells or genes, in the requested order.

        Parameters
        ----------
        axis
            "cells" or "genes".
        indexer
            As in ``view[cells, genes]``; None for all.

        Raises
        ------
        SelectionError
            If one of them does not exist, or is ambiguous.
        """
        return resolve_indexer(indexer, AxisNames(self, axis))

    def __iter__(self) -> NoReturn:
        msg = "cells are read in batches: by .X.batches(), or by slices, as in view[0:100]"
        raise TypeError(msg)

    def __array__(self, *_arguments: Any, **_keywords: Any) -> NoReturn:
        msg = (
            "a view is not an array: view.X.to_memory() is its matrix as CSR, view.to_df() a dense "
            "data frame, view.to_anndata() all of it"
        )
        raise TypeError(msg)

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        refuse("a view")

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and hasattr(View, name):
            refuse(name)
        super().__setattr__(name, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened."""

    # --------------------------------------------------------------------------------------- tables

    @property
    def obs(self) -> pd.DataFrame:
        """The table of cells, with the column names and types of the input; read on access."""
        return self._read_only(CELLS, "obs")

    @property
    def var(self) -> pd.DataFrame:
        """The table of genes, with the column names and types of the input; read on access."""
        return self._read_only(GENES, "var")

    @property
    def obs_names(self) -> pd.Index[Any]:
        """The ids of the cells."""
        return self._index(CELLS)

    @property
    def var_names(self) -> pd.Index[Any]:
        """The ids of the genes."""
        return self._index(GENES)

    def frame(self, axis: str) -> pd.DataFrame:
        """The table of "cells" or "genes", as a frame that can be changed."""
        return self._columns(axis, self.source.columns(axis))

    def obs_columns(self, names: Sequence[str]) -> pd.DataFrame:
        """Some columns of obs; no others are read.

        Parameters
        ----------
        names
            The names of columns; a repeated one is there once.

        Raises
        ------
        SelectionError
            If there is no such column.
        """
        columns = self.source.columns(CELLS)
        index, *others = columns.columns
        by_name = {column.original: column for column in others}
        unknown = [name for name in names if name not in by_name]
        if unknown:
            listed = ", ".join(repr(name) for name in by_name) or "none at all"
            msg = f"{self.label}: obs has no column {unknown[0]!r}; it has {listed}"
            raise SelectionError(msg)
        chosen = (index, *(by_name[name] for name in dict.fromkeys(names)))
        return self._columns(CELLS, ColumnSet(chosen, columns.index_name))

    def obs_vector(self, key: str, layer: str | None = None) -> NDArray[Any]:
        """A column of obs, or the values of a gene, as an array with an element for each cell.

        Parameters
        ----------
        key
            The name of a column, or the id or symbol of a gene.
        layer
            The layer of the gene instead of X, or "raw".

        Raises
        ------
        KeyError
            If there is none, or both.
        """
        return self._vector(CELLS, GENES, key, layer)

    def var_vector(self, key: str, layer: str | None = None) -> NDArray[Any]:
        """A column of var, or the values of a cell, as an array with an element for each gene.

        Parameters
        ----------
        key, layer
            As for `obs_vector`, with the id of a cell.

        Raises
        ------
        KeyError
            If there is none, or both.
        """
        return self._vector(GENES, CELLS, key, layer)

    # ------------------------------------------------------------------------------------- matrices

    @property
    def X(self) -> LazyMatrix:  # noqa: N802 - AnnData's name
        """The matrix; slices read it as CSR."""
        return self._lazy(None)

    @property
    def layers(self) -> Mapping[str, LazyMatrix]:
        """Further matrices of the same cells and genes, by name."""
        return ReadOnlyMapping("layers", self.source.info.layers, self._lazy)

    @property
    def raw(self) -> RawView | None:
        """The matrix that AnnData calls raw, with genes of its own; None without one."""
        raw = self.source.raw()
        return None if raw is None else RawView(self.source, raw, self.cells)

    def lazy_matrix(self, layer: str | None = None) -> LazyMatrix:
        """X, a layer or "raw" of the view; raw has genes of its own.

        Raises
        ------
        SelectionError
            If there is no such layer.
        """
        if layer == RAW and self.raw is not None:
            return self.raw.X
        return self._lazy(layer)

    def layer_name(self, layer: str) -> str:
        """The name of a layer, if there is one.

        Raises
        ------
        SelectionError
            If there is none.
        """
        if layer not in self.source.info.layers:
            names = ", ".join(map(repr, self.source.info.layers)) or "none at all"
            msg = f"there is no layer {layer!r}; there are {names}"
            raise SelectionError(msg)
        return layer

    def matrix(self, layer: str | None = None) -> Matrix:
        """The matrix, a layer or "raw" of the origin; `cells` and `genes` are positions in it.

        Raises
        ------
        SelectionError
            If there is no such layer.
        """
        return self.source.matrix(self._matrix_name(layer))

    # ---------------------------------------------------------------------------------- annotations

    @property
    def obsm(self) -> Mapping[str, Any]:
        """Arrays and tables with a row for each cell, by name; each is read on access."""
        slot = self.source.slots().obsm
        return ReadOnlyMapping("obsm", slot, lambda key: element_rows(slot[key], self.cells))

    @property
    def varm(self) -> Mapping[str, Any]:
        """Arrays and tables with a row for each gene, by name; each is read on access."""
        slot = self.source.slots().varm
        return ReadOnlyMapping("varm", slot, lambda key: element_rows(slot[key], self.genes))

    @property
    def obsp(self) -> Mapping[str, Any]:
        """Matrices of cells × cells, by name; each is read on access."""
        slot = self.source.slots().obsp
        return ReadOnlyMapping("obsp", slot, lambda key: element_pairs(slot[key], self.cells))

    @property
    def varp(self) -> Mapping[str, Any]:
        """Matrices of genes × genes, by name; each is read on access."""
        slot = self.source.slots().varp
        return ReadOnlyMapping("varp", slot, lambda key: element_pairs(slot[key], self.genes))

    @property
    def uns(self) -> dict[str, Any]:
        """The unstructured annotation; of several inputs, merged."""
        return ReadOnlyDict(self.source.slots().uns)

    # ------------------------------------------------------------------------------------- coverage

    def coverage(
        self,
        region: str,
        samples: Sequence[str] | str | None = None,
        strand: Strand | None = None,
        normalize: Normalization | None = None,
    ) -> NDArray[Any]:
        """The depth of each base of a region, of files of reads.

        Parameters
        ----------
        region
            As in BED, from 0 and half-open: ``"chr1:100-200"`` has 100 bases; ``"chr1"`` is a whole
            contig. Names of contigs may have "chr" or lack it.
        samples
            The ids of cells, in the order of the result; all in their order if None.
        strand
            "+" or "-": the fragments of one strand; all if None.
        normalize
            "cpm" divides by the millions of reads that count (`total_reads` in obs); "rpkm" by
            these and the kilobases of a bin of one base: it is 1,000 times as much.

        Returns
        -------
        numpy.ndarray
            Samples × bases: uint32, or float64 if normalised.

        Raises
        ------
        SelectionError
            If there is no such sample, contig or region, no coverage, or strands were not counted
            apart.
        """
        from slaf.dataset.coverage import depth

        names = [samples] if isinstance(samples, str) else samples
        view = self if names is None else self[list(names)]
        return depth(view, region, strand, normalize)

    def coverage_runs(
        self,
        region: str,
        strand: Strand | None = None,
        normalize: Normalization | None = None,
    ) -> Iterator[tuple[str, str, int, int, int | float]]:
        """The runs of equal depth in a region: sample, contig, start, stop and depth.

        Parameters
        ----------
        region, strand, normalize
            As for `coverage`.

        Yields
        ------
        tuple
            A run whose depth is not zero, sample by sample.

        Raises
        ------
        SelectionError
            As for `coverage`.
        """
        from slaf.dataset.coverage import named_runs

        return named_runs(self, region, strand, normalize)

    # ---------------------------------------------------------------------------------- as a source

    def as_source(self) -> Source:
        """The view as an input: what `convert`, `export` and `diff` read."""
        return _ViewSource(self)

    # -------------------------------------------------------------------------------------- private

    def positions(self, axis: str) -> Positions:
        """Positions in the origin of the cells or genes; None for all."""
        return self.cells if axis == CELLS else self.genes

    def _columns(self, axis: str, columns: ColumnSet) -> pd.DataFrame:
        names = [column.name for column in columns.columns]
        rows = self.positions(axis)
        return to_frame(self.source.read_columns(axis, names, rows), columns)

    def _read_only(self, axis: str, name: str) -> pd.DataFrame:
        from slaf.annotations.read_only_frame import ReadOnlyFrame

        return ReadOnlyFrame.of(self.frame(axis), name)

    def _index(self, axis: str) -> pd.Index[Any]:
        columns = self.source.columns(axis)
        index: pd.Index[Any] = self._columns(axis, replace_columns(columns, 1)).index
        return index

    def _lazy(self, layer: str | None) -> LazyMatrix:
        label = "X" if layer is None else f"layers[{layer!r}]"
        return LazyMatrix(self.source, self._matrix_name(layer), label, self.cells, self.genes)

    def _matrix_name(self, layer: str | None) -> str | None:
        if layer is None or (layer == RAW and self.source.raw() is not None):
            return layer
        return self.source.info.layers[self.layer_name(layer)]

    def _vector(self, axis: str, other: str, key: str, layer: str | None) -> NDArray[Any]:
        columns = self.source.columns(axis)
        chosen = [c for c in columns.columns if c.original == key]
        try:
            at = as_positions(AxisNames(self, other).named(key))
        except SelectionError as error:
            if chosen:
                index = columns.columns[0]
                frame = self._columns(axis, ColumnSet((index, chosen[0]), columns.index_name))
                return frame[key].to_numpy()
            raise KeyError(str(error)) from None
        table, one = ("obs", "gene") if axis == CELLS else ("var", "cell")
        if chosen:
            msg = (
                f"{key!r} is a column of {table} and a {one}; take {table}[{key!r}], or X of the "
                f"{one}"
            )
            raise KeyError(msg)
        view = self[:, at] if axis == CELLS else self[at]
        matrix = LazyMatrix(
            self.source, self._matrix_name(layer), layer or "X", view.cells, view.genes
        )
        return matrix.to_memory().toarray().ravel()


class _ViewSource(SelectedSource):
    """A view as an input; closing it leaves the view open."""

    def __init__(self, view: View) -> None:
        super().__init__(view.source, view.cells, view.genes)
        if view.steps:
            steps = [[step.name, step.options] for step in view.steps]
            self.info = replace(self.info, identity={**self.info.identity, "steps": steps})
        if view.cells is None and view.genes is None:
            return
        digest = content_identity(
            b"all" if at is None else at.tobytes() for at in (view.cells, view.genes)
        )
        info, (n_cells, n_genes) = self.info, view.source.matrix().shape
        part = f"{info.n_cells:,} of {n_cells:,} cells × {info.n_genes:,} of {n_genes:,} genes"
        identity = {**info.identity, "selection": digest["sample"]}
        uri = f"<{part} of {info.uri}>"
        self.info = replace(info, uri=uri, identity=identity, reads=info.places)

    def close(self) -> None:
        """Leave the source of the view open."""


def replace_columns(columns: ColumnSet, number: int) -> ColumnSet:
    """The first columns of a frame."""
    return ColumnSet(columns.columns[:number], columns.index_name)


def _two_axes(index: Any) -> tuple[Any, Any]:
    """The indexers of cells and genes.

    Raises
    ------
    SelectionError
        If there are more.
    """
    indices = index if isinstance(index, tuple) else (index,)
    if len(indices) > 2:  # noqa: PLR2004 - cells and genes
        indices = tuple(one for one in indices if one is not Ellipsis)
    if len(indices) > 2:  # noqa: PLR2004 - cells and genes
        msg = f"a view has two dimensions, cells and genes, and not {len(indices)}"
        raise SelectionError(msg)
    cells, genes = (*indices, slice(None))[:2]
    return cells, genes


def _partial(rows: Rows, size: int) -> Positions:
    """Positions; None for all in their order."""
    if isinstance(rows, RowRange) and rows == RowRange(0, size):
        return None
    return as_positions(rows)
