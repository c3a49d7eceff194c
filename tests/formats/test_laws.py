"""The laws of sources, for 10x H5, 10x MTX and TileDB-SOMA in each of their layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.options import ReadOptions
from slaf.sources import open_source
from slaf.testing.laws import SourceLaws
from slaf.testing.strategies import Stored
from tests.formats.builders import Mtx, write_genomes, write_soma, write_v2, write_v3

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slaf.sources.base import Source

# Cells 0 and 3 are empty; genes are out of order, one entry is repeated, one is zero.
STORED = Stored(
    (6, 5),
    np.array([1, 1, 1, 2, 4, 4, 5, 5, 5]),
    np.array([4, 0, 4, 3, 2, 1, 0, 1, 2]),
    np.array([2, 3, 4, 5, 0, 7, 8, 9, 10], np.int32),
)
# The same with no entry repeated, for what cannot hold that.
SINGLE = Stored(STORED.shape, STORED.cells[1:], STORED.genes[1:], STORED.values[1:])
GAPS: Any = {"cell_joins": [2, 3, 7, 8, 9, 20], "gene_joins": [1, 2, 5, 6, 30]}
# So little that even these entries are spilled in several bands.
LITTLE = ReadOptions(memory=100)


class TestTenxH5V3(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """A matrix with features."""
        path = write_v3(folder / "in.h5", STORED)
        return lambda: open_source(path)


class TestTenxH5Packed(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """A matrix in small chunks, shuffled and deflated."""
        path = write_v3(folder / "in.h5", STORED, compression="gzip", shuffle=True, chunks=(2,))
        return lambda: open_source(path)


class TestTenxH5V2(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """A matrix of one genome."""
        path = write_v2(folder / "in.h5", STORED)
        return lambda: open_source(path)


class TestTenxH5Genomes(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """One of two genomes."""
        path = write_genomes(folder / "in.h5", {"hg19": SINGLE, "mm10": STORED})
        return lambda: open_source(path, options=ReadOptions(genome="mm10"))


class TestFeatureType(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """The features of one type."""
        types = [b"Gene Expression", b"Antibody Capture"] * 2 + [b"Gene Expression"]
        path = write_v3(folder / "in.h5", STORED, features={"feature_type": types})
        return lambda: open_source(path, options=ReadOptions(feature_type="Gene Expression"))


class TestTenxMtx(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Packed, sorted by cell."""
        path = Mtx().write(folder / "in", STORED)
        return lambda: open_source(path)


class TestTenxMtxShuffled(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Shuffled, spilled in bands."""
        path = Mtx(order="shuffled", packed=False, version=2).write(folder / "in", STORED)
        return lambda: open_source(path, options=LITTLE)


class TestTenxMtxReal(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Real numbers, sorted by gene, spilled in bands."""
        path = Mtx(order="by gene", field="real").write(folder / "in", STORED)
        return lambda: open_source(path, options=LITTLE)


class TestSoma(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """A sparse layer."""
        path = write_soma(folder / "in", SINGLE)
        return lambda: open_source(path)


class TestSomaDense(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """A dense layer."""
        path = write_soma(folder / "in", SINGLE, dense=True)
        return lambda: open_source(path)


class TestSomaGaps(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """A sparse layer with join ids that are neither dense nor from 0."""
        path = write_soma(folder / "in", SINGLE, **GAPS)
        return lambda: open_source(path)


class TestSomaDenseGaps(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """A dense layer with join ids that are neither dense nor from 0."""
        path = write_soma(folder / "in", SINGLE, dense=True, **GAPS)
        return lambda: open_source(path)
