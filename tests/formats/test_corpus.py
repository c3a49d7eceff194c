"""Every 10x H5, 10x MTX and TileDB-SOMA of the corpus: converted exactly, or refused by name."""

from __future__ import annotations

import shutil
import tarfile
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy
import scipy.io
import scipy.sparse as sp
import tiledbsoma
import tiledbsoma.io
import zarr

import slaf
from slaf.annotations.equality import equal_elements
from slaf.errors import DamagedInput, InputError, MissingMatrix, UnknownFormat
from slaf.sources.tenx.matrix_market import read_header
from tests.targets.checks import assert_everything

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slaf.dataset.dataset import Dataset

pytestmark = pytest.mark.corpus

MTX = "10x_mtx/scp_ingest_mtx_edge_cases/mtx"


@dataclass(frozen=True)
class Made:
    """What an input becomes: its shape, its nonzeros, and the type of the values."""

    shape: tuple[int, int]
    nnz: int
    value_type: str = "uint16"


@dataclass(frozen=True)
class Refused:
    """What an input is refused by."""

    kind: type[InputError]
    cause: str


NAMELESS = Refused(UnknownFormat, "its name does not say which barcodes and genes are its own")
TENX_H5: dict[str, Made | Refused] = {
    "pegasus_heart_1k_v2/filtered_gene_bc_matrices_h5.h5": Made((712, 31_053), 1_297_265),
    "scanpy_cr1.2_hg19chr21/filtered_gene_bc_matrices_h5.h5": Made((12, 343), 12),
    "scanpy_cr1.2_multiple_genomes/multiple_genomes.h5": Refused(
        MissingMatrix, "several genomes; choose one with --genome: another_genome, hg19_chr21"
    ),
    "scanpy_cr3.0/filtered_feature_bc_matrix.h5": Made((1107, 507), 23_866),
    "scanpy_visium_2.1_raw_probe/raw_probe_bc_matrix.h5": Made((4987, 1000), 858),
    "scp_jl_adt_rna/GSE164378_RNA_ADT_3P_P1_subsetted.h5": Made((200, 80), 6819),
}
TENX_MTX: dict[str, Made | Refused] = {
    "10x_mtx/msti_visium/filtered_feature_bc_matrix": Made((2172, 36_601), 1_104_184),
    "10x_mtx/scanpy_int_ids/int-ids": Made((5, 6), 3),
    "10x_mtx/scanpy_v2_hg19chr21/filtered_gene_bc_matrices": Made((12, 343), 12),
    "10x_mtx/scanpy_v3/filtered_feature_bc_matrix": Made((1107, 507), 23_866),
    "10x_mtx/seurat_v2_pbmc_small/v2": Made((80, 240), 4814),
    "10x_mtx/ebi_pbmc_subset/matrix.mtx": Refused(
        DamagedInput, "the genes or features of the matrix are missing: features.tsv.gz or"
    ),
    MTX: Refused(DamagedInput, "unsorted_matrix.mtx.gz, line 2: it declares 772,476 entries"),
    f"{MTX}/matrix.mtx": Made((25, 33_694), 25),
    f"{MTX}/AB_toy_data_toy.matrix.mtx": Refused(
        DamagedInput, "it declares 4,352 entries, but has 4,329"
    ),
    f"{MTX}/AB_toy_data_toy.unsorted_mtx.mtx": NAMELESS,
    f"{MTX}/bad_dimensions.mtx.txt": NAMELESS,
    f"{MTX}/bad_format_has_character.mtx": NAMELESS,
    f"{MTX}/bad_format_has_space.mtx": NAMELESS,
    f"{MTX}/matrix_with_header.mtx": NAMELESS,
    f"{MTX}/no_data.mtx.txt": NAMELESS,
    f"{MTX}/one_column_feature_file_data_models.mtx": Refused(
        DamagedInput, "it declares 772,476 entries, which a file of 990 bytes cannot hold"
    ),
    f"{MTX}/raw_count.sparse.mtx": NAMELESS,
    f"{MTX}/sorted_matrix.mtx": Refused(UnknownFormat, "no known format"),
    f"{MTX}/unsorted_matrix.mtx": Refused(
        DamagedInput, "the genes or features of the matrix are missing: unsorted_features.tsv.gz"
    ),
    f"{MTX}/unsorted_matrix.mtx.gz": Refused(
        DamagedInput, "the genes or features of the matrix are missing: unsorted_features.tsv.gz"
    ),
    f"{MTX}/unsorted_mtx.mtx.txt": NAMELESS,
    f"{MTX}/unsorted_mtx.txt.gzip": NAMELESS,
}
LAYOUTS: dict[str, Made | Refused] = {
    "seurat_visium_hd/visium_hd": Refused(
        UnknownFormat, "name the one that is meant: square_008um/filtered_feature_bc_matrix.h5, squ"
    ),
    "seurat_visium_hd/visium_hd/binned_outputs/square_016um": Made((2695, 100), 50_355),
    "cellsnp_AD_DP/cellSNP_mat": NAMELESS,
    "kb_python_fixtures/fixtures/counts/genes.mtx": Made((29, 17), 2),
    "kb_python_fixtures/fixtures/lamanno/counts": Made((278, 17), 89),
    "kb_python_fixtures/fixtures/cellranger": Made((29, 17), 2),
    "kb_python_fixtures/fixtures/quant": NAMELESS,
    "kb_python_fixtures/fixtures/tcc": NAMELESS,
}
# The same files once more, with barcodes and features beside them.
WITH_NAMES: dict[str, Made | Refused] = {
    "AB_toy_data_toy.unsorted_mtx.mtx": Refused(DamagedInput, "declares 4,352 entries, but has"),
    "bad_dimensions.mtx.txt": Refused(DamagedInput, "'80 t 4352' is not three sizes"),
    "bad_format_has_character.mtx": Refused(DamagedInput, "is not three sizes"),
    "bad_format_has_space.mtx": Refused(DamagedInput, "declares 4,352 entries, but has"),
    "matrix_with_header.mtx": Refused(DamagedInput, "declares 14 entries, but has"),
    "no_data.mtx.txt": Refused(DamagedInput, "it ends before its sizes"),
    "one_column_feature_file_data_models.mtx": Refused(DamagedInput, "declares 772,476 entries"),
    "raw_count.sparse.mtx": Refused(DamagedInput, "declares 81,920 entries, but has"),
    "sorted_matrix.mtx": Refused(DamagedInput, "its first line is"),
    "unsorted_matrix.mtx": Refused(DamagedInput, "it declares 772,476 entries, which a file of"),
    "unsorted_matrix.mtx.gz": Refused(DamagedInput, "it declares 772,476 entries, which a file of"),
    "unsorted_mtx.mtx.txt": Refused(DamagedInput, "declares 4,352 entries, but has"),
    "unsorted_mtx.txt.gzip": Refused(DamagedInput, "declares 4,352 entries, but has"),
}
SOMA: dict[str, Mapping[str, Made]] = {
    name: {
        "layer:counts": Made((80, 230), 4456),
        "X": Made((80, 230), 4456, "float64"),
        "layer:scale_data": Made((80, 230), 1600, "float64"),
    }
    for name in ("r_soma-exp-pbmc-small", "r_soma-exp-pbmc-small-pre-1.15")
}


ZARR_FIXTURE = "zarr/vitessce_fixture_anndata012/anndata-0.12"
ZARR: dict[str, Made | Refused] = {
    "zarr/annbatch_example_0/example_0.zarr": Made((3000, 200), 155_890),
    "zarr/anndata_archive_v0.11.4/adata.zarr.zip": Refused(MissingMatrix, "no matrix 'X'"),
    "zarr/anndata_archive_v0.7.0/adata.zarr.zip": Made((30, 20), 228),
    "zarr/vitessceR_seurat/seurat.zarr": Made((100, 200), 19_838),
    f"{ZARR_FIXTURE}/anndata-csc.zarr": Made((3, 15), 42),
    f"{ZARR_FIXTURE}/anndata-csr.adata.zarr": Made((3, 15), 42),
    f"{ZARR_FIXTURE}/anndata-dense.zarr": Made((3, 15), 42),
}
H5MU: dict[tuple[str, str], Made] = {
    ("hubmap_secondary_analysis/secondary_analysis.h5mu", "rna"): Made((3, 15), 42),
    ("hubmap_secondary_analysis/secondary_analysis.h5mu", "atac_cbg"): Made((3, 15), 42),
    ("mudata_archive_v0.1.2/mdata_axis0.h5mu", "mod1"): Made((100, 20), 1999, "float32"),
    ("mudata_archive_v0.1.2/mdata_axis0.h5mu", "mod2"): Made((100, 30), 3000),
    ("mudata_archive_v0.3.10/mdata_axis0.h5mu", "mod1"): Made((100, 20), 1999, "float32"),
    ("mudata_archive_v0.3.10/mdata_axis0.h5mu", "mod2"): Made((100, 30), 3000),
}
LOOM = {
    "loom/kb_python_genes/genes.loom": Made((29, 17), 2),
    "loom/scp_test/test_loom.loom": Made((5, 10), 50, "float32"),
    "loom/scvi_fc_dropseq/fc-dropseq.loom": Made((25, 1316), 1840),
}


def test_the_tables_name_every_file(corpus: Path) -> None:
    """Nothing of the corpus is left out of these tests."""
    assert {f"h5mu/{name}" for name, _ in H5MU} == files(corpus, "h5mu/*/*")
    assert set(LOOM) == files(corpus, "loom/*/*")
    stores = [*corpus.glob("zarr/*/*.zarr"), *corpus.glob("zarr/*/*.zip")]
    stores += corpus.glob("zarr/*/*/*.zarr")
    assert {path.relative_to(corpus).as_posix() for path in stores} == set(ZARR)
    assert {f"10x_h5/{name}" for name in TENX_H5} == files(corpus, "10x_h5/*/*")
    named = files(corpus, "10x_mtx/**/*mtx*") - {MTX}
    listed = {name for name in TENX_MTX if (corpus / name).is_file()}
    inside = {file for name in set(TENX_MTX) - listed for file in files(corpus, f"{name}/**/*")}
    assert {name for name in named if not name.endswith("barcodes.tsv")} <= listed | inside
    assert files(corpus, "soma/*/*.tar.gz") == {
        f"soma/{name}/{name.removeprefix('r_')}.tar.gz" for name in SOMA
    }


@pytest.mark.parametrize("name", TENX_H5)
def test_tenx_h5(name: str, corpus: Path, tmp_path: Path) -> None:
    """A 10x H5 file is converted and proven, and holds what scanpy reads, or is refused."""
    path = corpus / "10x_h5" / name
    dataset = outcome(path, tmp_path, TENX_H5[name])
    if dataset is not None:
        assert_as_scanpy_reads(dataset, read_h5(path))


@pytest.mark.parametrize("genome", ["another_genome", "hg19_chr21"])
def test_several_genomes(genome: str, corpus: Path, tmp_path: Path) -> None:
    """Each of several genomes is converted, and holds what is in its group."""
    path = corpus / "10x_h5/scanpy_cr1.2_multiple_genomes/multiple_genomes.h5"
    dataset = outcome(path, tmp_path, Made((12, 343), 12), genome=genome)
    assert dataset is not None
    # scanpy does not read this file.
    with h5py.File(path) as file:
        group = {name: file[genome][name][()] for name in file[genome]}
    expected = sp.csr_matrix((group["data"], group["indices"], group["indptr"]), shape=(12, 343))
    np.testing.assert_array_equal(dataset.X.to_memory().toarray(), expected.toarray())
    for found, name in (
        (dataset.table("cells").to_table()["cell_id"], "barcodes"),
        (dataset.table("genes").to_table()["gene_id"], "genes"),
    ):
        assert found.to_pylist() == [text.decode() for text in group[name]]


def test_one_type_of_features(corpus: Path, tmp_path: Path) -> None:
    """Antibodies and genes of one file are converted apart, and hold what scanpy reads."""
    path = corpus / "10x_h5/scp_jl_adt_rna/GSE164378_RNA_ADT_3P_P1_subsetted.h5"
    whole = read_h5(path)
    for number, kind in enumerate(("Gene Expression", "Antibody Capture")):
        dataset = slaf.convert(path, tmp_path / f"{number}.slaf", feature_type=kind)
        assert slaf.verify(dataset, path).ok
        assert_as_scanpy_reads(dataset, whole[:, whole.var["feature_types"] == kind])


def test_ids_of_probes(corpus: Path, tmp_path: Path) -> None:
    """Of probes scanpy calls the gene's id `gene_ids`, which repeats; ours is the probe's own."""
    path = corpus / "10x_h5/scanpy_visium_2.1_raw_probe/raw_probe_bc_matrix.h5"
    dataset = slaf.convert(path, tmp_path / "out.slaf")
    expected = read_h5(path).var
    assert dataset.var_names.to_list() == expected["probe_ids"].to_list()
    assert dataset.var["gene_id"].to_list() == expected["gene_ids"].to_list()
    assert expected["probe_ids"].is_unique
    assert not expected["gene_ids"].is_unique


@pytest.mark.parametrize("name", TENX_MTX)
def test_tenx_mtx(name: str, corpus: Path, tmp_path: Path) -> None:
    """A 10x MTX folder is converted and proven, and holds what scanpy reads, or is refused."""
    path = corpus / name
    dataset = outcome(path, tmp_path, TENX_MTX[name])
    if dataset is None:
        return
    folder = path if path.is_dir() else path.parent
    place = next(folder.rglob("matrix.mtx*"))
    expected = sp.csr_matrix(scipy.io.mmread(place, spmatrix=False).T)
    assert (dataset.X.to_memory().astype(expected.dtype) != expected).nnz == 0
    if not (place.parent / "features.tsv").exists() or (place.parent / "features.tsv.gz").exists():
        # scanpy takes features.tsv only where it is packed.
        adata = scanpy.read_10x_mtx(
            place.parent, var_names="gene_ids", gex_only=False, make_unique=False
        )
        adata.var["gene_ids"] = adata.var_names
        adata.var_names = adata.var.pop("gene_symbols").to_list()
        assert_as_scanpy_reads(dataset, adata)


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str, corpus: Path, tmp_path: Path) -> None:
    """A folder of a tool is converted as SciPy reads its matrix, or is refused."""
    path = corpus / "layouts" / name
    dataset = outcome(path, tmp_path, LAYOUTS[name])
    if dataset is None or not dataset.sources[0].format.endswith("mtx"):
        return
    file = path if path.is_file() else next(path.glob("[ms]*.mtx"))
    expected = dense(scipy.io.mmread(file, spmatrix=False))
    found = dataset.X.to_memory().toarray()
    assert np.array_equal(found, expected) or np.array_equal(found, expected.T)


@pytest.mark.parametrize("name", WITH_NAMES)
def test_malformed_matrices(name: str, corpus: Path, tmp_path: Path) -> None:
    """A malformed matrix is refused by what is wrong in it once it has barcodes and features."""
    file = corpus / MTX / name
    target = tmp_path / "in" / f"matrix.mtx{'.gz' if 'gz' in name else ''}"
    target.parent.mkdir()
    shutil.copy(file, target)
    genes, cells = sizes(file)
    for tsv, count in (("genes.tsv", genes), ("barcodes.tsv", cells)):
        (target.parent / tsv).write_text("".join(f"{number}\n" for number in range(count)))
    outcome(target.parent, tmp_path, WITH_NAMES[name], place=target)


@pytest.mark.parametrize("name", SOMA)
def test_soma(name: str, corpus: Path, tmp_path: Path) -> None:
    """Each layer of an experiment is converted, and holds what tiledbsoma reads."""
    archive = corpus / "soma" / name / f"{name.removeprefix('r_')}.tar.gz"
    path = tmp_path / "in"
    with tarfile.open(archive) as packed:
        packed.extractall(path, filter="data")
    for matrix, made in SOMA[name].items():
        dataset = outcome(path, tmp_path / matrix.replace(":", "-"), made, matrix=matrix)
        assert dataset is not None
        layer = "data" if matrix == "X" else matrix.removeprefix("layer:")
        with tiledbsoma.Experiment.open(str(path)) as experiment, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            layers = list(experiment.ms["RNA"].X)
            expected = tiledbsoma.io.to_anndata(
                experiment, "RNA", X_layer_name=layer, extra_X_layer_names=layers
            )
        assert dataset.obs_names.to_list() == expected.obs_names.to_list()
        assert dataset.var_names.to_list() == expected.var_names.to_list()
        np.testing.assert_array_equal(dataset.X.to_memory().toarray(), dense(expected.X))
        for found, frame in ((dataset.obs, expected.obs), (dataset.var, expected.var)):
            columns = found.drop(columns="soma_joinid")
            pd.testing.assert_frame_equal(columns, frame, check_dtype=False, check_names=False)
        held = dataset.to_anndata()
        assert set(held.layers) == set(expected.layers)
        for key, values in expected.layers.items():
            np.testing.assert_array_equal(held.layers[key].toarray(), dense(values))
        for slot in ("obsm", "varm", "obsp", "varp", "uns"):
            assert equal_elements(dict(getattr(held, slot)), dict(getattr(expected, slot))), slot


@pytest.mark.parametrize("name", ZARR)
def test_zarr(name: str, corpus: Path, tmp_path: Path) -> None:
    """AnnData on zarr is converted with every slot as anndata reads it, or is refused."""
    path = corpus / name
    dataset = outcome(path, tmp_path, ZARR[name])
    if dataset is not None:
        store = zarr.storage.ZipStore(path) if path.suffix == ".zip" else path
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert_everything(dataset.to_anndata(), anndata.read_zarr(store))


@pytest.mark.parametrize(("name", "modality"), H5MU)
def test_h5mu(name: str, modality: str, corpus: Path, tmp_path: Path) -> None:
    """Each modality is converted with every slot as anndata reads it."""
    path = corpus / "h5mu" / name
    dataset = outcome(path, tmp_path, H5MU[name, modality], modality=modality)
    assert dataset is not None
    with h5py.File(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_everything(dataset.to_anndata(), anndata.io.read_elem(file[f"mod/{modality}"]))


@pytest.mark.parametrize("name", LOOM)
def test_loom(name: str, corpus: Path, tmp_path: Path) -> None:
    """A loom file is converted, with the values and attributes that HDF5 reads."""
    path = corpus / name
    dataset = outcome(path, tmp_path, LOOM[name])
    assert dataset is not None
    with h5py.File(path) as file:
        np.testing.assert_array_equal(dataset.X.to_memory().toarray(), file["matrix"][()].T)
        for group, frame, wide in (
            ("col_attrs", dataset.obs, dataset.obsm),
            ("row_attrs", dataset.var, dataset.varm),
        ):
            for key, stored in file[group].items():
                values = stored.asstr()[()] if stored.dtype.kind in "SO" else stored[()]
                if key in wide:
                    np.testing.assert_array_equal(wide[key], values)
                else:
                    found = frame.index if frame.index.name == key else frame[key]
                    assert found.to_list() == values.ravel().tolist()


def outcome(
    path: Path, folder: Path, expected: Made | Refused, place: Path | None = None, **options: Any
) -> Dataset | None:
    """The dataset, proven against the input; or None if it is refused, and nothing is left."""
    folder.mkdir(exist_ok=True)
    output = folder / "out.slaf"
    if isinstance(expected, Refused):
        with pytest.raises(expected.kind) as refusal:
            slaf.convert(path, output, **options)
        assert expected.cause in str(refusal.value)
        assert (place or path).name in str(refusal.value) or str(path.parent) in str(refusal.value)
        assert not output.exists()
        return None
    dataset: Dataset = slaf.convert(path, output, **options)
    assert slaf.verify(dataset, path).ok
    assert (dataset.shape, dataset.nnz) == (expected.shape, expected.nnz)
    assert dataset.published.value_type == expected.value_type
    return dataset


def files(corpus: Path, pattern: str) -> set[str]:
    """The files that match, as the tables name them."""
    return {p.relative_to(corpus).as_posix() for p in corpus.glob(pattern) if p.is_file()}


def read_h5(path: Path) -> Any:
    """As scanpy reads it, with all types of features."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return scanpy.read_10x_h5(path, gex_only=False)


def assert_as_scanpy_reads(dataset: Dataset, adata: Any) -> None:
    """Equal in every value, id, name and type of features."""
    np.testing.assert_array_equal(dataset.X.to_memory().toarray(), adata.X.toarray())
    assert dataset.obs_names.to_list() == adata.obs_names.to_list()
    # Of probes it has two ids.
    own = "probe_ids" if "probe_ids" in adata.var else "gene_ids"
    assert dataset.var_names.to_list() == adata.var[own].to_list()
    named = "name" if own == "probe_ids" else "gene_name"
    assert dataset.var[named].to_list() == adata.var_names.to_list()
    if "feature_types" in adata.var:
        assert dataset.var["feature_type"].to_list() == adata.var["feature_types"].to_list()


def sizes(file: Path) -> tuple[int, int]:
    """Rows and columns that a matrix declares; none where it does not."""
    try:
        header = read_header(file)
    except DamagedInput:
        return 0, 0
    return header.n_rows, header.n_columns


def dense(matrix: Any) -> Any:
    """As an array."""
    return matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)
