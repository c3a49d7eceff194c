"""10x H5 files of every kind, whole and damaged."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import slaf
from slaf.errors import UnfinishedRun
from slaf.testing.strategies import Stored
from tests.cli.terminal import stop_after
from tests.formats.builders import ids, write_genomes, write_soma, write_v2, write_v3
from tests.formats.checks import converted, refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Cells 0 and 3 are empty, genes are out of order, a place is repeated, a zero is stored.
STORED = Stored(
    (6, 5),
    np.array([1, 1, 1, 2, 4, 4, 5, 5, 5]),
    np.array([4, 0, 4, 3, 2, 1, 0, 1, 2]),
    np.array([2, 3, 4, 5, 0, 7, 8, 70_000, 10], np.int32),
)
OTHER = replace(STORED, values=STORED.values + np.int32(1))
N_CELLS, N_GENES = 6, 5


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"compression": "gzip", "shuffle": True, "chunks": (4,)},
        {"compression": "gzip", "chunks": (3,)},
        {"compression": "lzf", "chunks": (4,)},
    ],
    ids=["plain", "shuffle, gzip", "gzip", "lzf"],
)
@pytest.mark.parametrize("write", [write_v2, write_v3])
def test_every_packing(write: Callable[..., Path], filters: dict[str, Any], tmp_path: Path) -> None:
    """Both versions hold what was written, packed in any way."""
    dataset = converted(write(tmp_path / "in.h5", STORED, **filters), STORED, chunk_size=2)
    assert dataset.obs_names.to_list() == ids("cell", N_CELLS)
    assert dataset.var_names.to_list() == ids("gene", N_GENES)
    assert dataset.var["gene_name"].to_list() == ["NAME0", "NAME1", "NAME2", "NAME3", "NAME4"]


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "i8", "u8", "f4", "f8", ">i4"])
def test_every_type(dtype: str, tmp_path: Path) -> None:
    """Values of any numeric type are read, also those of background removal, which are floats."""
    stored = replace(STORED, values=(STORED.values % 100).astype(dtype))
    converted(write_v3(tmp_path / "in.h5", stored), stored)


@pytest.mark.parametrize("dtype", ["i4", "i8", "u4"])
def test_every_type_of_positions(dtype: str, tmp_path: Path) -> None:
    """Offsets and positions may be of any integers."""
    path = write_v3(tmp_path / "in.h5", STORED)
    with h5py.File(path, "r+") as file:
        for name in ("indices", "indptr"):
            values = file["matrix"][name][()]
            del file["matrix"][name]
            file["matrix"][name] = values.astype(dtype)
    converted(path, STORED)


def test_every_feature_column_is_kept(tmp_path: Path) -> None:
    """Whatever the file says of each feature is in the genes, in its type."""
    columns: Any = {
        "interval": [b"chr1:1-2", b"chr1:3-4", b"", b"chr2:1-9", b"chrX:7-8"],
        "pattern": ["5P(BC)", "", "é", "細", "x"],
        "length": np.array([1, 2, 3, 4, 5], ">i8"),
        "share": np.array([0.5, np.nan, 1, 2, 3]),
        "kept": np.array([True, False, True, True, False]),
    }
    var = converted(write_v3(tmp_path / "in.h5", STORED, features=columns), STORED).var
    assert sorted(map(str, var)) == sorted([*columns, "gene_name", "feature_type", "genome"])
    assert var["feature_type"].to_list() == ["Gene Expression"] * N_GENES
    assert var["interval"].to_list() == ["chr1:1-2", "chr1:3-4", "", "chr2:1-9", "chrX:7-8"]
    assert var["pattern"].to_list() == columns["pattern"]
    for name in ("length", "share", "kept"):
        assert var[name].dtype == columns[name].dtype.newbyteorder("=")
        np.testing.assert_array_equal(var[name].to_numpy(), columns[name])


def test_probes(tmp_path: Path) -> None:
    """Of probes the id tells them apart, and their gene stands beside it."""
    probes = ["ENSG1|CD3D|a1", "ENSG1|CD3D|a2", "ENSG2|CD8A|b1", "ENSG3|X|c1", "ENSG3|X|c2"]
    features = {
        "id": [probe.encode() for probe in probes],
        "name": [probe.partition("|")[2].encode() for probe in probes],
        "gene_id": [probe.split("|")[0].encode() for probe in probes],
        "gene_name": [probe.split("|")[1].encode() for probe in probes],
        "filtered_probes": np.array([True, True, False, True, False]),
        "target_sets": {"Probe Set": np.array([0, 2], "u4")},
    }
    kept = np.array([True, False, True, False, True, False])
    barcodes = {"filtered_barcodes": kept}
    path = write_v3(tmp_path / "in.h5", STORED, features=features, barcodes=barcodes)
    dataset = converted(path, STORED)
    assert dataset.var_names.to_list() == probes
    assert dataset.var["gene_id"].to_list() == ["ENSG1", "ENSG1", "ENSG2", "ENSG3", "ENSG3"]
    assert dataset.var["gene_name"].to_list() == ["CD3D", "CD3D", "CD8A", "X", "X"]
    assert dataset.var["name"].to_list()[0] == "CD3D|a1"
    assert dataset.var["filtered_probes"].to_list() == [True, True, False, True, False]
    assert dataset.obs["filtered_barcodes"].to_list() == kept.tolist()
    found = slaf.info(path)
    assert isinstance(found, slaf.InputInfo)
    assert found.not_converted == ("target_sets (Probe Set)",)


def test_what_is_not_taken_is_named(tmp_path: Path) -> None:
    """What a file holds beside cells and genes is named, and not converted."""
    extra = {"latents": np.zeros((N_CELLS, 2)), "scalar": 1.5, "_hidden": [1, 2]}
    path = write_v3(tmp_path / "in.h5", STORED, barcodes=extra, features={"odd": [1, 2]})
    with h5py.File(path, "r+") as file:
        file["background/ambient"] = [0.5]
    found = slaf.info(path)
    assert isinstance(found, slaf.InputInfo)
    assert found.not_converted == ("background (ambient)", "latents", "scalar", "odd")


def test_several_genomes(tmp_path: Path) -> None:
    """Of several genomes one is to be chosen; the error lists them, and each can be had."""
    path = write_genomes(tmp_path / "in.h5", {"hg19": STORED, "mm10": OTHER})
    said = refused(path)
    assert "holds several genomes; choose one with --genome: hg19, mm10" in said
    assert str(path) in said
    said = refused(path, "--genome", "rn6")
    assert "holds no genome 'rn6'; choose one with --genome: hg19, mm10" in said
    for genome, stored in (("hg19", STORED), ("mm10", OTHER)):
        dataset = converted(path, stored, genome=genome)
        assert set(dataset.var["genome"]) == {genome}
        assert dataset.sources[0].choice == {"genome": genome}
    found = slaf.info(path, genome="hg19")
    assert isinstance(found, slaf.InputInfo)
    assert found.not_converted == ("genome mm10",)


def test_the_only_genome(tmp_path: Path) -> None:
    """The only genome of a file need not be chosen, and can be."""
    path = write_v2(tmp_path / "in.h5", STORED)
    for options in ({}, {"genome": "hg19"}):
        assert set(converted(path, STORED, **options).var["genome"]) == {"hg19"}
    assert "no genome 'mm10'; choose one with --genome: hg19" in refused(path, "--genome", "mm10")


def test_genomes_of_features(tmp_path: Path) -> None:
    """Where features name their genomes, all are converted, or those of one."""
    genomes = [b"hg19", b"hg19", b"mm10", b"mm10", b""]
    path = write_v3(tmp_path / "in.h5", STORED, features={"genome": genomes})
    assert converted(path, STORED).var["genome"].to_list() == ["hg19", "hg19", "mm10", "mm10", ""]
    of_mouse = slaf.convert(path, tmp_path / "mouse.slaf", genome="mm10")
    assert of_mouse.var_names.to_list() == ["gene-2", "gene-3"]
    assert "it has 'hg19', 'mm10'" in refused(path, "--genome", "rat")


def test_types_of_features(tmp_path: Path) -> None:
    """All types of features are taken, or those of one type; what else there is, is listed."""
    types = ["Gene Expression", "Antibody Capture", "Gene Expression", "Peaks", "Gene Expression"]
    features = {"feature_type": [kind.encode() for kind in types]}
    path = write_v3(tmp_path / "in.h5", STORED, features=features)
    assert converted(path, STORED).var["feature_type"].to_list() == types
    kept = np.isin(STORED.genes, [0, 2, 4])
    expected = Stored(
        (N_CELLS, 3), STORED.cells[kept], STORED.genes[kept] // 2, STORED.values[kept]
    )
    dataset = converted(path, expected, feature_type="Gene Expression", chunk_size=2)
    assert dataset.var_names.to_list() == [
        "gene-0",
        "gene-2",
        "gene-4",
    ]
    assert dataset.sources[0].choice == {"feature_type": "Gene Expression"}
    found = slaf.info(path, feature_type="Peaks")
    assert isinstance(found, slaf.InputInfo)
    assert found.not_converted == ("4 other features",)
    said = refused(path, "--feature-type", "gene expression")
    assert f"{path}: there are no features of type 'gene expression'" in said
    assert "it has 'Antibody Capture', 'Gene Expression', 'Peaks'" in said


def test_ids_are_kept_as_they_are(tmp_path: Path) -> None:
    """Ids that repeat or are not ASCII stay as they are, whatever the file says of its text."""
    names = ["0012", "0012", "NA", "", "é細"]
    plain = h5py.string_dtype("ascii", 8)
    features = {"id": np.array([name.encode() for name in names], plain)}
    barcodes = {"barcodes": np.array([b"AAC-1"] * N_CELLS)}
    path = write_v3(tmp_path / "in.h5", STORED, features=features, barcodes=barcodes)
    dataset = converted(path, STORED)
    assert dataset.var_names.to_list() == names
    assert dataset.obs_names.to_list() == ["AAC-1"] * N_CELLS


def test_a_file_of_any_name(tmp_path: Path) -> None:
    """The name says nothing: a 10x file may be called .h5ad or .txt."""
    for name in ("in.h5ad", "in.txt", "in"):
        converted(write_v3(tmp_path / name, STORED), STORED)


def test_another_choice(tmp_path: Path) -> None:
    """A conversion that was stopped is not resumed with another choice, which is named."""
    path = write_genomes(tmp_path / "in.h5", {"hg19": STORED, "mm10": OTHER})
    stop_after(4, path, tmp_path / "out.slaf", chunk_size=2, genome="hg19")
    with pytest.raises(UnfinishedRun, match=r"input choice was .*hg19.* and is .*mm10"):
        slaf.convert(path, tmp_path / "out.slaf", chunk_size=2, genome="mm10")
    dataset = slaf.convert(path, tmp_path / "out.slaf", chunk_size=2, genome="hg19")
    assert slaf.verify(dataset, path).ok


@pytest.mark.parametrize("left", [0.95, 0.5, 0.1])
def test_a_truncated_file(left: float, tmp_path: Path) -> None:
    """A file that was not copied whole is named as such."""
    path = write_v3(tmp_path / "in.h5", STORED)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * left)])
    said = refused(path)
    assert f"{path}: not a readable HDF5 file" in said
    assert "was it copied to its end?" in said


@pytest.mark.parametrize(
    ("name", "values", "what"),
    [
        ("indptr", [0, 1], "indptr has 2 offsets, but a matrix of 6 cells needs 7"),
        ("indptr", [0, 0, 3, 4, 4, 6, 8], "indptr goes from 0 to 8, but there are 9 values"),
        ("indptr", [0, 5, 3, 4, 4, 6, 9], "indptr goes from 5 to 3 at position 1"),
        ("indices", [0], "there are 1 indices but 9 values"),
        ("indices", [0, 1, 2, 3, 4, 5, 0, 1, 2], "cell 4 has an entry for gene 5, but the matrix"),
        ("indices", [0, 1, -2, 3, 4, 0, 0, 1, 2], "cell 1 has an entry for gene -2, but the"),
        ("indices", [0.5] * 9, "gene positions are of type float64, not integers"),
        ("data", [b"a"] * 9, "matrix/data holds values of type object, which no table"),
        ("data", {"a": [1]}, "matrix/data is a group, not an array"),
        (
            "shape",
            [5, 6, 7],
            "matrix/shape has the shape [5 6 7], not a number of cells and one of genes",
        ),
        ("shape", [6, 6], "matrix/features/id has 5 entries where shape says 6"),
        ("barcodes", [b"a", b"b"], "matrix/barcodes has 2 entries where shape says 6"),
        ("barcodes", [b"a\xff"] * 6, "matrix/barcodes is not text in UTF-8"),
        ("barcodes", [1, 2, 3, 4, 5, 6], "matrix/barcodes is not text in UTF-8"),
        ("features/id", [b"\xe9"] * 5, "matrix/features/id is not text in UTF-8"),
        ("features/id", [[b"a"] * 5], "matrix/features/id has 1 × 5 entries where shape says 5"),
        ("features/name", None, "matrix/features/name is missing"),
        ("features", None, "matrix/features/id is missing"),
    ],
)
def test_a_contradiction(name: str, values: Any, what: str, tmp_path: Path) -> None:
    """A file whose parts contradict each other is refused with the part."""
    path = write_v3(tmp_path / "in.h5", STORED)
    with h5py.File(path, "r+") as file:
        del file["matrix"][name]
        if isinstance(values, dict):
            file["matrix"].create_group(name)
        elif values is not None:
            file["matrix"][name] = values
    said = refused(path)
    assert what in said
    assert str(path) in said


@pytest.mark.parametrize("name", ["data", "indices", "barcodes"])
def test_a_damaged_chunk(name: str, tmp_path: Path) -> None:
    """A chunk that cannot be unpacked is refused, with what it belongs to."""
    path = write_v3(tmp_path / "in.h5", STORED)
    with h5py.File(path, "r+") as file:
        values = file["matrix"][name][()]
        del file["matrix"][name]
        packed = file["matrix"].create_dataset(name, data=values, compression="gzip", chunks=(3,))
        packed.id.write_direct_chunk((3,), b"no stream of deflate")
    said = refused(path)
    assert str(path) in said
    assert f"/matrix/{name}: the chunk at 3 cannot be inflated" in said


def test_a_link_to_another_file(tmp_path: Path) -> None:
    """A part that lies in another file is refused: the file is from a stranger."""
    write_v3(tmp_path / "other.h5", STORED)
    path = write_v3(tmp_path / "in.h5", STORED)
    with h5py.File(path, "r+") as file:
        del file["matrix"]["data"]
        file["matrix"]["data"] = h5py.ExternalLink("other.h5", "/matrix/data")
    assert "is a link to another file (other.h5)" in refused(path)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--matrix", "raw"), "a 10x file has no matrix 'raw', only X"),
        (("--measurement", "RNA"), "has no measurement to choose"),
    ],
)
def test_what_cannot_be_chosen(options: tuple[str, ...], what: str, tmp_path: Path) -> None:
    """What a 10x file has not is refused, and said."""
    path = write_v3(tmp_path / "in.h5", STORED)
    said = refused(path, *options)
    assert str(path) in said
    assert what in said


@pytest.mark.parametrize("option", ["--genome", "--feature-type"])
def test_what_only_10x_has(option: str, tmp_path: Path) -> None:
    """A genome or a type of features is not chosen of an experiment."""
    path = write_soma(tmp_path / "in", replace(STORED, genes=np.arange(9) % 5))
    said = refused(path, option, "x")
    assert f"{path} (TileDB-SOMA experiment) has no {option[2:].replace('-', ' ')}" in said
