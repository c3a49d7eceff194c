"""Several inputs, end to end, as one source: cells below each other, genes aligned by id."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from slaf.options import RAW_VARM, GeneSet, SlotSelection
from slaf.sources.base import MatrixSize
from slaf.sources.concat import axes
from slaf.sources.concat import messages as said
from slaf.sources.concat.annotations import (
    MergedAnnotations,
    SingleInputAnnotations,
    merge_uns,
    uns_per_source,
)
from slaf.sources.concat.matrix import ConcatMatrix, ConcatPart
from slaf.sources.concat.members import PEEK, open_members
from slaf.sources.concat.pool import SourcePool
from slaf.sources.identity import content_identity
from slaf.sparse.batch import GeneMap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.sources.base import Matrix, Raw, Slots
    from slaf.sources.concat.members import ExistingDataset, Input
    from slaf.sparse.batch import Batch
    from slaf.sparse.ranges import RowRange

__all__ = ["Concat"]


class Concat:
    """Several inputs as one; each is open only while it is read.

    Every input is opened once when this is made, so that none is found to be unfit later.

    Parameters
    ----------
    inputs
        In the order of their cells; at least one, unless something exists before them.
    genes
        Which genes to take.
    existing
        What comes before the inputs; its genes are the first, in their order.
    taking
        What to take of the inputs beside their matrices.

    Raises
    ------
    GeneMismatch
        If the genes cannot be brought together as wanted.
    InputError
        If one cannot be read.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        genes: GeneSet = "strict",
        existing: ExistingDataset | None = None,
        taking: SlotSelection | None = None,
    ) -> None:
        self._existing = existing
        self._genes = genes
        self.taking = taking or SlotSelection()
        opens = [one.opened for one in inputs]
        if existing is not None:
            opens.insert(0, lambda: existing.source)
        self._shelf = SourcePool(opens)
        with ExitStack() as failing:
            failing.callback(self._shelf.close)
            found = open_members(self._shelf, inputs, existing, genes, self.taking)
            self._members, self._gene_ids = found
            self._describe()
            said.check_same_slots(self._members, self.taking)
            failing.pop_all()

    def _describe(self) -> None:
        first, *more = (member.place for member in self._members)
        self.uri = f"{first} and {len(more):,} more" if more else first
        existing = () if self._existing is None else self._existing.records
        added = (member.record for member in self._members if not member.stays)
        self.records = (*existing, *added)
        self.format = " and ".join(dict.fromkeys(record.format for record in self.records))
        self.matrix = " and ".join(dict.fromkeys(record.matrix for record in self.records))
        dtypes = [np.dtype(member.record.dtype) for member in self._members]
        self.dtype = np.result_type(*dtypes)
        self.n_cells, self.n_genes = self._members[-1].rows.stop, len(self._gene_ids)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._shelf.close()

    @property
    def inputs(self) -> tuple[RowRange, ...]:
        """The cells of each input, and before them of what exists."""
        return tuple(member.rows for member in self._members)

    def identity(self) -> Mapping[str, Any]:
        """Those of all inputs."""
        return {"inputs": [dict(record.identity) for record in self.records]}

    def matrices(self) -> tuple[str, ...]:
        """The matrices that all inputs have."""
        first, *others = (member.matrices for member in self._members)
        return tuple(name for name in first if all(name in other for other in others))

    def left_behind(self) -> tuple[str, ...]:
        """What inputs hold and a conversion does not take, and the genes that are left out."""
        return said.not_converted(self._members)

    def notes(self) -> tuple[str, ...]:
        """What a user should know of inputs that were brought together, in words."""
        return said.notes(
            self._members,
            repeated=axes.repeated_ids(self.cells()) if len(self._members) > 1 else 0,
            differing=self._beside.differing,
            disagreeing=self._joined[1],
        )

    def shared_genes(self) -> int:
        """How many genes all inputs have."""
        return axes.shared_genes(self._members, self.n_genes)

    def gene_digest(self) -> str:
        """A digest of the ids of all genes, in their order."""
        identity = content_identity(gene.encode() + b"\0" for gene in self._gene_ids.to_pylist())
        return str(identity["sample"])

    def extent(self) -> MatrixSize:
        """What the inputs hold together, without what exists before them.

        One that is not in the order of its cells takes its scratch only while it is read.
        """
        found = MatrixSize.of_all(member.extent for member in self._members if not member.stays)
        dropped = any((member.positions < 0).any() for member in self._members)
        return replace(found, exact=found.exact and not dropped)

    def sample_values(self, matrix: str | None = None) -> NDArray[Any]:
        """Some of the first values of each input."""
        found = [
            member.sample_values
            if matrix is None
            else member.ask(lambda source: source.sample_values(matrix)[:PEEK])
            for member in self._members
        ]
        return np.concatenate(found)

    def indptr_estimate(self, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, …, and n_cells: exact, or an estimate."""
        return self._chosen.indptr_estimate(step)

    def offsets(self, index: int, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, … of one input, and in all of it."""
        return self._members[index].ask(lambda source: source.indptr_estimate(step))

    def cells(self) -> pa.Table:
        """The cells of all, with the columns that any has; missing where one lacks them."""
        return self._cells

    def genes(self) -> pa.Table:
        """All genes, with the columns that any input has: of each the first value there is."""
        return self._joined[0]

    def layers(self) -> Mapping[str, Matrix]:
        """Those that are taken; of several inputs all that any has."""
        return self._beside.layers

    def raw(self) -> Raw | None:
        """Raw, if it is taken; of several inputs those of all that have one."""
        return self._beside.raw

    def slots(self) -> Slots:
        """Those that are taken; of several inputs brought together."""
        return self._beside.slots()

    def unses(self) -> list[Mapping[str, Any]]:
        """The uns of each input, as far as it is taken."""
        found = [] if self._existing is None else list(self._existing.unses())
        return found + [
            uns_per_source(member, self.taking) for member in self._members if not member.stays
        ]

    def merged(self, unses: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """One uns of those of all inputs; that of the only one as it is."""
        return merge_uns(unses, self.taking.uns_merge)

    def check_known_slots(self, without: Iterable[str]) -> None:
        """Refuse a choice of layers, or of what to leave out, that none of the inputs has.

        Parameters
        ----------
        without
            What is left out by a name that was given now.

        Raises
        ------
        MissingMatrix
            Naming it, and what there is.
        """
        said.check_known_slots(self._members, self.taking.wanted, without)

    def missing(self, slot: str, key: str) -> NDArray[np.bool_]:
        """The rows of an element that no input gave anything to.

        Parameters
        ----------
        slot
            "obsm", of which each input gives its cells; or "varm" or "raw_varm", of which the
            first that has it gives its genes.
        key
            The name of the element.
        """
        raw = self.raw() if slot == RAW_VARM else None
        return axes.rows_without_values(slot, key, self.records, self.n_genes, raw)

    def batches(self, rows: RowRange) -> Iterator[Batch]:
        """These cells, in order."""
        return self._chosen.batches(rows)

    @cached_property
    def _chosen(self) -> ConcatMatrix:
        """The matrix that was chosen of each input, which is what it is as a source."""
        parts = [ConcatPart(one, GeneMap(one.positions, self.n_genes)) for one in self._members]
        return ConcatMatrix(parts, lambda source: source, (self.n_cells, self.n_genes), self.dtype)

    @cached_property
    def _cells(self) -> pa.Table:
        return axes.concat_cells(self._members)

    @cached_property
    def _joined(self) -> tuple[pa.Table, tuple[str, ...]]:
        return axes.merge_genes(
            (member.ask(lambda source: source.genes()), member.positions, member.place)
            for member in self._members
            if not member.genes_repeated
        )

    @cached_property
    def _beside(self) -> SingleInputAnnotations | MergedAnnotations:
        if len(self._members) == 1 and self._existing is None:
            return SingleInputAnnotations(self._members[0], self.taking)
        return MergedAnnotations(self._members, self._gene_ids, self._genes, self._uns)

    def _uns(self) -> Mapping[str, Any]:
        return self.merged(self.unses())
