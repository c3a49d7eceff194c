"""Inputs seen through steps: resolved over all of them, and done to each by itself."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from slaf.dataset.dataset import TransformedView, View
from slaf.dataset.scan import SourceView
from slaf.errors import InputError
from slaf.format.records import StepRecord
from slaf.format.schema import CELLS
from slaf.sources.selected_matrix import is_ascending
from slaf.sources.selection import SelectedSource
from slaf.transforms.gene_ids import StandardGenes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from slaf.options import ReadOptions
    from slaf.sources.base import Source
    from slaf.sources.concat.members import Input
    from slaf.sources.concat.source import Concat
    from slaf.transforms.base import SourceStep

    Positions = NDArray[np.int64] | None

__all__ = [
    "FILTER_GENES",
    "STANDARDIZE_GENES",
    "depends_on_all_cells",
    "has_standard_genes",
    "repeated",
    "standardized_inputs",
    "steps_of",
    "transformed_inputs",
]

_SINGLE_RUN = ("sort_by", "sample")

# The step whose result, which depends on all cells, no record has: it is the genes of the dataset.
FILTER_GENES = "filter_genes"

# The step that each input goes through before genes are aligned by id.
STANDARDIZE_GENES = "standardize_genes"


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """Some cells and genes of an input, in their order, and what is done to their values."""

    cells: Positions
    genes: Positions
    step: SourceStep | None

    def applied(self, source: Source, prefix: str) -> Source:
        """The source seen through the stage."""
        if self.cells is not None or self.genes is not None:
            source = SelectedSource(source, self.cells, self.genes)
        return source if self.step is None else self.step.applied(source, prefix)


@dataclass(frozen=True, slots=True, eq=False)
class _TransformedInput:
    """Opens an input seen through stages.

    Attributes
    ----------
    opens
        Opens the input itself.
    stages
        In their order.
    prefix
        The prefix of its cell ids.
    """

    opens: Callable[[ReadOptions], Source]
    stages: tuple[_Stage, ...]
    prefix: str

    def __call__(self, options: ReadOptions) -> Source:
        """The input, open."""
        with ExitStack() as closing:
            source = closing.enter_context(self.opens(options))
            for stage in self.stages:
                source = stage.applied(source, self.prefix)
            closing.pop_all()
        return source


@dataclass(frozen=True, slots=True)
class _StandardInput:
    """Opens an input with standard ids of genes."""

    opens: Callable[[ReadOptions], Source]

    def __call__(self, options: ReadOptions) -> Source:
        """The input, open."""
        return StandardGenes(self.opens(options))


def standardized_inputs(inputs: Sequence[Input]) -> list[Input]:
    """The inputs with standard ids of genes, by which they are aligned."""
    return [replace(one, open=_StandardInput(one.open)) for one in inputs]


def steps_of(view: View) -> tuple[StepRecord, ...]:
    """The steps of a view as config.json records them."""
    return tuple(
        StepRecord(step.name, dict(step.options), step.before, step.after) for step in view.steps
    )


def depends_on_all_cells(step: StepRecord) -> bool:
    """True for a step that no append can repeat: its result depends on all cells."""
    condition = str(step.options.get(CELLS, "")).lower()
    return step.name in _SINGLE_RUN or "cell_integer_id" in condition


def has_standard_genes(steps: Iterable[StepRecord]) -> bool:
    """True if the ids of genes were standardised."""
    return any(step.name == STANDARDIZE_GENES for step in steps)


def repeated(
    inputs: Concat, steps: Iterable[StepRecord], genes: Collection[str] | None = None
) -> View:
    """The view of inputs through the steps that a dataset records.

    Parameters
    ----------
    inputs
        The inputs.
    steps
        The steps.
    genes
        The result of rules for genes over the inputs of the first run; None to follow the rules.
    """
    view: View = SourceView(inputs)
    for step in steps:
        if step.name == FILTER_GENES and genes is not None:
            view = view[:, np.array([name in genes for name in view.var_names], np.bool_)]
        else:
            view = getattr(view, step.name)(**step.options)
    return view


def transformed_inputs(inputs: Sequence[Input], opened: Concat, view: View) -> list[Input]:
    """The inputs, each seen through what a view does to all of them.

    Parameters
    ----------
    inputs
        The inputs.
    opened
        The same as one source.
    view
        A view of this source.

    Raises
    ------
    InputError
        If the view has the cells of several inputs in another order.
    """
    levels = list(_levels(view))
    pairs = zip(inputs, opened.inputs, opened.gene_positions, strict=True)
    return [
        replace(
            one,
            open=_TransformedInput(
                one.open,
                tuple(_stages(levels, rows.start, rows.stop, places, single=len(inputs) == 1)),
                one.prefix,
            ),
        )
        for one, rows, places in pairs
    ]


_Level = tuple["View", "SourceStep | None"]


def _levels(view: View) -> Iterator[_Level]:
    """The views that change values, each those of the one before, and how; the first one first."""
    levels: list[_Level] = [(view, None)]
    while isinstance(origin := levels[0][0].origin, TransformedView):
        levels.insert(0, (origin.base, origin.step))
    yield from levels


def _stages(
    levels: Sequence[_Level], start: int, stop: int, places: NDArray[np.int64], *, single: bool
) -> Iterator[_Stage]:
    """The stages of one input.

    Parameters
    ----------
    levels
        The views of all inputs.
    start, stop
        The cells of the input among all.
    places
        The position of each of its genes among all; −1 for those left out.
    single
        Whether it is the only input: then its cells may be in any order.
    """
    for view, step in levels:
        cells, within = view.cells, (start, stop)
        if cells is not None:
            if single:
                start, stop = 0, len(cells)
            elif is_ascending(cells):
                start, stop = np.searchsorted(cells, within).tolist()
            else:
                msg = (
                    "the cells of several inputs are not sorted into one dataset: convert them "
                    "first, and transform the dataset"
                )
                raise InputError(msg)
            cells = cells[start:stop] - within[0]
        own, places = _own_genes(view, places)
        yield _Stage(cells, own, step)


def _own_genes(view: View, places: NDArray[np.int64]) -> tuple[Positions, NDArray[np.int64]]:
    """The genes of an input that a view has, and their positions in the view."""
    n_genes = view.origin.n_vars
    own = np.full(n_genes, -1, np.int64)
    present = np.flatnonzero(places >= 0)
    own[places[present]] = present
    if view.genes is not None:
        own = own[view.genes]
    places = np.flatnonzero(own >= 0)
    own = own[places]
    return own, places
