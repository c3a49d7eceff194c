"""Several inputs, end to end, as one Source: cells below each other, genes aligned by id."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.annotations.lazy_table import LazyColumn, LazyTable
from slaf.errors import MissingMatrix
from slaf.format.schema import RAW
from slaf.options import LAYER, RAW_VARM, SlotSelection
from slaf.sources.base import Source, SourceInfo
from slaf.sources.concat import axes, messages
from slaf.sources.concat.annotations import (
    MergedAnnotations,
    merge_uns,
    read_uns,
    single_raw,
    single_slots,
)
from slaf.sources.concat.coverage import concat_coverage, measure_cells
from slaf.sources.concat.matrix import ChosenMatrix
from slaf.sources.concat.members import (
    SAMPLE_SIZE,
    open_members,
    selected_columns,
)
from slaf.sources.concat.pool import SourcePool
from slaf.sources.contents import measured_by
from slaf.sources.identity import content_identity
from slaf.sources.matrix import MatrixSize
from slaf.sources.names import counts_rank
from slaf.sparse.casting import is_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.annotations.lazy_table import AnyColumn, AnyTable
    from slaf.sources.concat.genes import GeneJoin
    from slaf.sources.concat.members import ExistingDataset, Input, Member
    from slaf.sources.contents import Coverage, Measured, Raw, Slots
    from slaf.sources.matrix import Matrix
    from slaf.sparse.ranges import RowRange

__all__ = ["Concat"]

# The ids that are digested at a time.
_IDS = 1 << 16


class Concat(Source):
    """Several inputs as one source; each is open only while it is read.

    Every input is opened once at first, so that an unfit one is found before the work begins.

    Parameters
    ----------
    inputs
        In the order of their cells; at least one, unless there is an existing dataset.
    join
        The genes to take.
    existing
        A dataset before the inputs; its genes come first, in their order.
    selection
        The layers, raw and slots to take of the inputs.
    allow_duplicate
        Whether inputs of one folder may have the same cells.

    Raises
    ------
    DuplicateInput
        If all cell ids of one are among those of another of the same folder.
    GeneMismatch
        If the genes cannot be aligned as chosen.
    InputError
        If one cannot be read.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        join: GeneJoin = "strict",
        existing: ExistingDataset | None = None,
        selection: SlotSelection | None = None,
        *,
        allow_duplicate: bool = False,
    ) -> None:
        super().__init__()
        self._existing = existing
        self.selection = selection or SlotSelection()
        self.reading = inputs[0].options if inputs else None
        opens = [one.opened for one in inputs]
        if existing is not None:
            opens.insert(0, lambda: existing.source)
        self._pool = SourcePool(opens)
        with ExitStack() as failing:
            failing.callback(self._pool.close)
            self._members, self._gene_ids = open_members(
                self._pool,
                inputs,
                existing,
                join,
                self.selection,
                allow_duplicate=allow_duplicate,
            )
            records = () if existing is None else existing.records
            added = (member.record for member in self._members if not member.is_existing)
            self.records = (*records, *added)
            self._annotations = MergedAnnotations(
                self._members, self._gene_ids, join, lambda: self.merge_uns(self.uns_per_source())
            )
            self.info = self._describe()
            annotated = frozenset() if existing is None else existing.annotated
            messages.check_same_slots(self._members, self.selection, annotated)
            failing.pop_all()

    def _describe(self) -> SourceInfo:
        first, *more = (member.label for member in self._members)
        added = [member for member in self._members if not member.is_existing]
        size = MatrixSize.of_all(member.info.size for member in added)
        dropped = any(member.gene_map.n_dropped for member in self._members)
        matrix = " and ".join(dict.fromkeys(record.matrix for record in self.records))
        return SourceInfo(
            reads=tuple(place for member in self._members for place in member.info.places),
            uri=f"{first} and {len(more):,} more" if more else first,
            format=" and ".join(dict.fromkeys(record.format for record in self.records)),
            matrix=matrix,
            dtype=np.result_type(*(member.info.dtype for member in self._members)),
            n_cells=self._members[-1].rows.stop,
            n_genes=len(self._gene_ids),
            size=replace(size, exact=size.exact and not dropped),
            identity={"inputs": [dict(record.identity) for record in self.records]},
            matrices=(matrix,),
            layers={key: f"{LAYER}:{key}" for key in self._annotations.layers},
            not_converted=messages.not_converted(self._members),
        )

    def close(self) -> None:
        """Close the open inputs."""
        self._pool.close()

    @property
    def inputs(self) -> tuple[RowRange, ...]:
        """The cells of each input, and before them of an existing dataset."""
        return tuple(member.rows for member in self._members)

    @property
    def gene_positions(self) -> tuple[NDArray[np.int64], ...]:
        """The position of each gene of each input among all; −1 for those left out."""
        return tuple(member.gene_map.positions for member in self._members)

    @property
    def _only(self) -> Member | None:
        """The member, if it is a single input."""
        return self._members[0] if len(self._members) == 1 and self._existing is None else None

    def notes(self) -> tuple[str, ...]:
        """What a user should know of several inputs, in words."""
        return messages.notes(
            self._members,
            repeated=axes.repeated_ids(self.cells()) if len(self._members) > 1 else 0,
            differing=self._annotations.differing,
            differing_columns=self._merged_genes[1],
            computed=frozenset() if self._existing is None else self._existing.computed,
        )

    def matrices_with_counts(self) -> tuple[str, ...]:
        """Matrices of all inputs with whole numbers, if the chosen one has fractions.

        Those that are counts by their name come first.
        """
        if all(is_whole(member.sample_values) for member in self._members):
            return ()
        first, *others = (member.info for member in self._members)
        names = [name for name in first.matrices if all(name in info.matrices for info in others)]
        names.sort(key=counts_rank)
        return tuple(name for name in names if name != self.info.matrix and self._is_whole(name))

    def _is_whole(self, matrix: str) -> bool:
        def read(source: Source) -> bool:
            return is_whole(source.matrix(matrix).sample_values()[:SAMPLE_SIZE])

        return all(member.with_open(read) for member in self._members)

    def shared_genes(self) -> int:
        """The number of genes that all inputs have."""
        return axes.shared_genes(self._members, self.info.n_genes)

    def gene_digest(self) -> str:
        """A digest of the ids of all genes, in their order."""
        ids = self._gene_ids
        if isinstance(ids, LazyColumn):
            return str(content_identity([ids.table.content.encode()])["sample"])
        # Some at a time: as Python's strings they take ten times the memory.
        parts = (ids.slice(at, _IDS) for at in range(0, len(ids), _IDS))
        identity = content_identity("\0".join([*part.to_pylist(), ""]).encode() for part in parts)
        return str(identity["sample"])

    @property
    def gene_ids(self) -> AnyColumn:
        """The ids of all genes; a lazy column if each input makes the same."""
        return self._gene_ids

    def is_sorted(self, index: int) -> bool:
        """Whether the converted matrices of an input are in the order of cells."""
        member = self._members[index]
        return member.unsorted.isdisjoint((member.info.matrix, *member.selected))

    def offsets(self, index: int, step: int) -> NDArray[np.int64]:
        """Entries before cells 0, step, 2 * step, … of one input, and in all of it."""
        member = self._members[index]
        if 0 < len(member.rows) <= step:
            # Thousands of small inputs are not opened again for it.
            return np.array([0, member.info.size.entries], np.int64)
        return member.with_open(lambda source: source.matrix().indptr_estimate(step))

    def read_cells(self) -> pa.Table:
        """The cells of all, with the columns of any; missing values where one lacks a column."""
        return axes.concat_cells(self._members)

    def read_genes(self) -> pa.Table:
        """All genes, with the columns of any input: the first value of each."""
        genes = self.lazy_genes()
        return genes.whole() if isinstance(genes, LazyTable) else genes

    def lazy_genes(self) -> AnyTable:
        """All genes, a lazy table if it is that of each input."""
        return self._merged_genes[0]

    @cached_property
    def _merged_genes(self) -> tuple[AnyTable, tuple[str, ...]]:
        if isinstance(self._gene_ids, LazyColumn):
            table = self._gene_ids.table
            if self._existing is not None:
                return table, ()
            selected = partial(selected_columns, slot="var", selection=self.selection)
            return table.mapped(lambda rows, _: selected(rows), f"of {self.selection}"), ()
        return axes.merge_genes(
            (self._genes_of(member), member.gene_map, member.label)
            for member in self._members
            if not member.genes_repeated
        )

    def _genes_of(self, member: Member) -> pa.Table:
        genes = member.with_open(lambda source: source.genes())
        return genes if member.is_existing else selected_columns(genes, "var", self.selection)

    def open_matrix(self, name: str) -> Matrix:
        """The chosen matrices of all inputs, the raws, or the layers of a name."""
        if name == self.info.matrix:
            return ChosenMatrix(self._members, self.info)
        if name in self.info.layers.values():
            return self._annotations.layer(name.removeprefix(f"{LAYER}:"))
        raw = self.raw() if name == RAW else None
        if raw is None:
            names = ", ".join((self.info.matrix, *self.info.layers.values()))
            msg = f"{self.info.uri}: there is no matrix {name!r}; there is {names}"
            raise MissingMatrix(msg)
        return raw.matrix

    def open_raw(self) -> Raw | None:
        """Raw, if it is selected; of several inputs the raws of all that have one."""
        return self._annotations.raw() if self._only is None else single_raw(self._only)

    def measured(self, name: str | None = None) -> Sequence[Measured]:
        """The genes that each input has measured."""
        if name in {None, self.info.matrix}:
            return measured_by(self.records)
        return measured_by(self.records, name, self.raw() if name == RAW else None)

    def open_coverage(self) -> Coverage | None:
        """The coverage of all, whose contigs are the same."""
        return concat_coverage(self._members)

    def measure(self, rows: RowRange) -> Mapping[RowRange, Mapping[str, Sequence[Any]]]:
        """Columns of some cells that are known once their values are read."""
        return measure_cells(self._members, rows)

    @contextmanager
    def kept_open(self, rows: RowRange) -> Iterator[None]:
        """Keep the inputs of some cells open, with what they have read."""
        with ExitStack() as leases:
            for member in self._members:
                wanted = rows.overlap(member.rows)
                if wanted:
                    source = leases.enter_context(member.lease())
                    leases.enter_context(source.kept_open(wanted.shifted(-member.rows.start)))
            yield

    def slots(self) -> Slots:
        """The selected slots; of several inputs merged."""
        only = self._only
        return self._annotations.slots() if only is None else single_slots(only, self.selection)

    def uns_per_source(self) -> list[Mapping[str, Any]]:
        """The selected elements of the uns of each input."""
        existing = [] if self._existing is None else list(self._existing.uns_per_source())
        added = (member for member in self._members if not member.is_existing)
        return [*existing, *(read_uns(member, self.selection) for member in added)]

    def merge_uns(self, uns_per_source: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """One uns of those of all inputs; the uns of a single input as it is.

        Annotations of an existing dataset stay, and content that it dropped stays away.
        """
        merged = merge_uns(uns_per_source, self.selection.uns_merge)
        names = frozenset() if self._existing is None else self._existing.annotated
        if self._existing is None or not any(name.startswith("uns:") for name in names):
            return merged
        own = self._existing.source.slots().uns
        kept = {key: own[key] for key in own if f"uns:{key}" in names}
        return {key: merged[key] for key in merged if f"uns:{key}" not in names} | kept

    def check_known_slots(self, without: Iterable[str]) -> None:
        """Refuse a choice of layers, or of slots to leave out, that no input has.

        Parameters
        ----------
        without
            The names to leave out.

        Raises
        ------
        MissingMatrix
            Naming it, and what there is.
        """
        messages.check_known_slots(self._members, self.selection.wanted, without)

    def missing(self, slot: str, key: str) -> NDArray[np.bool_]:
        """The rows of an element without a value from any input.

        Parameters
        ----------
        slot
            "obsm", with cells of each input; or "varm" or "raw_varm", with genes of the first
            input that has it.
        key
            The name of the element.
        """
        raw = self.raw() if slot == RAW_VARM else None
        existing = self._existing
        if slot != "obsm" and existing is not None and f"{slot}:{key}" in existing.annotated:
            # Whichever input has the genes: all of the dataset have values.
            own = existing.source.raw() if slot == RAW_VARM else None
            n_genes = existing.source.info.n_genes if own is None else own.genes.num_rows
            return np.arange(self.info.n_genes if raw is None else raw.genes.num_rows) >= n_genes
        return axes.rows_without_values(slot, key, self.records, self.info.n_genes, raw)
