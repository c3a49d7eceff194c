"""The unfinished run as config.json keeps it: the plan and the parts that are done."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from slaf.format.files import StoredFile
from slaf.format.records import Block, GeneBlock
from slaf.runs.layers import LayerResult
from slaf.runs.plan import Plan
from slaf.sparse.ranges import RowRange
from slaf.sparse.statistics import Statistics
from slaf.tables.fragments import Fragment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Checkpoint", "GenePart", "PartResult"]


@dataclass(frozen=True, slots=True)
class PartResult:
    """A part whose rows are on disk, in fragments that no version of the table names yet.

    Attributes
    ----------
    index
        Its place in the plan.
    fragments
        Of the table, in order.
    blocks
        Its blocks and their digests, in order.
    statistics
        Of its values.
    outgrown
        Whether sums of repeated entries are beyond the type that the source has them in.
    companions
        What it has of the tables beside `expression`, by their names.
    files
        Those that the fragments are in.
    """

    index: int
    fragments: list[Fragment]
    blocks: tuple[Block, ...]
    statistics: Statistics
    dtype_overflowed: bool = False
    companions: Mapping[str, LayerResult] = field(default_factory=dict)
    files: tuple[StoredFile, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As the checkpoint has it, under its index."""
        return {
            "fragments": [one.to_json() for one in self.fragments],
            "blocks": [block.to_json() for block in self.blocks],
            "statistics": asdict(self.statistics),
            "outgrown": self.dtype_overflowed,
            "companions": {name: found.to_json() for name, found in self.companions.items()},
            "files": [one.to_json() for one in self.files],
        }

    @classmethod
    def from_json(cls, index: int, data: dict[str, Any]) -> PartResult:
        """As `to_json` wrote it."""
        return cls(
            index,
            list(map(Fragment.from_json, data["fragments"])),
            tuple(map(Block.from_json, data["blocks"])),
            Statistics(**data["statistics"]),
            data["outgrown"],
            {k: LayerResult.from_json(v) for k, v in data.get("companions", {}).items()},
            tuple(map(StoredFile.from_json, data.get("files", []))),
        )


@dataclass(frozen=True, slots=True)
class GenePart:
    """Genes whose rows are on disk in their own order, as `PartResult` is of cells.

    Attributes
    ----------
    genes
        Which.
    fragments
        Of the table, in order.
    blocks
        Their blocks and the digests of these, in order.
    fingerprint
        Of their rows.
    files
        Those that the fragments are in.
    """

    genes: RowRange
    fragments: list[Fragment]
    blocks: tuple[GeneBlock, ...]
    fingerprint: str
    files: tuple[StoredFile, ...]

    def to_json(self) -> dict[str, Any]:
        """As the checkpoint has it."""
        return {
            "genes": [self.genes.start, self.genes.stop],
            "fragments": [one.to_json() for one in self.fragments],
            "blocks": [block.to_json() for block in self.blocks],
            "fingerprint": self.fingerprint,
            "files": [one.to_json() for one in self.files],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> GenePart:
        """As `to_json` wrote it."""
        return cls(
            RowRange(*data["genes"]),
            list(map(Fragment.from_json, data["fragments"])),
            tuple(map(GeneBlock.from_json, data["blocks"])),
            data["fingerprint"],
            tuple(map(StoredFile.from_json, data["files"])),
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a run is. What remains is the plan's parts without those done: a set, no counter.

    Attributes
    ----------
    plan
        What the run does.
    done
        The parts that are on disk, by index.
    published
        Whether readers see the result already, and only cleaning is left.
    damaged
        The places in the plan's `sources` of those that were found to be damaged, and may be
        mended: no part of theirs is done.
    by_gene
        The genes that are on disk in their own order, where that was asked for.
    """

    plan: Plan
    done: Mapping[int, PartResult] = field(default_factory=dict)
    published: bool = False
    damaged: tuple[int, ...] = ()
    by_gene: tuple[GenePart, ...] = ()

    def remaining(self) -> list[int]:
        """The indices of the parts that are not done, in order."""
        return [index for index in range(len(self.plan.parts)) if index not in self.done]

    def results(self) -> list[PartResult]:
        """All parts that are done, in the order of the plan."""
        return [self.done[index] for index in sorted(self.done)]

    def covered(self) -> tuple[int, int]:
        """Cells and nonzeros of the parts that are done."""
        blocks = [block for result in self.done.values() for block in result.blocks]
        cells = sum(len(self.plan.parts[index]) for index in self.done)
        return cells, sum(block.rows for block in blocks)

    def with_part(self, result: PartResult) -> Checkpoint:
        """The checkpoint once this part is done too."""
        return replace(self, done={**self.done, result.index: result})

    def with_genes(self, part: GenePart) -> Checkpoint:
        """The checkpoint once these genes are done too."""
        parts = sorted([*self.by_gene, part], key=lambda one: one.genes)
        return replace(self, by_gene=tuple(parts))

    def without_sources_of(self, parts: Iterable[int]) -> Checkpoint:
        """The checkpoint once it is known that the inputs of these parts are damaged."""
        sources = [self.plan.source_of(self.plan.parts[index].start) for index in parts]
        damaged = tuple(sorted({self.plan.sources.index(source) for source in sources}))
        done = {
            at: result
            for at, result in self.done.items()
            if self.plan.source_of(self.plan.parts[at].start) not in sources
        }
        return replace(self, done=done, damaged=damaged)

    def to_json(self) -> dict[str, Any]:
        """As config.json has it."""
        return {
            "plan": self.plan.to_json(),
            "done": {str(result.index): result.to_json() for result in self.results()},
            "published": self.published,
            "damaged": list(self.damaged),
            "by_gene": [part.to_json() for part in self.by_gene],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Checkpoint:
        """As `to_json` wrote it."""
        done = {int(i): PartResult.from_json(int(i), part) for i, part in data["done"].items()}
        damaged = tuple(data.get("damaged", ()))
        by_gene = tuple(map(GenePart.from_json, data.get("by_gene", ())))
        return cls(Plan.from_json(data["plan"]), done, data["published"], damaged, by_gene)
