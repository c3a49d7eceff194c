"""What a run needs to begin: its inputs, open as one, and the plan."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slaf.as_source import existing
from slaf.conversion.adding import options_of, plan_to_add
from slaf.conversion.adopted import OlderDataset, plan_to_adopt
from slaf.conversion.beside import read_beside
from slaf.conversion.claim import refuse_repeated, unfinished_run
from slaf.conversion.estimate import estimate, refuse_if_too_small
from slaf.conversion.plan import make_plan
from slaf.conversion.publish import read_axes
from slaf.sources import Concat, as_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slaf.conversion.beside import Kept
    from slaf.conversion.checkpoint import Checkpoint
    from slaf.conversion.estimate import Estimate
    from slaf.conversion.plan import Options, Plan
    from slaf.conversion.publish import Axes
    from slaf.dataset import Dataset
    from slaf.sources import ReadOptions
    from slaf.sources.base import Inputs
    from slaf.storage import Location

__all__ = ["Prepared", "adding", "converting"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that could begin.

    Attributes
    ----------
    location
        The dataset, or where it would be.
    plan
        What the run does.
    inputs
        All inputs as one, before them what is there already.
    reading
        How they are read.
    """

    location: Location
    plan: Plan
    inputs: Concat
    reading: ReadOptions

    def unfinished(
        self, *, overwrite: bool = False, restart: bool, allow_duplicate: bool
    ) -> Checkpoint | None:
        """The unfinished run that this one continues; None if it begins anew.

        Raises
        ------
        ConflictError
            If the location is not free for it, or an input is there already.
        """
        there = unfinished_run(self.location, self.plan, overwrite=overwrite, restart=restart)
        if there is None and not allow_duplicate:
            known = len(self.plan.sources) - len(self.plan.added)
            refuse_repeated(self.plan.sources[:known], self.plan.added)
        return there

    def axes(self) -> Axes:
        """The cells and genes of the result, which fail here if they cannot be stored."""
        return read_axes(self.inputs)

    def beside(self, axes: Axes) -> Kept:
        """What will stand beside the matrix, which fails here if it cannot be kept."""
        return read_beside(self.inputs, axes.cells, axes.genes)

    def expected(self, workers: int) -> Estimate:
        """What the run will take.

        Raises
        ------
        StorageError
            If the disk is too small for it.
        """
        found = estimate(self.plan, self.inputs, workers, self.reading.memory)
        refuse_if_too_small(self.location, self.reading, found, adding=self.plan.base is not None)
        return found


@contextmanager
def converting(
    inputs: Inputs,
    location: Location,
    options: Options,
    reading: ReadOptions,
    *,
    format: str | None,
    prefixed: bool,
) -> Iterator[Prepared]:
    """Prepare to make a dataset of inputs, which are open until this is left.

    Raises
    ------
    InputError
        If one cannot be converted, or they do not fit together.
    """
    found = as_inputs(inputs, format, reading, prefixed=prefixed)
    with Concat(found, options.genes, taking=options.taking) as opened:
        opened.refuse_unknown()
        yield Prepared(location, make_plan(opened, options), opened, reading)


@contextmanager
def adding(
    inputs: Inputs,
    there: Dataset | OlderDataset,
    options: Options,
    reading: ReadOptions,
    *,
    format: str | None,
    prefixed: bool,
) -> Iterator[Prepared]:
    """Prepare to add inputs to a dataset; they are open until this is left.

    Raises
    ------
    InputError
        If one cannot be converted, or does not fit the dataset.
    DamagedDataset
        If the tables of the dataset are not as this program writes them.
    """
    before = [source.uri for source in there.sources]
    found = as_inputs(inputs, format, reading, prefixed=prefixed, before=before)
    if isinstance(there, OlderDataset):
        inputs_of_all = [*there.inputs(), *found]
        with Concat(inputs_of_all, options.genes, taking=options.taking) as opened:
            yield Prepared(there.location, plan_to_adopt(there, opened, options), opened, reading)
        return
    with Concat(found, options.genes, existing(there), options.taking) as opened:
        plan = plan_to_add(there, opened, options_of(there, options))
        yield Prepared(there.location, plan, opened, reading)
