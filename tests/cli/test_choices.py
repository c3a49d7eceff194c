"""Genome, feature type and measurement of an input are options of the commands."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

import slaf
from slaf_cli.report import ExitCode
from tests.builders import counts
from tests.cli.terminal import run, stop_after

if TYPE_CHECKING:
    from pathlib import Path

N_CELLS, N_GENES = 30, 6
TYPES = ["Gene Expression", "Gene Expression", "Antibody Capture"] * 2


@pytest.fixture
def tenx(tmp_path: Path) -> Path:
    """A 10x H5 file with features of two types."""
    path = tmp_path / "tenx.h5"
    with h5py.File(path, "w") as file:
        write_entries(file.create_group("matrix"))
        features = file.create_group("matrix/features")
        features["id"] = features["name"] = [f"gene-{gene}" for gene in range(N_GENES)]
        features["feature_type"] = TYPES
        features["genome"] = ["GRCh38"] * N_GENES
    return path


@pytest.fixture
def genomes(tmp_path: Path) -> Path:
    """A 10x H5 file of two genomes."""
    path = tmp_path / "genomes.h5"
    with h5py.File(path, "w") as file:
        for genome in ("hg19", "mm10"):
            group = file.create_group(genome)
            write_entries(group)
            group["genes"] = group["gene_names"] = [f"{genome}-{gene}" for gene in range(N_GENES)]
    return path


def write_entries(group: h5py.Group) -> None:
    """Genes × cells, compressed by cell, as Cell Ranger writes them."""
    matrix = counts(N_CELLS, N_GENES)
    group["barcodes"] = [f"cell-{cell}" for cell in range(N_CELLS)]
    group["shape"] = np.array([N_GENES, N_CELLS], np.int32)
    group["data"] = matrix.data.astype(np.int32)
    group["indices"], group["indptr"] = matrix.indices.astype(np.int64), matrix.indptr


def test_features_of_one_type_are_taken(tenx: Path, tmp_path: Path) -> None:
    """--feature-type keeps those features, in `info` and in `convert`, and `verify` knows it."""
    chosen = ("--feature-type", "Antibody Capture")
    assert "× 2 genes" in run("info", tenx, *chosen).succeeded().out
    output = tmp_path / "out.slaf"
    run("convert", tenx, output, *chosen).succeeded()
    assert slaf.open(output).var.index.tolist() == ["gene-2", "gene-5"]
    run("verify", output, "--against", tenx).succeeded()


def test_one_of_several_genomes_is_chosen(genomes: Path, tmp_path: Path) -> None:
    """Without --genome a file of several is refused with their names."""
    output = tmp_path / "out.slaf"
    assert "--genome: hg19, mm10" in run("info", genomes).failed(ExitCode.BAD_INPUT)
    run("convert", genomes, output, "--genome", "mm10").succeeded()
    assert slaf.open(output).var.index[0] == "mm10-0"


def test_a_choice_that_a_format_has_not_ends_with_3(source: Path, tmp_path: Path) -> None:
    """An option that says nothing about the format of the input is refused, not ignored."""
    words = ("convert", source, tmp_path / "out.slaf")
    for option in ("--genome", "--feature-type", "--measurement"):
        run(*words, option, "mm10").failed(ExitCode.BAD_INPUT)


def test_a_choice_is_part_of_how_to_resume(tenx: Path, tmp_path: Path) -> None:
    """The command that `status` prints makes the same choice."""
    output = tmp_path / "out.slaf"
    stop_after(10, tenx, output, chunk_size=10, feature_type="Antibody Capture")
    resume = run("status", output, "--json").succeeded().json["resume"]
    assert "--feature-type 'Antibody Capture'" in resume
    run(*shlex.split(resume)[1:]).succeeded()
