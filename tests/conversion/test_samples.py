"""Samples: prefixes of cell ids, columns of obs, sample sheets, and appends of what is new."""

from __future__ import annotations

import json
import logging
import shutil
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.errors import (
    AlreadyInDataset,
    DuplicateInput,
    InputError,
    NoSuchInput,
    UnfinishedRun,
)
from slaf.sources.names import sample_names
from slaf.testing.crashing import Crash, CrashingStorage
from slaf.testing.strategies import Stored
from tests.builders import counts, names, write_h5ad
from tests.formats.builders import write_v3

if TYPE_CHECKING:
    from pathlib import Path

N_CELLS = 3
SHEET = "sample,donor,age,treated,dose\nS01,D1,34,true,0.5\nS02,007,NA,FALSE,\nS03,D3,41,true,2\n"


def run_of(folder: Path, name: str, seed: int = 0) -> Path:
    """The folder that Cell Ranger makes for a sample."""
    outs = folder / name / "outs"
    outs.mkdir(parents=True)
    stored = Stored(
        (N_CELLS, 4), np.arange(N_CELLS), np.arange(N_CELLS), np.arange(1, 4, dtype="i4") + seed
    )
    barcodes = np.array([f"{'ACGT'[cell] * 9}{seed}".encode() for cell in range(N_CELLS)])
    write_v3(outs / "filtered_feature_bc_matrix.h5", stored, barcodes={"barcodes": barcodes})
    return folder / name


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The folders of three samples, and their sheet."""
    for seed in (1, 2, 3):
        run_of(tmp_path / "runs", f"S0{seed}", seed)
    (tmp_path / "sheet.csv").write_text(SHEET)
    return tmp_path / "runs"


def options_of(tmp_path: Path, **more: Any) -> dict[str, Any]:
    """The options with a sheet."""
    return {"samples": tmp_path / "sheet.csv", **more}


@pytest.mark.parametrize(
    ("uris", "expected"),
    [
        (["S01/outs/filtered_feature_bc_matrix.h5", "S02/outs/filtered_feature_bc_matrix"], "12"),
        (["S1Solo.out/Gene/filtered", "S2Solo.out/Gene/filtered"], ["S1", "S2"]),
        (["GSM1_ill_matrix.mtx.gz", "GSM2_well_matrix.mtx.gz"], ["GSM1_ill", "GSM2_well"]),
        (["S1_mine.h5ad", "S2_mine.h5ad"], ["S1", "S2"]),
        (["a/in.h5ad", "b/in.h5ad"], ["a", "b"]),
        (["A/S1/x.h5ad", "A/S2/x.h5ad", "B/S1/x.h5ad"], ["A_S1", "A_S2", "B_S1"]),
        (["raw.h5ad", "filtered.h5ad"], ["raw", "filtered"]),
        (
            ["<AnnData>", "<AnnData 2>", "in.h5ad", "in.h5ad"],
            ["AnnData", "AnnData-2", "in", "in-2"],
        ),
        (["s3://bucket/S1/count/sample_filtered_feature_bc_matrix.h5"], ["S1"]),
        (["filtered_feature_bc_matrix.h5"], ["filtered_feature_bc_matrix"]),
    ],
)
def test_names(uris: list[str], expected: list[str] | str) -> None:
    """The name of a sample is the part of the path that tells it from the others."""
    if isinstance(expected, str):
        expected = [f"S0{number}" for number in expected]
    assert list(sample_names(uris)) == expected


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "a_b", "outs", "raw", "x.h5ad"]), min_size=1).map(
            "/".join
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 3),
)
def test_names_differ(uris: list[str], n_earlier: int) -> None:
    """Names of samples are never equal or empty, and those of earlier inputs stay."""
    earlier = sample_names(uris[:n_earlier])
    found = sample_names(uris, earlier)
    assert found[: len(earlier)] == earlier
    assert len(set(found)) == len(uris)
    assert all(found)


def test_a_sheet(runs: Path, tmp_path: Path) -> None:
    """The columns of a sheet become columns of obs, with the types of their values."""
    options = options_of(tmp_path, cell_id_prefix=True)
    dataset = slaf.convert(runs, tmp_path / "out.slaf", **options)
    obs = dataset.to_anndata().obs
    expected = pd.read_csv(tmp_path / "sheet.csv", dtype={"donor": str}).convert_dtypes()
    assert [name.partition("_")[0] for name in obs.index] == list(obs["sample"])
    for name in expected:
        values = [value for value in expected[name] for _ in range(N_CELLS)]
        assert obs[name].astype(object).where(obs[name].notna(), pd.NA).tolist() == values, name
    assert obs["age"].dtype == "Int64"
    assert obs["donor"].dtype == "category"
    slaf.verify(dataset, against=runs)


@pytest.mark.parametrize("column", ["file", "path", "absolute", "folder"])
def test_a_sheet_of_files(column: str, runs: Path, tmp_path: Path) -> None:
    """A sheet is joined by paths too, in any order, as tsv; the column of paths is not stored."""
    files = {
        "file": "S0{}.h5",
        "path": "S0{}/outs/filtered_feature_bc_matrix.h5",
        "absolute": f"{runs}/S0{{}}/outs/filtered_feature_bc_matrix.h5",
        "folder": "runs/S0{}/outs",
    }
    inputs: Any = runs
    if column == "file":
        inputs = [tmp_path / f"S0{number}.h5" for number in (1, 2, 3)]
        for number, path in enumerate(inputs, start=1):
            shutil.copy(runs / f"S0{number}/outs/filtered_feature_bc_matrix.h5", path)
    rows = [f"{files[column].format(number)}\tD{number}" for number in (3, 1, 2)]
    sheet = tmp_path / "sheet.tsv"
    sheet.write_text("\ufeffwhere\tdonor\n" + "\n".join(rows) + "\n\n")
    obs = slaf.scan(inputs, samples=sheet).obs
    assert list(obs["donor"][::N_CELLS]) == ["D1", "D2", "D3"]
    assert list(obs["sample"][::N_CELLS]) == ["S01", "S02", "S03"]
    assert "where" not in obs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sample,donor\nS01,D1\nS1,D2\nS01,D1\nS02,D2",
            r"1 inputs without a row: .*S03.*; 1 inputs with several .*S01.*s 2, 4\); .*'S1' \(row",
        ),
        ("donor,age\nD1,3\n", "3 inputs without a row"),
        ("sample,donor\nS01\nS02,D,E\n", "row 2 has 1, row 3 has 3"),
        ("sample,sample\nS01,S01\n", "a name of its own; found 'sample'"),
        ("", "no header"),
        ("PK\x03\x04", "save it as CSV"),
        ('sample\n"S01', "no CSV"),
        ("sample,genes\nS01,\xff\n", "byte 17 is not text"),
    ],
)  # fmt: skip
def test_a_sheet_that_does_not_fit(text: str, message: str, runs: Path, tmp_path: Path) -> None:
    """A sheet whose rows are not those of the inputs is refused with all that is wrong."""
    (tmp_path / "sheet.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        slaf.convert(runs, tmp_path / "out.slaf", **options_of(tmp_path))
    assert not (tmp_path / "out.slaf").exists()


def test_columns_of_sheet_and_input(tmp_path: Path) -> None:
    """A column that obs has is never replaced by the sheet; without it the sheet's is taken."""
    obs = pd.DataFrame({"donor": ["x"] * 3, "sample": ["own"] * 3}, index=list("abc"))
    path = tmp_path / "S01.h5ad"
    anndata.AnnData(counts(3, 4), obs=obs, var=names("gene", 4)).write_h5ad(path)
    other = write_h5ad(tmp_path / "S02.h5ad", counts(3, 4, seed=2))
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("file,donor\nS01,D1\nS02,D2\n")
    with pytest.raises(InputError, match=r"'donor' in .*S01.*--without obs:donor"):
        slaf.convert([path, other], tmp_path / "out.slaf", samples=sheet)
    dataset = slaf.convert([path, other], tmp_path / "out.slaf", samples=sheet, without="obs:donor")
    assert list(dataset.obs["donor"]) == ["D1"] * 3 + ["D2"] * 3
    # A sample that an input names itself is kept.
    assert list(dataset.obs["sample"]) == ["own"] * 3 + ["S02"] * 3
    slaf.verify(dataset, against=[path, other])


def test_no_column_of_samples(tmp_path: Path) -> None:
    """One input has no column of samples, and none has one that leaves it out."""
    paths = [write_h5ad(tmp_path / f"{n}.h5ad", counts(3, 4, seed=ord(n))) for n in "ab"]
    assert "sample" not in slaf.convert(paths[0], tmp_path / "one.slaf").obs
    both = slaf.convert(paths, tmp_path / "both.slaf", without="obs:sample")
    assert "sample" not in both.obs
    slaf.verify(both, against=paths)


def test_appended_as_converted(runs: Path, tmp_path: Path) -> None:
    """An append remembers prefix and sheet: it gives what one conversion of all gives."""
    options = options_of(tmp_path, cell_id_prefix=True)
    whole = slaf.convert(runs, tmp_path / "whole.slaf", **options)
    slaf.convert(runs / "S01", tmp_path / "out.slaf", **options)
    for name in ("S02", "S03"):
        dataset = slaf.append(runs / name, tmp_path / "out.slaf")
    pd.testing.assert_frame_equal(dataset.to_anndata().obs, whole.to_anndata().obs)
    slaf.verify(dataset, against=runs)
    assert list(dataset.obs["sample"].unique()) == ["S01", "S02", "S03"]


def test_the_first_gets_its_sample_with_the_second(runs: Path, tmp_path: Path) -> None:
    """With the first append the cells that were there get the sample of their input too."""
    slaf.convert(runs / "S01", tmp_path / "out.slaf")
    dataset = slaf.append(runs / "S02", tmp_path / "out.slaf")
    assert list(dataset.obs["sample"]) == ["S01"] * N_CELLS + ["S02"] * N_CELLS
    slaf.verify(dataset, against=[runs / "S01", runs / "S02"])


def test_a_sheet_that_is_gone(runs: Path, tmp_path: Path) -> None:
    """The sheet of the conversion is read again by an append; one that does not do is named."""
    slaf.convert([runs / "S01", runs / "S02"], tmp_path / "out.slaf", **options_of(tmp_path))
    (tmp_path / "sheet.csv").rename(tmp_path / "other.csv")
    with pytest.raises(NoSuchInput, match=r"sheet.csv: .* --samples none"):
        slaf.append(runs / "S03", tmp_path / "out.slaf")
    (tmp_path / "sheet.csv").write_text("sample,donor\nS01,D1\nS02,D2\n")
    with pytest.raises(InputError, match=r"inputs without a row: .*S03") as caught:
        slaf.append(runs / "S03", tmp_path / "out.slaf")
    assert "mend it, name another with --samples, or take none with --samples none" in str(
        caught.value
    )
    dataset = slaf.append(runs / "S03", tmp_path / "out.slaf", samples="none")
    assert dataset.obs["donor"].isna().sum() == N_CELLS
    slaf.verify(dataset, against=runs)


def test_a_changed_row_is_another_input(runs: Path, tmp_path: Path) -> None:
    """A run that was stopped is not finished with other values of its sheet."""
    options = options_of(tmp_path, chunk_size=1)
    output = tmp_path / "out.slaf"
    with pytest.raises(Crash):
        slaf.convert(runs, CrashingStorage(output, at=20), **options)
    (tmp_path / "sheet.csv").write_text(SHEET.replace("D3", "D4"))
    with pytest.raises(UnfinishedRun, match=r"obs was .*D3.* and is .*D4"):
        slaf.convert(runs, output, **options)


def test_only_what_is_new(runs: Path, tmp_path: Path) -> None:
    """New inputs are appended, those of the dataset are left out, and changed ones are refused."""
    output = tmp_path / "out.slaf"
    slaf.convert([runs / "S01", runs / "S02"], output, cell_id_prefix=True)
    dataset = slaf.append(runs, output, new_only=True)
    assert list(dataset.obs["sample"].unique()) == ["S01", "S02", "S03"]
    for dry_run in (True, False):
        with pytest.raises(AlreadyInDataset, match="all of the 3 inputs: nothing is new"):
            slaf.append(runs, output, new_only=True, dry_run=dry_run)
    shutil.rmtree(runs / "S02")
    run_of(runs, "S02", seed=9)
    with pytest.raises(DuplicateInput, match=r"S02.*: changed since"):
        slaf.append(runs, output, new_only=True)


def test_another_form_of_a_sample_is_not_new(runs: Path, tmp_path: Path) -> None:
    """A matrix of a folder is refused where the dataset has another one of the same folder."""
    filtered = runs / "S02" / "outs" / "filtered_feature_bc_matrix.h5"
    raw = filtered.with_name("raw_feature_bc_matrix.h5")
    shutil.copy(filtered, raw)
    with h5py.File(raw, "r+") as file:
        file["matrix/data"][0] += 1
    output = tmp_path / "out.slaf"
    slaf.convert([runs / "S01", raw, runs / "S03"], output)
    with pytest.raises(DuplicateInput, match=rf"{filtered} next to {raw}: .* has the sample"):
        slaf.append(runs, output, new_only=True)
    slaf.remove(output, str(raw))
    assert slaf.append(runs, output, new_only=True).n_cells == 3 * N_CELLS


def test_what_was_stopped_comes_first(runs: Path, tmp_path: Path) -> None:
    """An append that was stopped is finished, and what came since is appended behind it."""
    options: dict[str, Any] = {"new_only": True, "chunk_size": 1}
    expected = slaf.convert(runs, tmp_path / "all.slaf", chunk_size=1)
    output = tmp_path / "out.slaf"
    slaf.convert(runs / "S01", output, chunk_size=1)
    config = json.loads((output / "config.json").read_text())
    later = (runs / "S03").rename(tmp_path / "S03")
    for at in (8, 14, 1_000):
        try:
            slaf.append(runs, CrashingStorage(output, at=at), **options)
        except Crash:
            assert json.loads((output / "config.json").read_text())["n_cells"] == config["n_cells"]
            if not (runs / "S03").exists():
                later.rename(runs / "S03")
    dataset = slaf.open(output)
    pd.testing.assert_frame_equal(dataset.to_anndata().obs, expected.to_anndata().obs)
    slaf.verify(dataset, against=runs)


def test_stopped_after_it_was_published(runs: Path, tmp_path: Path) -> None:
    """An append that was stopped while it removed files is finished by the same command."""
    output, whole = tmp_path / "out.slaf", tmp_path / "whole.slaf"
    for path in (output, whole):
        slaf.convert(runs / "S01", path, cell_id_prefix=True)
    storage = CrashingStorage(whole)
    slaf.append(runs / "S02", storage)
    published = max(
        at for at, effect in enumerate(storage.effects) if str(effect) == "put config.json"
    )
    for new_only in (True, False):
        with pytest.raises(Crash):
            slaf.append(runs / "S02", CrashingStorage(output, at=published - 1))
        dataset = slaf.append(runs / "S02", output, new_only=new_only)
        assert dataset.n_cells == 2 * N_CELLS
        assert "checkpoint" not in json.loads((output / "config.json").read_text())
        shutil.rmtree(output)
        slaf.convert(runs / "S01", output, cell_id_prefix=True)


def test_a_planned_append_has_samples(runs: Path, tmp_path: Path) -> None:
    """A plan, parts and publication give the samples that an append gives."""
    expected, output = tmp_path / "expected.slaf", tmp_path / "out.slaf"
    for path in (expected, output):
        slaf.convert(runs / "S01", path)
    slaf.append(runs, expected, new_only=True, samples=tmp_path / "sheet.csv")
    slaf.plan(runs, output, append=True, new_only=True, samples=tmp_path / "sheet.csv")
    for index in range(2):
        slaf.part(output, index=index)
    dataset = slaf.publish(output)
    pd.testing.assert_frame_equal(dataset.to_anndata().obs, slaf.open(expected).to_anndata().obs)
    slaf.verify(dataset, against=runs)


def test_rows_without_input_are_told(
    runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A row of a sample that is not there yet is a warning: nothing of the inputs is lost."""
    shutil.rmtree(runs / "S03")
    with caplog.at_level(logging.WARNING, "slaf"):
        slaf.scan(runs, samples=tmp_path / "sheet.csv")
    assert "1 rows without an input, by their column 'sample': 'S03' (row 4)" in caplog.text


def test_samples_in_memory() -> None:
    """AnnData in memory have samples too."""
    cells = pd.DataFrame(index=list("abc"))
    both = [anndata.AnnData(counts(3, 4, seed=seed), obs=cells) for seed in (1, 2)]
    obs = slaf.scan(both, cell_id_prefix=True).obs
    assert list(obs["sample"].unique()) == ["AnnData", "AnnData-2"]
    assert obs.index[3] == "AnnData-2_a"
