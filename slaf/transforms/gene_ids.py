"""Standard ids of genes: those of Ensembl without their version."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from slaf.annotations.columns import column_of, with_column
from slaf.errors import InputError
from slaf.format.schema import GENES
from slaf.sources.base import Source
from slaf.sources.selection import SelectedSource
from slaf.transforms.base import SourceStep

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from slaf.annotations.columns import ColumnSet
    from slaf.sources.contents import Raw

__all__ = ["ORIGINAL_IDS", "StandardGenes", "StandardizeGenes", "gene_symbols", "standard_gene_ids"]

# Genes, transcripts, exons and proteins of any species, and their version.
# https://www.ensembl.org/info/genome/stable_ids/index.html
_VERSIONED = re.compile(r"(ENS[A-Z]{0,6}\d{11})\.\d+")

# The column of var with the ids that genes had in the input.
ORIGINAL_IDS = "original_gene_id"


def standard_gene_ids(ids: Iterable[str]) -> list[str]:
    """The ids of genes, those of Ensembl without their version; all others as they are.

    Raises
    ------
    InputError
        If two different ids would be one.

    Examples
    --------
    >>> import slaf
    >>> slaf.standard_gene_ids(["ENSG00000141510.18", "HLA-A.2", "ENSG00000002586.20_PAR_Y"])
    ['ENSG00000141510', 'HLA-A.2', 'ENSG00000002586.20_PAR_Y']
    """
    ids = list(ids)
    standard = [found[1] if (found := _VERSIONED.fullmatch(one)) else one for one in ids]
    seen: dict[str, str] = {}
    for one, new in zip(ids, standard, strict=True):
        if seen.setdefault(new, one) != one:
            msg = (
                f"genes {seen[new]!r} and {one!r} would both be {new!r}; leave one of them out, or "
                "keep the versions"
            )
            raise InputError(msg)
    return standard


def gene_symbols(ids: Iterable[str], symbols: Mapping[str, str]) -> list[str | None]:
    """The symbol of each gene by a map of ids, with or without their version; None without one.

    Examples
    --------
    >>> import slaf
    >>> slaf.gene_symbols(["ENSG00000141510.18", "X"], {"ENSG00000141510": "TP53"})
    ['TP53', None]
    """
    standard = {_without_version(one): symbol for one, symbol in symbols.items()}
    return [symbols.get(one, standard.get(_without_version(one))) for one in ids]


def _without_version(gene: str) -> str:
    found = _VERSIONED.fullmatch(gene)
    return found[1] if found else gene


@dataclass(frozen=True)
class StandardizeGenes(SourceStep):
    """Standard ids of genes, with those of the input in a column."""

    def applied(self, source: Source, prefix: str = "") -> Source:
        """The source with these ids."""
        del prefix
        return StandardGenes(source)


class StandardGenes(SelectedSource):
    """A source with standard ids of genes; the column `original_gene_id` has those of the input.

    Parameters
    ----------
    source
        The source; closed with this one.

    Raises
    ------
    InputError
        When genes are read, if two would have one id.
    """

    def read_genes(self) -> pa.Table:
        """The genes with standard ids."""
        return self._standardized(self._source.genes())

    def open_raw(self) -> Raw | None:
        """The raw of the source, with standard ids too."""
        raw = self._source.raw()
        return None if raw is None else replace(raw, genes=self._standardized(raw.genes))

    def columns(self, axis: str) -> ColumnSet:
        """The columns of the source, and for genes that of the ids of the input."""
        return Source.columns(self, axis) if axis == GENES else super().columns(axis)

    def schema(self, axis: str) -> pa.Schema:
        """The types of these columns."""
        return Source.schema(self, axis) if axis == GENES else super().schema(axis)

    def read_columns(
        self, axis: str, names: Sequence[str], rows: NDArray[np.int64] | None = None
    ) -> pa.Table:
        """Some columns of some of the cells or genes."""
        if axis == GENES:
            return Source.read_columns(self, axis, names, rows)
        return super().read_columns(axis, names, rows)

    def _standardized(self, genes: pa.Table) -> pa.Table:
        ids = genes.column(0)
        try:
            standard = standard_gene_ids(ids.to_pylist())
        except InputError as error:
            msg = f"{self.info.uri}: {error}"
            raise InputError(msg) from None
        field = genes.schema.field(0)
        genes = genes.set_column(0, field, pa.chunked_array([standard], ids.type))
        if any(column_of(one).original == ORIGINAL_IDS for one in list(genes.schema)[1:]):
            return genes
        return with_column(genes, ORIGINAL_IDS, ids)
