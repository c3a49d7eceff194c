"""Matrix Market files of any name, axis, form and table; archives and files of other programs."""

from __future__ import annotations

import gzip
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.io

import slaf
from slaf.errors import DamagedInput, MissingMatrix, UnknownFormat
from tests.builders import counts, write_h5ad
from tests.cli.terminal import run
from tests.formats.test_layouts import BARCODES, N_FILTERED, N_GENES, matrix_of, write_h5, write_mtx

if TYPE_CHECKING:
    from pathlib import Path

GENES = [f"E{at}" for at in range(N_GENES)]


def check(dataset: Any, scale: int = 1, layer: str | None = None) -> None:
    """The dataset holds the filtered matrix."""
    values, ids = matrix_of("filtered")
    assert dataset.obs_names.to_list() == ids
    assert dataset.var_names.to_list() == GENES
    assert (
        dataset.X if layer is None else dataset.layers[layer]
    ).to_memory().toarray().tolist() == (values * scale).toarray().tolist()


def test_tables_that_are_named(tmp_path: Path) -> None:
    """Any matrix is read with the tables that are named; and verified without naming them again."""
    folder = tmp_path / "in"
    write_mtx(folder, "filtered", matrix="gene_mat.mtx", barcodes="c", features="g")
    ids = matrix_of("filtered")[1]
    rows = "".join(f'"{at}","{name}","a, b"\n' for at, name in enumerate(ids, 1))
    (folder / "c.csv").write_text('"","barcode","note"\n' + rows)
    genes = "".join(f"G{at}\tE{at}\n" for at in range(N_GENES)).encode()
    (folder / "g.tsv.gz").write_bytes(gzip.compress(b"symbol\tensembl\n" + genes))
    output = tmp_path / "out.slaf"
    words: list[str | Path] = ["--barcodes", folder / "c.csv", "--features", folder / "g.tsv.gz"]
    run(
        "convert", folder / "gene_mat.mtx", output, *words, "--gene-id-column", "ensembl"
    ).succeeded()
    dataset = slaf.open(output)
    check(dataset)
    assert dataset.obs["note"].to_list() == ["a, b"] * N_FILTERED
    assert dataset.var["symbol"].to_list() == [f"G{at}" for at in range(N_GENES)]
    run("verify", output, "--against", folder / "gene_mat.mtx").succeeded()
    by_number = slaf.info(
        folder / "gene_mat.mtx",
        barcodes=folder / "c.csv",
        features=folder / "g.tsv.gz",
        gene_id_column="1",
    )
    assert isinstance(by_number, slaf.InputInfo)
    assert list(by_number.var) == ["ensembl"]
    with pytest.raises(MissingMatrix, match=r"choose with --gene-id-column: symbol \(1\), ensembl"):
        slaf.convert(
            folder / "gene_mat.mtx",
            tmp_path / "no.slaf",
            barcodes=folder / "c.csv",
            features=folder / "g.tsv.gz",
            gene_id_column="none",
        )


def test_one_reading_of_a_folder(tmp_path: Path) -> None:
    """Tables of any names are found where there is one of each."""
    folder = tmp_path / "in"
    names: dict[str, Any] = {"barcodes": "x_cell_names.txt", "features": "y_genes.csv"}
    write_mtx(folder, "filtered", matrix="expression.mtx", **names)
    (folder / "y_genes.csv").write_text("gene_id,chr\n" + "".join(f"{gene},1\n" for gene in GENES))
    check(slaf.convert(folder, tmp_path / "out.slaf"))


@pytest.mark.parametrize("state", ["raw", "filtered"])
def test_cells_by_genes(state: str, tmp_path: Path) -> None:
    """The sizes of the tables say which axis is that of cells."""
    write_mtx(tmp_path / "in", state, matrix="m.mtx", transposed=True)
    dataset = slaf.convert(tmp_path / "in", tmp_path / "out.slaf")
    assert dataset.X.to_memory().toarray().tolist() == matrix_of(state)[0].toarray().tolist()


def test_a_square_matrix_is_asked_about(tmp_path: Path) -> None:
    """Where sizes and names do not tell the axes, the user does; the choice is recorded."""
    folder = tmp_path / "in"
    names: dict[str, Any] = {"barcodes": "cells.txt", "features": "genes.txt"}
    write_mtx(folder, "filtered", matrix="m.mtx", **names)
    (folder / "m.mtx").write_text(
        "%%MatrixMarket matrix coordinate integer general\n3 3 1\n1 3 7\n"
    )
    (folder / "genes.txt").write_text("E0\nE1\nE2\n")
    with pytest.raises(UnknownFormat, match=r"--transpose .rows are cells. or --no-transpose"):
        slaf.convert(folder, tmp_path / "out.slaf")
    for transpose in (True, False):
        output = tmp_path / f"{transpose}.slaf"
        run("convert", folder, output, f"--{'' if transpose else 'no-'}transpose").succeeded()
        assert slaf.open(output).X.to_memory()[(0, 2) if transpose else (2, 0)] == 7
        assert slaf.verify(output, against=folder).ok


def test_whatever_reads_an_input_takes_how_it_is_read(tmp_path: Path) -> None:
    """diff, info, head, schema, qc and aggregate take the choices that a conversion needs."""
    folder, output = tmp_path / "in", tmp_path / "out.slaf"
    names: dict[str, Any] = {"barcodes": "cells.txt", "features": "genes.txt"}
    write_mtx(folder, "filtered", matrix="m.mtx", **names)
    cells, genes = folder / "cells.csv", folder / "genes.txt"
    ids = (folder / "cells.txt").read_text().split()
    cells.write_text("barcode,kind\n" + "".join(f"{name},a\n" for name in ids))
    chosen = [f"--barcodes={cells}", f"--features={genes}"]
    matrix = folder / "m.mtx"
    run("convert", matrix, output, *chosen).succeeded()
    for command in ("info", "head", "schema", "qc"):
        run(command, matrix, *chosen).succeeded()
    run("aggregate", matrix, tmp_path / "groups.slaf", "--by=kind", *chosen).succeeded()
    for pair in ((output, matrix), (matrix, output)):
        run("diff", *pair, *chosen).succeeded()
    for command, targets in (("head", [output]), ("diff", [output, output])):
        said = run(command, *targets, "--matrix", "raw").failed(3)
        assert "a dataset, but matrix is chosen of an input: leave it out" in said


def test_matrices_of_one_pair_of_tables_are_layers(tmp_path: Path) -> None:
    """Splicing, as STARsolo and kb write it, becomes layers; multi-mappers are named as left."""
    for folder, prefix in ((tmp_path / "star", ""), (tmp_path / "nac", "cells_x_genes.")):
        tables: dict[str, Any] = {
            "barcodes": f"{prefix}barcodes.tsv",
            "features": f"{prefix}genes.tsv",
        }
        for scale, name in enumerate(("spliced", "unspliced", "ambiguous"), 1):
            write_mtx(folder, "filtered", matrix=f"{prefix}{name}.mtx", **tables, scale=scale)
        dataset = slaf.convert(folder, tmp_path / f"{folder.name}.slaf", cell_id_prefix=False)
        check(dataset)
        for scale, name in enumerate(("spliced", "unspliced", "ambiguous"), 1):
            check(dataset, scale, name)
        assert slaf.verify(dataset, against=folder).ok
        unspliced = folder / f"{prefix}unspliced.mtx"
        check(slaf.convert(unspliced, tmp_path / f"{folder.name}-u.slaf"), 2)
    write_mtx(tmp_path / "gene", "filtered")
    write_mtx(tmp_path / "gene", "filtered", matrix="UniqueAndMult-EM.mtx")
    info = slaf.info(tmp_path / "gene")
    assert isinstance(info, slaf.InputInfo)
    assert info.not_converted == ("UniqueAndMult-EM.mtx",)
    write_mtx(tmp_path / "two", "filtered", matrix="a.mtx")
    write_mtx(tmp_path / "two", "filtered", matrix="b.mtx")
    with pytest.raises(UnknownFormat, match=r"do not say which are the counts; .*: a.mtx, b.mtx"):
        slaf.convert(tmp_path / "two", tmp_path / "out.slaf")


def test_splicing_of_different_cells(tmp_path: Path) -> None:
    """Spliced and unspliced counts with tables of their own are one input if these are the same."""
    for state, name in (("filtered", "spliced"), ("filtered", "unspliced")):
        names: dict[str, Any] = {
            "barcodes": f"{name}.barcodes.txt",
            "features": f"{name}.genes.txt",
        }
        write_mtx(tmp_path / "in", state, matrix=f"{name}.mtx", **names, transposed=True)
    dataset = slaf.convert(tmp_path / "in", tmp_path / "out.slaf")
    assert list(dataset.layers) == ["spliced", "unspliced"]
    write_mtx(tmp_path / "in", "raw", matrix="unspliced.mtx", **names, transposed=True)
    with pytest.raises(UnknownFormat, match="counts of one sample, but not of the same barcodes"):
        slaf.convert(tmp_path / "in", tmp_path / "no.slaf")


def test_features_that_samples_share(tmp_path: Path) -> None:
    """Several samples of a folder may have one list of features."""
    for sample in (0, 1):
        names: dict[str, Any] = {
            "barcodes": f"GSM{sample}_barcodes.tsv",
            "features": "GSE9_features.tsv",
        }
        write_mtx(tmp_path / "in", "filtered", sample, matrix=f"GSM{sample}_matrix.mtx", **names)
    dataset = slaf.convert(tmp_path / "in", tmp_path / "out.slaf")
    assert dataset.obs_names.to_list() == [*BARCODES[:3], *BARCODES[7:10]]


@pytest.mark.parametrize("packed", [False, True])
def test_a_header_of_other_words_is_taken_away(packed: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """A table with one line too many is refused with the command that prints it without."""
    folder = tmp_path / "in"
    write_mtx(folder, "filtered")
    table = folder / "barcodes.tsv"
    table.write_text("my column\n" + table.read_text())
    if packed:
        (folder / "barcodes.tsv.gz").write_bytes(gzip.compress(table.read_bytes()))
        table.unlink()
    with pytest.raises(DamagedInput) as refused:
        slaf.convert(folder, tmp_path / "out.slaf")
    command = re.findall("`(.*?)`", str(refused.value))[0]
    lines = subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    (folder / "barcodes.tsv.gz").unlink(missing_ok=True)
    table.write_bytes(lines.stdout)
    check(slaf.convert(folder, tmp_path / "out.slaf"))


def test_a_header_is_known_by_its_words(tmp_path: Path) -> None:
    """A line too many that names no columns is no header, but another matrix's table."""
    write_mtx(tmp_path / "in", "filtered")
    file = tmp_path / "in/barcodes.tsv"
    file.write_text("TTTTTTTTTTTT-1\n" + file.read_text())
    with pytest.raises(DamagedInput, match="it has 4 lines, but the matrix needs 3; if the first"):
        slaf.convert(tmp_path / "in", tmp_path / "out.slaf")


@pytest.mark.parametrize("form", ["array", "symmetric"])
def test_another_form_of_matrix_market(form: str, tmp_path: Path) -> None:
    """A dense or a symmetric matrix is refused with the line that writes it in full."""
    folder = tmp_path / "in"
    write_mtx(folder, "filtered", features="g.tsv")
    values = np.array([[1, 2, 0], [2, 0, 3], [0, 3, 4]])
    file = folder / "matrix.mtx"
    if form == "array":
        scipy.io.mmwrite(file, values, symmetry="general")
    else:
        scipy.io.mmwrite(file, scipy.sparse.coo_matrix(values), symmetry="symmetric")
    (folder / "genes.tsv").write_text("E0\nE1\nE2\n")
    with pytest.raises(DamagedInput, match="general'") as refusal:
        slaf.convert(folder, tmp_path / "out.slaf")
    command = shlex.split(refusal.value.remedy.partition(": ")[2])
    assert command[0] == "python"
    subprocess.run([sys.executable, *command[1:]], check=True)
    (folder / "matrix.general.mtx").replace(file)
    assert (
        slaf.convert(folder, tmp_path / "out.slaf").X.to_memory().toarray().tolist()
        == values.T.tolist()
    )


def test_archives_are_refused_with_the_line_that_unpacks_them(tmp_path: Path) -> None:
    """That line, run by a shell, makes what can be converted."""
    write_mtx(tmp_path / "m", "filtered")
    made = tmp_path / "of a sample"
    made.mkdir()
    with tarfile.open(made / "m.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "m", "m")
    with zipfile.ZipFile(made / "z.zip", "w") as archive:
        for file in (tmp_path / "m").iterdir():
            archive.write(file, file.name)
    h5ad = write_h5ad(tmp_path / "a.h5ad", counts(3, 4, seed=1))
    (made / "a.h5ad.gz").write_bytes(gzip.compress(h5ad.read_bytes()))
    for name, unpacked in (("m.tar.gz", "m"), ("z.zip", "z"), ("a.h5ad.gz", "a.h5ad")):
        with pytest.raises(UnknownFormat, match="unpack it with `") as refusal:
            slaf.convert(made / name, tmp_path / "out.slaf")
        line = str(refusal.value).split("`")[1]
        if not line.startswith("unzip"):
            subprocess.run(["/bin/sh", "-c", line], check=True)
            assert slaf.convert(made / unpacked, tmp_path / f"{unpacked}.slaf").shape == (3, 4)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.rds", gzip.compress(b"X\n\0\0\0\3\0\4", mtime=0), "a file of R"),
        ("a.rda", b"RDX3\nX\n\0", "a file of R"),
        ("a.csv", b"gene,c0\nA,1\n", "a table of text"),
        ("a.parquet", b"PAR1\0\0", "a table of Arrow or Parquet"),
        ("a.tar.xz", b"\xfd7zXZ\0", "a tar archive"),
    ],
    ids=["rds", "rda", "csv", "parquet", "empty"],
)
def test_other_files_are_named(name: str, content: bytes, what: str, tmp_path: Path) -> None:
    """A file of another program is refused as what it is, not with a list of formats."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnknownFormat, match=f"{name}: this is {what}: ") as refusal:
        slaf.convert(tmp_path / name, tmp_path / "out.slaf")
    assert "known format" not in str(refusal.value)


def test_a_folder_of_other_files(tmp_path: Path) -> None:
    """A folder with an archive is refused as that; notes and tables next to it change nothing."""
    made = tmp_path / "download"
    made.mkdir()
    (made / "table.csv").write_bytes(b"gene,c0\nA,1\n")
    with pytest.raises(UnknownFormat, match=r"download/table.csv: this is a table of text"):
        slaf.convert(made, tmp_path / "out.slaf")
    (made / "README.txt").write_text("a note")
    with pytest.raises(UnknownFormat, match="download: no known format"):
        slaf.convert(made, tmp_path / "out.slaf")
    with tarfile.open(made / "x.tar.gz", "w:gz") as tar:
        tar.add(made / "README.txt", "README.txt")
    with pytest.raises(UnknownFormat, match=r"download/x.tar.gz: this is a tar archive: unpack it"):
        slaf.convert(made, tmp_path / "out.slaf")


def test_features_without_ids(tmp_path: Path) -> None:
    """A 10x HDF5 file whose features have names alone is read by these."""
    import h5py

    write_h5(tmp_path / "in.h5", "filtered")
    with h5py.File(tmp_path / "in.h5", "r+") as file:
        del file["matrix/features/id"]
    dataset = slaf.convert(tmp_path / "in.h5", tmp_path / "out.slaf")
    check(dataset)
    assert list(dataset.var) == ["feature_type", "genome"]


def test_one_genome_of_all(tmp_path: Path) -> None:
    """--genome takes the features of a genome, and a wrong one is refused with those there are."""
    import h5py

    write_h5(tmp_path / "in.h5", "filtered")
    with h5py.File(tmp_path / "in.h5", "r+") as file:
        file["matrix/features/genome"][...] = [b"hg", b"mm", b"hg", b"mm"]
    dataset = slaf.convert(tmp_path / "in.h5", tmp_path / "out.slaf", genome="mm")
    assert dataset.var_names.to_list() == ["E1", "E3"]
    assert slaf.verify(dataset, against=tmp_path / "in.h5").ok
    with pytest.raises(MissingMatrix, match="no features of genome 'rat'; it has 'hg', 'mm'"):
        slaf.convert(tmp_path / "in.h5", tmp_path / "no.slaf", genome="rat")


def test_counts_are_advised_by_their_name(tmp_path: Path) -> None:
    """Of several matrices of whole numbers the one with the name of counts is advised, or none."""
    whole = counts(9, 4, seed=1)
    for names, advice in (
        (["ambiguous", "spliced", "counts"], "use --matrix layer:counts"),
        (["ambiguous", "zzz"], "--matrix takes another matrix"),
    ):
        path = tmp_path / f"{names[-1]}.h5ad"
        write_h5ad(path, whole * 0.5, layers=dict.fromkeys(names, whole))
        ended = run("convert", path, tmp_path / f"{names[-1]}.slaf").succeeded()
        assert advice in ended.err
