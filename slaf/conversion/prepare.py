"""What a run needs to begin: its inputs, open as one, and the plan."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slaf.conversion.plan_append import (
    added_genes,
    dataset_matrix,
    dataset_slots,
    has_gene_order,
    plan_to_add,
    stored_options,
)
from slaf.conversion.slafdb import SlafdbDataset, plan_slafdb_append
from slaf.dataset.source import dataset_as_input
from slaf.format.schema import Compression
from slaf.runs.annotations import encode_annotations
from slaf.runs.estimate import check_disk_space, estimate
from slaf.runs.output_run import unfinished_run
from slaf.runs.plan import Options, make_plan
from slaf.runs.publish import read_axes
from slaf.sources import as_inputs
from slaf.sources.base import ReadOptions
from slaf.sources.concat.genes import GeneSet
from slaf.sources.concat.source import Concat
from slaf.sources.slots import UnsMerge
from slaf.storage.location import Location

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from typing import Unpack

    from slaf.conversion.asked import ToAppend, ToConvert, ToRead
    from slaf.dataset.dataset import Dataset
    from slaf.runs.annotations import EncodedAnnotations
    from slaf.runs.checkpoint import Checkpoint
    from slaf.runs.estimate import Estimate
    from slaf.runs.plan import Plan
    from slaf.runs.publish import Axes
    from slaf.sources.base import Inputs

__all__ = ["AxisTables", "Prepared", "prepare_append", "prepare_convert"]

# Encoded annotations that stay in memory during a run; larger ones are read and encoded again.
_KEPT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class AxisTables:
    """What is no matrix of a result.

    Attributes
    ----------
    axes
        The cells and genes.
    nbytes
        Bytes of these tables and of the annotations.
    annotations
        The annotations, encoded; None if they are too large to keep until the end.
    """

    axes: Axes
    nbytes: int
    annotations: EncodedAnnotations | None


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

    def tables(self) -> AxisTables:
        """The cells, genes and annotations of the result.

        What cannot be stored is refused here. Large annotations are read again at the end.
        """
        axes = read_axes(self.inputs)
        annotations = encode_annotations(self.inputs, axes.cells, axes.genes)
        nbytes = axes.nbytes + annotations.nbytes
        kept = annotations if annotations.nbytes <= _KEPT_BYTES else None
        return AxisTables(axes, nbytes, kept)

    def expected(self, tables: AxisTables, workers: int) -> Estimate:
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
        check_disk_space(self.location, self.reading, found, adding=self.plan.base is not None)
        return found


@contextmanager
def prepare_convert(
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
    reading = _read_options(location, options.matrix, asked)
    found = as_inputs(inputs, asked["format"], reading, prefixed=asked["cell_id_prefix"])
    with Concat(found, options.genes, selection=options.taking) as opened:
        opened.check_known_slots(options.without)
        yield Prepared(location, make_plan(opened, options), opened, reading)


@contextmanager
def prepare_append(
    inputs: Inputs, there: Dataset | SlafdbDataset, **asked: Unpack[ToAppend]
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
        matrix=asked["matrix"] or dataset_matrix(there.sources),
        genes=added_genes(asked["genes"]),
        chunk_size=asked["chunk_size"],
        compact=asked["compact"],
        by_gene=has_gene_order(there) if by_gene is None else by_gene,
    ).with_taking(dataset_slots(there, _names(asked["without"])))
    reading = _read_options(there.location, options.matrix, asked)
    found = as_inputs(
        inputs,
        asked["format"],
        reading,
        prefixed=asked["cell_id_prefix"],
        before=[source.uri for source in there.sources],
    )
    before = None if isinstance(there, SlafdbDataset) else dataset_as_input(there)
    if isinstance(there, SlafdbDataset):
        # It is written anew: what it was made of comes before the others.
        found = [*there.inputs(), *found]
    with Concat(found, options.genes, before, options.taking) as opened:
        # What the dataset was made without is known, whether these inputs have it or not.
        own = dataset_slots(there, ()).without
        opened.check_known_slots(name for name in _names(asked["without"]) if name not in own)
        if isinstance(there, SlafdbDataset):
            plan = plan_slafdb_append(there, opened, options)
        else:
            plan = plan_to_add(there, opened, stored_options(there, options))
        yield Prepared(there.location, plan, opened, reading)


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _read_options(location: Location, matrix: str, asked: ToRead) -> ReadOptions:
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
