"""What config.json says of `expression_by_gene`: the rows of `expression`, ordered by gene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from slaf.manifest import Block

if TYPE_CHECKING:
    from slaf.manifest import Published

__all__ = ["ByGene", "GeneBlock", "by_gene_of"]

JSON = dict[str, Any]

_KEY = "by_gene"


@dataclass(frozen=True, slots=True)
class GeneBlock(Block):
    """A run of whole genes, and the digest of what they hold.

    It is taken as that of cells is: over the rows of each gene, the cells and the values.
    """

    def __str__(self) -> str:
        return f"genes {self.start} to {self.stop}"

    def to_json(self) -> JSON:
        """As config.json has it."""
        return {"genes": [self.start, self.stop], "rows": self.rows, "digest": self.digest}

    @classmethod
    def from_json(cls, data: JSON) -> Self:
        """As `to_json` wrote it."""
        start, stop = data["genes"]
        return cls(start, stop, data["rows"], data["digest"])


@dataclass(frozen=True, slots=True)
class ByGene:
    """The proof of the table.

    Attributes
    ----------
    blocks
        The genes in runs, in order, each with its digest.
    fingerprint
        That of all rows of `expression`, taken while they were held against their own digests:
        the rows of this table have the same.
    """

    blocks: tuple[GeneBlock, ...]
    fingerprint: str

    def to_json(self) -> JSON:
        """The key of config.json, and what is there."""
        blocks = [block.to_json() for block in self.blocks]
        return {_KEY: {"fingerprint": self.fingerprint, "blocks": blocks}}


def by_gene_of(published: Published) -> ByGene | None:
    """What a dataset says of the table; None if it has none."""
    data = published.beside.get(_KEY)
    if data is None:
        return None
    return ByGene(tuple(map(GeneBlock.from_json, data["blocks"])), data["fingerprint"])
