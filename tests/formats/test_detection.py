"""An input is known by what is in it: exactly one format, or an error that names what was found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.sparse as sp

import slaf
from slaf.options import ReadOptions
from slaf.sources import FORMATS, as_inputs, open_source
from slaf.testing.strategies import Stored
from tests.builders import write_stored
from tests.cli.terminal import run
from tests.formats.builders import Mtx, write_genomes, write_soma, write_v2, write_v3
from tests.formats.checks import converted, refused
from tests.formats.store_builders import write_h5mu, write_loom, write_zarr
from tests.sources.reads import Read, write_reads
from tests.training.scdl import write_scdl

STORED = Stored((3, 2), np.array([0, 2, 2]), np.array([1, 0, 1]), np.array([3, 4, 5], np.int32))
OTHER = replace(STORED, values=STORED.values + np.int32(1))


def format_of(path: Path) -> str:
    """The format that an input is found to be of."""
    with open_source(path) as source:
        return source.info.format


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    """Each format is recognised under a name that says another one, or nothing."""
    assert format_of(write_stored(tmp_path / "a.h5", STORED)) == "h5ad"
    assert format_of(write_v2(tmp_path / "b.h5ad", STORED)) == "10x_h5"
    assert format_of(write_v3(tmp_path / "c.mtx", STORED)) == "10x_h5"
    assert format_of(Mtx().write(tmp_path / "d.h5ad", STORED)) == "10x_mtx"
    assert format_of(write_zarr(tmp_path / "z.h5ad", STORED)) == "zarr"
    assert format_of(write_h5mu(tmp_path / "m.h5ad", rna=STORED)) == "mudata"
    assert format_of(write_zarr(tmp_path / "n", STORED, at="mod/rna")) == "mudata"
    assert format_of(write_loom(tmp_path / "l.h5", STORED)) == "loom"
    assert format_of(write_soma(tmp_path / "e.zarr", STORED)) == "tiledb"


def test_a_file_is_opened_once_to_be_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever formats look into a file, it is opened once, and closed again."""
    opened: list[h5py.File] = []

    class Counted(h5py.File):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            opened.append(self)

    write_stored(tmp_path / "a.h5ad", STORED)
    write_v3(tmp_path / "b.h5", OTHER)
    monkeypatch.setattr(h5py, "File", Counted)
    found = as_inputs(tmp_path, None, ReadOptions())
    assert [Path(one.uri).name for one in found.inputs] == ["a.h5ad", "b.h5"]
    assert len(opened) == len(found.inputs)
    assert not any(opened)


def test_each_format_can_be_forced(tmp_path: Path) -> None:
    """`--format` takes each format by its name, and what it cannot open is refused by it."""
    inputs = {
        "h5ad": write_stored(tmp_path / "h5ad", STORED),
        "zarr": write_zarr(tmp_path / "zarr", STORED),
        "mudata": write_h5mu(tmp_path / "h5mu", rna=STORED),
        "loom": write_loom(tmp_path / "loom", STORED),
        "10x_h5": write_v3(tmp_path / "h5", STORED),
        "10x_mtx": Mtx().write(tmp_path / "mtx", STORED),
        "tiledb": write_soma(tmp_path / "soma", STORED),
        "scdl": write_scdl(tmp_path / "scdl", sp.csr_matrix(STORED.dense())),
        "bam": write_reads(tmp_path / "a.bam", [Read(0, 5, ((0, 10),))]),
        "slaf": slaf.convert(
            write_v3(tmp_path / "a.h5", STORED), tmp_path / "a.slaf"
        ).location.path,
    }
    # SCDL has no signed integers.
    stored = dict.fromkeys(inputs, STORED)
    stored["scdl"] = replace(STORED, values=STORED.values.astype(np.float32))
    assert list(inputs) == [known.name for known in FORMATS]
    for true, path in inputs.items():
        for forced in inputs:
            if forced == true == "bam":
                assert format_of(path) == forced
            elif forced == true:
                converted(path, stored[true], format=forced)
            else:
                assert str(path) in refused(path, "--format", forced)


def test_an_unknown_format(tmp_path: Path) -> None:
    """A format that does not exist is refused with those that do."""
    path = write_v3(tmp_path / "in.h5", STORED)
    said = refused(path, "--format", "csv")
    known = "h5ad, zarr, mudata, loom, 10x_h5, 10x_mtx, tiledb, scdl, bam, slaf"
    assert f"there is no format 'csv'; known are {known}" in said


def test_nothing_that_is_known(tmp_path: Path) -> None:
    """What no format recognises is refused with what each of them looks for."""
    (tmp_path / "in.dat").write_text("cell,gene,count\n")
    (tmp_path / "empty").mkdir()
    for name in ("in.dat", "empty"):
        said = refused(tmp_path / name)
        assert f"{tmp_path / name}: no known format" in said
        for known in FORMATS:
            assert f"{known.name}: {known.looks_for}" in said
    assert "no such file or directory" in refused(tmp_path / "nowhere")


def test_several_formats_at_once(tmp_path: Path) -> None:
    """What two formats recognise is refused with both, and can be forced to be either."""
    path = write_stored(tmp_path / "in.h5", STORED)
    write_v3(tmp_path / "tenx.h5", OTHER)
    with h5py.File(path, "r+") as file, h5py.File(tmp_path / "tenx.h5") as tenx:
        tenx.copy("matrix", file)
    assert f"{path}: it may be any of h5ad, 10x_h5; say which with --format" in refused(path)
    converted(path, STORED, format="h5ad")
    converted(path, OTHER, format="10x_h5")


# ----------------------------------------------------------------------- formats that are refused


@pytest.mark.parametrize(
    "names",
    [
        ("barcodes", "barcode_idx", "umi", "feature_idx", "count"),
        ("barcode", "gene", "umi", "reads", "genome"),
    ],
)
def test_molecule_info(names: tuple[str, ...], tmp_path: Path) -> None:
    """The molecules of Cell Ranger are refused by name, of version 2 and of version 3."""
    path = tmp_path / "molecule_info.h5"
    with h5py.File(path, "w") as file:
        for name in names:
            file[name] = np.arange(4)
    said = refused(path)
    assert f"{path}: this is a molecule_info file of Cell Ranger: it holds molecules" in said
    assert "filtered_feature_bc_matrix.h5 of that run" in said


def test_a_dataset(tmp_path: Path) -> None:
    """A dataset that is named is an input; one in a folder is not, for it may be the output."""
    slaf.convert(write_v3(tmp_path / "in.h5", STORED), tmp_path / "in.slaf")
    assert converted(tmp_path / "in.slaf", STORED).sources[0].format == "slaf"
    with open_source(tmp_path) as source:
        assert source.info.format == "10x_h5"


@pytest.mark.parametrize("format", ["h5ad", "loom", "10x_h5", "10x_mtx", "tiledb"])
def test_a_foreign_file_that_is_forced(format: str, tmp_path: Path) -> None:
    """A file of a format that is not read is refused whatever it is said to be."""
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as file:
        file.create_group("row_attrs")
        file.create_group("col_attrs")
    assert str(path) in refused(path, "--format", format)


# --------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize("prefix", ["", "sample_"])
def test_the_results_of_cell_ranger(prefix: str, tmp_path: Path) -> None:
    """Of Cell Ranger's results the filtered matrix is taken, the file before the folder."""
    outs = tmp_path / "outs"
    Mtx().write(outs / f"{prefix}filtered_feature_bc_matrix", STORED)
    Mtx().write(outs / "raw_feature_bc_matrix", OTHER)
    write_v3(outs / "raw_feature_bc_matrix.h5", OTHER)
    (outs / "web_summary.html").write_text("<html>")
    with open_source(outs) as source:
        assert source.info.uri == str(outs / f"{prefix}filtered_feature_bc_matrix")
    file = write_v3(outs / f"{prefix}filtered_feature_bc_matrix.h5", STORED)
    with open_source(outs) as source:
        assert source.info.uri == str(file)
    converted(outs, STORED)
    assert converted(outs, STORED, format="10x_mtx").sources[0].format == "10x_mtx"


def test_the_results_of_cell_ranger_2(tmp_path: Path) -> None:
    """Of the results of version 2 the filtered matrix is taken, if there is one genome."""
    outs = tmp_path / "outs"
    hg19 = Mtx(version=2, packed=False).write(outs / "filtered_gene_bc_matrices" / "hg19", STORED)
    Mtx(version=2, packed=False).write(outs / "raw_gene_bc_matrices" / "hg19", OTHER)
    for place in (outs, outs / "filtered_gene_bc_matrices", hg19):
        assert converted(place, STORED).sources[0].uri == str(hg19)
    Mtx(version=2, packed=False).write(outs / "filtered_gene_bc_matrices" / "mm10", OTHER)
    for place in (outs, outs / "filtered_gene_bc_matrices"):
        said = refused(place)
        assert "filtered_gene_bc_matrices: these are forms of one sample" in said
        assert "name the one that is meant: hg19, mm10" in said
    write_genomes(outs / "filtered_gene_bc_matrices_h5.h5", {"hg19": STORED, "mm10": OTHER})
    converted(outs, OTHER, genome="mm10")


def test_the_only_input_of_a_folder(tmp_path: Path) -> None:
    """A folder stands for the inputs in it; other files do not count."""
    folder = tmp_path / "in"
    Mtx().write(folder / "sample", STORED)
    (folder / "notes.txt").write_text("Plate 7 failed.")
    write_v3(folder / ".hidden.h5", OTHER)
    converted(folder, STORED)
    converted(folder, STORED, format="10x_mtx")
    write_v3(folder / "other.h5", OTHER)
    both = slaf.convert(folder, tmp_path / "both.slaf", allow_duplicate=True)
    assert [source.format for source in both.sources] == ["10x_h5", "10x_mtx"]
    listed = slaf.info(folder)
    assert isinstance(listed, slaf.FolderInfo)
    assert [one.format for one in listed.inputs] == ["10x_h5", "10x_mtx"]
    with pytest.raises(slaf.InputError, match="it holds several inputs; name one of them"):
        open_source(folder)
    converted(folder, STORED, format="10x_mtx")
    shutil.rmtree(folder / "sample")
    converted(folder, OTHER)


def test_a_folder_of_many_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of inputs there may be any number; of what is none, no more than are looked at in seconds."""
    monkeypatch.setattr("slaf.sources.search._MOST_OTHERS", 3)
    for number in range(5):
        Mtx().write(tmp_path / "in" / f"sample{number}", STORED)
    for number in range(3):
        (tmp_path / "in" / f"notes{number}.txt").touch()
    found = slaf.info(tmp_path / "in")
    assert isinstance(found, slaf.FolderInfo)
    assert len(found.inputs) == 5
    (tmp_path / "in" / "notes.txt").touch()
    assert "in: the folder that was named holds more than 3 files" in refused(tmp_path / "in")


def test_a_truncated_file_of_a_folder(tmp_path: Path) -> None:
    """A file that cannot be opened is not passed over: it might have been an input."""
    folder = tmp_path / "in"
    Mtx().write(folder / "sample", STORED)
    path = write_v3(folder / "other.h5", OTHER)
    path.write_bytes(path.read_bytes()[:1000])
    assert f"{path}: not a readable HDF5 file" in refused(folder)


def test_info_of_an_input(tmp_path: Path) -> None:
    """What is said of an input names its format and what may be chosen."""
    path = write_genomes(tmp_path / "in.h5", {"hg19": STORED, "mm10": OTHER})
    found = run("info", path, "--genome", "mm10").succeeded().out
    assert "format         10x_h5\n" in found
    assert "not converted  genome hg19\n" in found
    found = run("info", write_soma(tmp_path / "soma", STORED)).succeeded().out
    assert "matrix         X (of layer:data)\n" in found
    assert "3 of int32, SOMA sparse" in found


@pytest.mark.parametrize("name", ["scan", "concat"])
def test_a_dataset_is_an_input_in_a_fresh_process(tmp_path: Path, name: str) -> None:
    """A process that has opened no dataset recognises one."""
    path = slaf.convert(write_v3(tmp_path / "a.h5", STORED), tmp_path / "a.slaf").location.path
    code = f"import slaf; print(slaf.{name}([{str(path)!r}]).n_obs)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ended.stdout) == STORED.shape[0]
