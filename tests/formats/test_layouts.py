"""Folders as tools write them: the cells that a user means, once; or a question."""

from __future__ import annotations

import string
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.errors import DuplicateInput, UnknownFormat
from tests.cli.terminal import run
from tests.cloud.servers import upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cloud.servers import Cloud

N_GENES, N_RAW, N_FILTERED = 4, 7, 3
SIZE = {"raw": N_RAW, "filtered": N_FILTERED}
BARCODES = [f"{''.join(np.random.default_rng(at).choice(list('ACGT'), 12))}-1" for at in range(40)]


# ------------------------------------------------------------------------------- writing of forms


def matrix_of(state: str, sample: int = 0) -> tuple[Any, list[str]]:
    """A matrix of cells × genes and its barcodes: the first of raw are those of filtered."""
    n_cells = SIZE[state]
    dense = np.random.default_rng(sample).integers(1, 9, (N_RAW, N_GENES))[:n_cells]
    return sp.csr_matrix(dense), BARCODES[sample * N_RAW :][:n_cells]


def write_mtx(
    folder: Path,
    state: str,
    sample: int = 0,
    *,
    matrix: str = "matrix.mtx",
    barcodes: str = "barcodes.tsv",
    features: str = "features.tsv",
    transposed: bool = False,
    scale: int = 1,
) -> None:
    """A Matrix Market file and its tables, by any names."""
    folder.mkdir(parents=True, exist_ok=True)
    values, ids = matrix_of(state, sample)
    stored = (values * scale if transposed else values.T * scale).tocoo()
    entries = zip(stored.row + 1, stored.col + 1, stored.data, strict=True)
    lines = [f"{row} {column} {value}\n" for row, column, value in entries]
    sizes = f"{stored.shape[0]} {stored.shape[1]} {stored.nnz}\n"
    banner = "%%MatrixMarket matrix coordinate integer general\n"
    (folder / matrix).write_text(banner + sizes + "".join(lines))
    (folder / barcodes).write_text("".join(f"{name}\n" for name in ids))
    (folder / features).write_text("".join(f"E{at}\tG{at}\n" for at in range(N_GENES)))


def write_h5(path: Path, state: str, sample: int = 0) -> None:
    """A 10x HDF5 file."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    values, ids = matrix_of(state, sample)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array([name.encode() for name in ids])
        group["data"], group["indices"] = values.data.astype("i4"), values.indices
        group["indptr"], group["shape"] = values.indptr, np.array([N_GENES, len(ids)], "i4")
        genes = np.array([f"E{at}".encode() for at in range(N_GENES)])
        group["features/id"], group["features/name"] = genes, genes
        group["features/genome"] = np.array([b"hg"] * N_GENES)
        group["features/feature_type"] = np.array([b"Gene Expression"] * N_GENES)


def write_h5ad(path: Path, state: str, sample: int = 0) -> None:
    """An h5ad file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values, ids = matrix_of(state, sample)
    var = pd.DataFrame(index=[f"E{at}" for at in range(N_GENES)])
    anndata.AnnData(values.astype("f4"), obs=pd.DataFrame(index=ids), var=var).write_h5ad(path)


# --------------------------------------------------------------------------------- layouts of tools


def cell_ranger(root: Path) -> None:
    """`cellranger count`, and ARC, Flex and Visium, which write further files."""
    for state in SIZE:
        write_h5(root / f"outs/{state}_feature_bc_matrix.h5", state)
        write_mtx(root / f"outs/{state}_feature_bc_matrix", state)
    write_h5(root / "outs/raw_probe_bc_matrix.h5", "raw")
    (root / "outs/atac_peaks.bed").write_text("chr1\t1\t2\n")
    (root / "outs/molecule_info.h5").write_bytes(b"not looked at")
    (root / "SC_RNA_COUNTER_CS").mkdir()


def cell_ranger_multi(root: Path) -> None:
    """`cellranger multi`: the raw droplets of all samples are next to the samples."""
    write_h5(root / "outs/per_sample_outs/A/count/sample_filtered_feature_bc_matrix.h5", "filtered")
    write_h5(root / "outs/per_sample_outs/A/count/sample_raw_feature_bc_matrix.h5", "raw")
    write_h5(root / "outs/multi/count/raw_feature_bc_matrix.h5", "raw")


def cell_ranger_atac(root: Path) -> None:
    """`cellranger-atac count`: peaks, and motifs of the same cells."""
    for state in SIZE:
        write_mtx(root / f"outs/{state}_peak_bc_matrix", state, features="peaks.bed")
        peaks = "".join(f"chr1\t{at}\t{at + 9}\n" for at in range(N_GENES))
        (root / f"outs/{state}_peak_bc_matrix/peaks.bed").write_text("# id=x\n" + peaks)
    write_h5(root / "outs/filtered_tf_bc_matrix.h5", "filtered")
    (root / "outs/peaks.bed").write_text("chr1\t1\t2\n")


def geo(root: Path) -> None:
    """Files of Cell Ranger behind the number of a sample."""
    for state in SIZE:
        write_h5(root / f"GSM1_{state}_feature_bc_matrix.h5", state)


def visium_hd(root: Path) -> None:
    """Space Ranger of Visium HD, of which one size of bins was kept."""
    for state in SIZE:
        write_h5(root / f"outs/binned_outputs/square_008um/{state}_feature_bc_matrix.h5", state)
    write_h5(root / "outs/segmented_outputs/filtered_feature_cell_matrix.h5", "raw")


def starsolo(root: Path) -> None:
    """STARsolo with introns, splicing and splice junctions."""
    for feature in ("Gene", "GeneFull", "SJ"):
        for state in SIZE:
            write_mtx(root / f"S1_Solo.out/{feature}/{state}", state)
    write_mtx(root / "S1_Solo.out/Gene/raw", "raw", matrix="UniqueAndMult-EM.mtx")
    for name in ("spliced", "unspliced", "ambiguous"):
        write_mtx(root / "S1_Solo.out/Velocyto/filtered", "filtered", matrix=f"{name}.mtx")
    (root / "S1_Solo.out/Barcodes.stats").write_text("")


def cellbender(root: Path) -> None:
    """CellBender: all droplets, the cells, and the posterior."""
    write_h5(root / "bent.h5", "raw")
    write_h5(root / "bent_filtered.h5", "filtered")
    write_h5(root / "bent_posterior.h5", "raw")
    (root / "bent_cell_barcodes.csv").write_text("".join(f"{name}\n" for name in BARCODES[:3]))


KB: dict[str, Any] = {
    "matrix": "cells_x_genes.mtx",
    "barcodes": "cells_x_genes.barcodes.txt",
    "features": "cells_x_genes.genes.txt",
}


def kb(root: Path) -> None:
    """`kb count --filter --h5ad --cellranger`."""
    for state, name in (("raw", "counts_unfiltered"), ("filtered", "counts_filtered")):
        write_mtx(root / name, state, **KB, transposed=True)
        write_mtx(root / name / "cellranger", state, features="genes.tsv")
    write_h5ad(root / "counts_unfiltered/adata.h5ad", "raw")


def alevin_fry(root: Path) -> None:
    """alevin-fry with unspliced and ambiguous counts, in one matrix of three times the genes."""
    folder = root / "quant/alevin"
    write_mtx(
        folder,
        "filtered",
        matrix="quants_mat.mtx",
        barcodes="quants_mat_rows.txt",
        features="quants_mat_cols.txt",
        transposed=True,
    )
    genes = "".join(f"E{at}{suffix}\n" for suffix in ("", "-U", "-A") for at in range(N_GENES))
    (folder / "quants_mat_cols.txt").write_text(genes)
    values, _ = matrix_of("filtered")
    whole = sp.hstack([values, values * 2, values * 0]).tocoo()
    lines = [
        f"{a + 1} {b + 1} {v}\n" for a, b, v in zip(whole.row, whole.col, whole.data, strict=True)
    ]
    (folder / "quants_mat.mtx").write_text(
        "%%MatrixMarket matrix coordinate real general\n"
        f"{N_FILTERED} {3 * N_GENES} {len(lines)}\n" + "".join(lines)
    )


def parse(root: Path) -> None:
    """split-pipe of Parse: all samples together, and each by itself."""
    for sample in ("all-sample", "one"):
        for state, name in (("raw", "DGE_unfiltered"), ("filtered", "DGE_filtered")):
            folder = root / sample / name
            names: dict[str, Any] = {"barcodes": "cell_metadata.csv", "features": "all_genes.csv"}
            write_mtx(folder, state, matrix="count_matrix.mtx", **names, transposed=True)
            _, ids = matrix_of(state)
            cells = "".join(f"{name},one\n" for name in ids)
            (folder / "cell_metadata.csv").write_text(f"bc_wells,sample\n{cells}")
            genes = "".join(f"E{at},G{at},hg\n" for at in range(N_GENES))
            (folder / "all_genes.csv").write_text(f"gene_id,gene_name,genome\n{genes}")


TOOLS: list[Callable[[Path], None]] = [
    *(cell_ranger, cell_ranger_multi, cell_ranger_atac, geo, visium_hd),
    *(starsolo, cellbender, kb, alevin_fry, parse),
]


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_the_cells_of_a_tool(tool: Callable[[Path], None], tmp_path: Path) -> None:
    """The folder of a run, and of several runs, gives the filtered cells, once."""
    tool(tmp_path / "runs" / "S1")
    for place in (tmp_path / "runs", tmp_path / "runs" / "S1"):
        dataset = slaf.convert(place, tmp_path / f"{place.name}.slaf")
        values, ids = matrix_of("filtered")
        assert dataset.obs_names.to_list() == ids
        assert dataset.X.to_memory().toarray().tolist() == values.toarray().tolist()
        assert slaf.verify(dataset, against=place).ok


def test_a_bucket_is_read_as_a_disk(s3_server: Cloud, tmp_path: Path) -> None:
    """In a bucket the same matrix of the same layout is taken."""
    starsolo(tmp_path / "S1")
    s3 = s3_server.fresh()
    url = upload(s3, tmp_path / "S1")
    dataset = slaf.convert(url, tmp_path / "out.slaf", input_storage_options=dict(s3.options))
    assert dataset.obs_names.to_list() == matrix_of("filtered")[1]


def test_sizes_of_bins_are_asked_for(tmp_path: Path) -> None:
    """Bins of several sizes are one tissue: by the layout, by any names, and by their ids."""
    for words in ("binned_outputs/square", "x/tile"):
        for size in ("008um", "016um"):
            write_h5(tmp_path / words / "no" / f"a_{size}/m.h5", "raw", sample=size == "016um")
        with pytest.raises(UnknownFormat, match=r"a_008um/m\.h5, "):
            slaf.convert(tmp_path / words, tmp_path / "out.slaf")
    for state in SIZE:
        write_h5(tmp_path / f"hd/square_002um/{state}_feature_bc_matrix.h5", state)
        write_h5(tmp_path / f"hd/square_016um/{state}_feature_bc_matrix.h5", state)
    with pytest.raises(UnknownFormat, match="forms of one sample; name the one that is meant"):
        slaf.info(tmp_path / "hd")


def test_a_layout_of_two_tools(tmp_path: Path) -> None:
    """Cells that two tools called of one sample are asked for."""
    cell_ranger(tmp_path)
    cellbender(tmp_path / "outs")
    with pytest.raises(UnknownFormat, match="matrices of one sample by several tools"):
        slaf.convert(tmp_path, tmp_path / "out.slaf")


def test_inputs_that_are_named_are_taken(tmp_path: Path) -> None:
    """Raw and filtered are both taken where both are named, or with --allow-duplicate."""
    write_h5(tmp_path / "in/one.h5", "raw")
    write_h5ad(tmp_path / "in/two.h5ad", "filtered")
    files = sorted((tmp_path / "in").iterdir())
    both = slaf.convert(files, tmp_path / "named.slaf")
    assert both.shape[0] == N_RAW + N_FILTERED
    with pytest.raises(DuplicateInput, match=r"two.h5ad has 3 cells, .* of .*one.h5") as refusal:
        slaf.convert(tmp_path / "in", tmp_path / "out.slaf", join="union", cell_id_prefix=True)
    assert "--" not in str(refusal.value)
    again = slaf.convert(tmp_path / "in", tmp_path / "all.slaf", allow_duplicate=True)
    assert again.shape[0] == N_RAW + N_FILTERED
    assert slaf.verify(again, against=tmp_path / "in").ok


def test_derived_files_do_not_stop_a_run(tmp_path: Path) -> None:
    """Molecules of a run are left out, and refused where there is nothing else."""
    import h5py

    folder = tmp_path / "in"
    folder.mkdir()
    with h5py.File(folder / "molecules.h5", "w") as file:
        for name in ("barcode_idx", "umi"):
            file[name] = np.arange(3)
    with pytest.raises(UnknownFormat, match=r"molecules\.h5: this is a molecule_info file"):
        slaf.convert(folder, tmp_path / "out.slaf")
    write_h5(folder / "cells.h5", "filtered")
    assert slaf.convert(folder, tmp_path / "out.slaf").shape[0] == N_FILTERED


def test_raw_samples_beside_filtered_ones_are_asked_about(tmp_path: Path) -> None:
    """A sample whose filtered matrix is missing is not taken with all of its droplets."""
    for sample, state in enumerate(("filtered", "raw")):
        write_h5(tmp_path / f"in/S{sample}/outs/{state}_feature_bc_matrix.h5", state, sample)
    with pytest.raises(UnknownFormat, match=r"all droplets only: S1/outs/raw_feature_bc_matrix.h5"):
        slaf.convert(tmp_path / "in", tmp_path / "out.slaf")
    one_by_one = [tmp_path / "in/S0", tmp_path / "in/S1"]
    assert slaf.convert(one_by_one, tmp_path / "out.slaf").n_cells == N_FILTERED + N_RAW


def test_info_lists_a_folder(tmp_path: Path) -> None:
    """What would be taken, what not, and why, is listed by info and by a dry run."""
    for sample in (0, 1):
        for state in SIZE:
            write_h5(tmp_path / f"in/S{sample}/outs/{state}_feature_bc_matrix.h5", state, sample)
    (tmp_path / "in/README").write_text("Two samples.")
    listed = slaf.info(tmp_path / "in")
    assert isinstance(listed, slaf.FolderInfo)
    assert [one.n_cells for one in listed.inputs] == [N_FILTERED, N_FILTERED]
    reasons = {one.path.removeprefix(f"{tmp_path}/in/"): one.reason for one in listed.left_out}
    assert reasons["S1/outs/raw_feature_bc_matrix.h5"] == "raw droplets or spots (Cell Ranger)"
    assert reasons["README"] == "no input"
    shown = run("info", tmp_path / "in").succeeded().out
    planned = run("convert", tmp_path / "in", tmp_path / "o", "--dry-run").succeeded().out
    for text in (shown, planned):
        assert "S0/outs/filtered_feature_bc_matrix.h5 (10x_h5): 3 cells × 4 genes" in text
        assert "raw_feature_bc_matrix.h5: raw droplets or spots" in text
    found = run("info", tmp_path / "in", "--json").succeeded().json
    assert found["kind"] == "folder"
    assert len(found["left_out"]) == 3
    one = slaf.info(tmp_path / "in" / "S0")
    assert isinstance(one, slaf.InputInfo)
    assert len(one.left_out) == 1


# --------------------------------------------------------------------------------- words at random

WRITERS: dict[str, Callable[[Path, str, int], None]] = {
    "mtx": write_mtx,
    "h5": lambda path, state, sample: write_h5(path.with_name(f"{path.name}.h5"), state, sample),
    "h5ad": lambda path, state, sample: write_h5ad(
        path.with_name(f"{path.name}.h5ad"), state, sample
    ),
}
WORDS = st.text(string.ascii_lowercase, min_size=1, max_size=5)
PATHS = st.lists(WORDS, min_size=1, max_size=3).map("/".join)
SAMPLES = st.lists(
    st.tuples(PATHS, PATHS, st.sampled_from(list(WRITERS)), st.sampled_from(list(WRITERS))),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, max_examples=30)
@given(samples=SAMPLES)
def test_raw_and_filtered_are_never_both_taken(samples: list[tuple[str, str, str, str]]) -> None:
    """Whatever the words of a tree, no cell of a sample comes twice; or it is asked."""
    with tempfile.TemporaryDirectory() as work:
        root = Path(work) / "in"
        for at, (raw, filtered, one, other) in enumerate(samples):
            WRITERS[one](root / f"{at}" / f"{raw}", "raw", at)
            WRITERS[other](root / f"{at}" / "x" / f"{filtered}", "filtered", at)
        try:
            dataset = slaf.convert(root, Path(work) / "out.slaf", join="union")
        except slaf.SlafError as error:
            assert isinstance(error, DuplicateInput | UnknownFormat)  # noqa: PT017
            return
        ids = dataset.obs_names.to_list()
        assert len(ids) == len(set(ids))
