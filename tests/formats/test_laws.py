"""The laws of sources, for every format but h5ad in each of its layouts."""

from __future__ import annotations

import shutil
from functools import cache
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np
import pytest

import slaf
from slaf.errors import OutputExists
from slaf.options import ReadOptions
from slaf.sources import open_source
from slaf.testing.laws import SourceLaws
from slaf.testing.strategies import Stored
from tests.formats.builders import Mtx, write_genomes, write_soma, write_v2, write_v3
from tests.formats.store_builders import write_h5mu, write_loom, write_zarr
from tests.sources.test_laws import everything

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


class TestZarrV2(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Compressed rows in small chunks."""
        path = write_zarr(folder / "in.zarr", STORED, version=2, chunks=(2,))
        return lambda: open_source(path)


class TestZarrSharded(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Compressed rows in shards of small chunks."""
        path = write_zarr(folder / "in.zarr", STORED, chunks=(2,), shards=(4,))
        return lambda: open_source(path)


class TestZarrZipped(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Compressed columns in a zip file, spilled in bands."""
        path = write_zarr(folder / "in.zarr.zip", STORED, "csc", chunks=(2,), shards=(4,))
        return lambda: open_source(path, options=LITTLE)


class TestZarrDense(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """A dense matrix in shards of chunks that cut both cells and genes."""
        path = write_zarr(folder / "in.zarr", SINGLE, "dense", chunks=(2, 2), shards=(4, 4))
        return lambda: open_source(path)


class TestZarrOtherCodec(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Compressed rows with a filter that zarr has to undo."""
        packing: Any = {"filters": [numcodecs.Shuffle(4)], "chunks": (2,)}
        path = write_zarr(folder / "in.zarr", STORED, version=2, **packing)
        return lambda: open_source(path)


class TestZarrTables(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """The only table of a SpatialData."""
        path = write_zarr(folder / "in.zarr", STORED, at="tables/table")
        return lambda: open_source(path)


class TestMuData(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """A modality of an HDF5 file."""
        path = write_h5mu(folder / "in.h5mu", rna=SINGLE, atac=STORED)
        return lambda: open_source(path, options=ReadOptions(modality="atac"))


class TestMuDataOnZarr(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """The modality called rna of a zarr store."""
        path = write_zarr(folder / "in.zarr", STORED, at="mod/rna")
        write_zarr(path, SINGLE, at="mod/atac")
        return lambda: open_source(path)


class TestLoom(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Chunks that cut both genes and cells, with a layer."""
        path = write_loom(
            folder / "in.loom",
            SINGLE,
            layers={"spliced": SINGLE},
            chunks=(2, 4),
            compression="gzip",
        )
        return lambda: open_source(path)


class TestLoomOfOneChunk(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Specification 2, without chunks."""
        path = write_loom(folder / "in.loom", SINGLE, version=2)
        return lambda: open_source(path)


class TestLoomByGene(SourceLaws):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Chunks of one gene, which are spilled in bands."""
        path = write_loom(folder / "in.loom", SINGLE, chunks=(1, 6))
        return lambda: open_source(path, options=LITTLE)


@cache
def dataset_of_everything(folder: Path) -> Path:
    """A dataset with everything that an AnnData has, which each test copies."""
    return slaf.convert(everything(), folder / "everything.slaf").location.path


class TestDataset(SourceLaws):
    @pytest.fixture(autouse=True)
    def _dataset(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.dataset = dataset_of_everything(tmp_path_factory.getbasetemp())

    def opener(self, folder: Path) -> Callable[[], Source]:
        """Layers, raw and slots in tables."""
        shutil.copytree(self.dataset, folder / "in.slaf")
        return lambda: open_source(folder / "in.slaf")


class TestRawOfDataset(TestDataset):
    def opener(self, folder: Path) -> Callable[[], Source]:
        """Raw, with genes of its own."""
        shutil.copytree(self.dataset, folder / "in.slaf")
        return lambda: open_source(folder / "in.slaf", options=ReadOptions(matrix="raw"))


def test_a_dataset_is_not_replaced_by_itself(tmp_path: Path) -> None:
    """A dataset that is both output and input is refused, and stays as it is."""
    dataset = slaf.convert(everything(), tmp_path / "in.slaf")
    with pytest.raises(OutputExists, match="the output and an input"):
        slaf.convert(tmp_path / "in.slaf", tmp_path / "in.slaf", overwrite=True)
    again = slaf.convert(tmp_path / "in.slaf", tmp_path / "out.slaf")
    assert again.published.blocks == dataset.published.blocks
    assert dict(slaf.diff(again, dataset).counts) == {}
    assert slaf.verify(again, tmp_path / "in.slaf").ok
