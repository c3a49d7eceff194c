"""What a run needs to begin: its inputs, open as one, and the plan."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slaf.as_source import existing
from slaf.conversion.adding import (
    added_genes,
    has_by_gene,
    options_of,
    plan_to_add,
    usual_matrix,
    usual_taking,
)
from slaf.conversion.adopted import OlderDataset, plan_to_adopt
from slaf.conversion.beside import read_beside
from slaf.conversion.claim import unfinished_run
from slaf.conversion.estimate import estimate, refuse_if_too_small
from slaf.conversion.plan import Options, make_plan
from slaf.conversion.publish import read_axes
from slaf.schema import Compression
from slaf.sources import Concat, GeneSet, ReadOptions, as_inputs
from slaf.sources.taking import UnsMerge
from slaf.storage import Location

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from typing import Unpack

    from slaf.conversion.asked import ToAppend, ToConvert, ToRead
    from slaf.conversion.checkpoint import Checkpoint
    from slaf.conversion.estimate import Estimate
    from slaf.conversion.plan import Plan
    from slaf.conversion.publish import Axes
    from slaf.dataset import Dataset
    from slaf.sources.base import Inputs

__all__ = ["Prepared", "ready_to_append", "ready_to_convert"]


@dataclass(frozen=True, slots=True)
class Tables:
    """What is no matrix of a result.

    Attributes
    ----------
    axes
        The cells and genes.
    nbytes
        Of them, and of all that stands beside the matrices.
    """

    axes: Axes
    nbytes: int


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
        return unfinished_run(
            self.location,
            self.plan,
            overwrite=overwrite,
            restart=restart,
            allow_duplicate=allow_duplicate,
        )

    def tables(self) -> Tables:
        """The cells and genes of the result.

        What cannot be stored of them, or kept beside the matrix, is refused here; what can is
        read again at the end.
        """
        axes = read_axes(self.inputs)
        return Tables(axes, axes.nbytes + read_beside(self.inputs, axes.cells, axes.genes).nbytes)

    def expected(self, tables: Tables, workers: int) -> Estimate:
        """What the run will take.

        Parameters
        ----------
        tables
            What is no matrix of it.
        workers
            Threads that encode parts.

        Raises
        ------
        StorageError
            If the disk is too small for it.
        """
        found = estimate(self.plan, self.inputs, tables.nbytes, workers, self.reading.memory)
        refuse_if_too_small(self.location, self.reading, found, adding=self.plan.base is not None)
        return found


@contextmanager
def ready_to_convert(
    inputs: Inputs, output: str | os.PathLike[str] | Location, **asked: Unpack[ToConvert]
) -> Iterator[Prepared]:
    """Prepare to make a dataset of inputs, which are open until this is left.

    Raises
    ------
    InputError
        If one cannot be converted, or they do not fit together.
    """
    layers = asked["layers"]
    options = Options(
        matrix=asked["matrix"],
        genes=GeneSet(asked["genes"]),
        compression=Compression(asked["compression"]),
        chunk_size=asked["chunk_size"],
        compact=asked["compact"],
        create_indices=asked["create_indices"],
        string_ids=asked["string_ids"],
        by_gene=asked["by_gene"],
        plain_types=asked["plain_types"],
        layers=layers if isinstance(layers, str) else tuple(layers),
        raw=asked["raw"],
        without=_names(asked["without"]),
        uns_merge=UnsMerge(asked["uns_merge"]),
    )
    location = Location.of(output, asked["storage_options"])
    reading = _reading(location, options.matrix, asked)
    found = as_inputs(inputs, asked["format"], reading, prefixed=asked["cell_id_prefix"])
    with Concat(found, options.genes, taking=options.taking) as opened:
        opened.refuse_unknown(options.without)
        yield Prepared(location, make_plan(opened, options), opened, reading)


@contextmanager
def ready_to_append(
    inputs: Inputs, there: Dataset | OlderDataset, **asked: Unpack[ToAppend]
) -> Iterator[Prepared]:
    """Prepare to add inputs to a dataset; they are open until this is left.

    Raises
    ------
    InputError
        If one cannot be converted, or does not fit the dataset.
    DamagedDataset
        If the tables of the dataset are not as this program writes them.
    """
    by_gene = asked["by_gene"]
    options = Options(
        matrix=asked["matrix"] or usual_matrix(there.sources),
        genes=added_genes(asked["genes"]),
        chunk_size=asked["chunk_size"],
        compact=asked["compact"],
        by_gene=has_by_gene(there) if by_gene is None else by_gene,
    ).with_taking(usual_taking(there, _names(asked["without"])))
    reading = _reading(there.location, options.matrix, asked)
    found = as_inputs(
        inputs,
        asked["format"],
        reading,
        prefixed=asked["cell_id_prefix"],
        before=[source.uri for source in there.sources],
    )
    before = None if isinstance(there, OlderDataset) else existing(there)
    if isinstance(there, OlderDataset):
        # It is written anew: what it was made of comes before the others.
        found = [*there.inputs(), *found]
    with Concat(found, options.genes, before, options.taking) as opened:
        # What the dataset was made without is known, whether these inputs have it or not.
        own = usual_taking(there, ()).without
        opened.refuse_unknown(name for name in _names(asked["without"]) if name not in own)
        if isinstance(there, OlderDataset):
            plan = plan_to_adopt(there, opened, options)
        else:
            plan = plan_to_add(there, opened, options_of(there, options))
        yield Prepared(there.location, plan, opened, reading)


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _reading(location: Location, matrix: str, asked: ToRead) -> ReadOptions:
    return ReadOptions.beside(
        location,
        matrix,
        asked["memory"],
        asked["scratch"],
        genome=asked["genome"],
        feature_type=asked["feature_type"],
        measurement=asked["measurement"],
        storage_options=asked["input_storage_options"] or asked["storage_options"],
        stage=asked["stage"],
    ).shared_by(asked["workers"])
