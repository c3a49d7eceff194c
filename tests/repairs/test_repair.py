"""What a repair does, and what it refuses."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import anndata
import lance
import numpy as np
import pytest
import scipy.sparse as sp

import slaf
from slaf.errors import DamagedDataset, Locked, NoSuchInput, SourceChanged, UnfinishedRun
from slaf.format.config import load
from slaf.format.validation import with_checksum
from slaf.storage.location import Location
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import counts, write_h5ad
from tests.conversion.cases import shuffled_inputs
from tests.conversion.outputs import output_of, tree, unaccounted
from tests.repairs.damaged import Original, flip, make_original, proven_files

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """A dataset with everything."""
    return make_original(tmp_path_factory.mktemp("original"))


@pytest.fixture
def dataset(original: Original, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return original.copy(tmp_path / "out.slaf")


def data_files(dataset: Path, table: str = "expression") -> list[Path]:
    """The data files of a table, in order."""
    fragments = slaf.open(dataset).table(table).get_fragments()
    return [dataset / f"{table}.lance/data" / f.data_files()[0].path for f in fragments]


def change_what_nobody_reads(dataset: Path, file: Path) -> None:
    """Change a byte of a file of `expression` that only fills up."""
    content, expected = file.read_bytes(), slaf.open(dataset).expression.to_table()
    for at in range(len(content)):
        if content[at : at + 8] == b"H" * 8:  # with which Lance fills up
            file.write_bytes(content[:at] + b"\1" + content[at + 1 :])
            try:
                if slaf.open(dataset).expression.to_table() == expected:
                    return
            except (OSError, ValueError):
                continue
    pytest.fail("every byte counts")


def test_what_nobody_reads(dataset: Path, original: Original) -> None:
    """A byte that only fills up is found and repaired as any other."""
    file = data_files(dataset)[1]
    change_what_nobody_reads(dataset, file)
    with pytest.raises(slaf.VerificationFailed, match=file.name):
        slaf.verify(dataset)
    assert slaf.repair(dataset, original.inputs).parts == ((4, 8),)
    original.check(dataset)


def test_nothing_is_damaged(dataset: Path, original: Original) -> None:
    """Without damage nothing is done, and no input is asked for."""
    before = tree(dataset)
    for inputs in (None, original.inputs):
        repaired = slaf.repair(dataset, inputs)
        assert (repaired.damaged, repaired.parts, repaired.tables) == ((), (), ())
        assert repaired.files == len(proven_files(dataset))
    assert tree(dataset) == before


def test_only_what_is_damaged_is_written(dataset: Path, original: Original) -> None:
    """The files of parts that are whole stay as they are."""
    first, second, third = data_files(dataset)
    layers = data_files(dataset, "layers")

    def told(file: Path) -> tuple[int, int]:
        return file.stat().st_ino, file.stat().st_mtime_ns

    kept = {file: told(file) for file in (first, third, *layers)}
    second.unlink()
    repaired = slaf.repair(dataset, original.inputs)
    assert (repaired.parts, repaired.tables) == (((4, 8),), ("expression",))
    assert {file: told(file) for file in kept} == kept
    assert not second.exists()
    original.check(dataset)


@pytest.mark.parametrize("kind", ["_versions", "_transactions", "_indices"])
def test_without_the_inputs(kind: str, dataset: Path, original: Original) -> None:
    """What is not of the inputs is repaired without them."""
    rng = random.Random(1)
    damaged = [file for file in proven_files(dataset) if kind in file]
    for file in damaged:
        flip(dataset / file, rng)
    repaired = slaf.repair(dataset)
    assert len(repaired.damaged) == len(damaged)
    assert not repaired.parts
    original.check(dataset)


def test_inputs_that_are_not_named(dataset: Path, original: Original) -> None:
    """Where the inputs are needed, the error names them, and nothing is changed."""
    data_files(dataset)[0].unlink()
    before = tree(dataset)
    with pytest.raises(NoSuchInput, match=r"with --from: .*in\.h5ad"):
        slaf.repair(dataset)
    with pytest.raises(NoSuchInput, match="was made of 1 inputs, and 2 are given"):
        slaf.repair(dataset, original.inputs * 2)
    assert tree(dataset) == before


CHANGES: list[tuple[str, str]] = [
    ("X", "in the matrix, cells 0 to 4"),
    ("late", "in layers, late, cells 0 to 4"),
    ("obs", "cells made of it is not what was written"),
    ("var", "genes made of it is not what was written"),
    ("uns", "uns made of it is not what was written"),
    ("obsp", "cellsxcells made of it is not what was written"),
    ("raw", "in raw, raw, cells 0 to 4"),
]


@pytest.mark.parametrize(("what", "said"), CHANGES)
def test_a_source_that_was_changed(
    what: str, said: str, dataset: Path, original: Original, tmp_path: Path
) -> None:
    """An input that does not give what was converted is refused, and nothing is changed."""
    adata = anndata.read_h5ad(original.inputs[0])
    if what == "X":
        adata.X = counts(*adata.shape, seed=5)
    elif what == "late":
        adata.layers["late"] = counts(*adata.shape, seed=5)
    elif what == "obs":
        adata.obs["depth"] = 0.25
    elif what == "var":
        adata.var["length"] = adata.var["length"] + 1
    elif what == "uns":
        adata.uns["colour"] = "blue"
    elif what == "obsp":
        adata.obsp["graph"] = sp.csr_matrix(adata.obsp["graph"] * 2)
    else:
        other = anndata.AnnData(counts(adata.n_obs, 9, seed=8), var=adata.raw.var)
        adata.raw = other
    adata.write_h5ad(tmp_path / "changed.h5ad")
    rng = random.Random(0)
    for file in proven_files(dataset):
        if "/_" not in file:
            flip(dataset / file, rng)
    before = tree(dataset)
    with pytest.raises(SourceChanged, match=said):
        slaf.repair(dataset, tmp_path / "changed.h5ad")
    after = tree(dataset)
    assert {name: content for name, (_, content) in after.items() if "config" not in name} == {
        name: content for name, (_, content) in before.items() if "config" not in name
    }
    manifest = load(Location(dataset))
    assert manifest is not None
    assert manifest.checkpoint is None
    slaf.repair(dataset, original.inputs)
    original.check(dataset)


def test_a_value_of_a_wider_type(dataset: Path, original: Original, tmp_path: Path) -> None:
    """A value that the table cannot hold was not converted, whatever else is the same."""
    adata = anndata.read_h5ad(original.inputs[0])
    adata.X = sp.csr_matrix(adata.X.toarray() * 0.5)
    adata.write_h5ad(tmp_path / "changed.h5ad")
    data_files(dataset)[0].unlink()
    with pytest.raises(SourceChanged, match="hold values that were not converted"):
        slaf.repair(dataset, tmp_path / "changed.h5ad")


def test_a_source_of_another_shape(dataset: Path, original: Original, tmp_path: Path) -> None:
    """An input with other cells is refused by name before anything is written."""
    adata = anndata.read_h5ad(original.inputs[0])[:5].copy()
    adata.write_h5ad(tmp_path / "changed.h5ad")
    data_files(dataset)[0].unlink()
    before = tree(dataset)
    with pytest.raises(SourceChanged, match="it has 5 cells and had 12"):
        slaf.repair(dataset, tmp_path / "changed.h5ad")
    assert tree(dataset) == before


def test_readers_meanwhile(dataset: Path, original: Original) -> None:
    """A table that could be read before the repair can be read as well if that is stopped."""
    file = data_files(dataset)[1]
    flip(file, random.Random(3))
    recorder = CrashingStorage(original.copy(dataset.with_name("recorded.slaf")))
    flip(data_files(recorder.path)[1], random.Random(3))
    slaf.repair(recorder, original.inputs)
    whole = original.output.tables["cells"]
    for at in range(2, len(recorder.effects)):
        stopped = original.copy(dataset.with_name("stopped.slaf"))
        flip(data_files(stopped)[1], random.Random(3))
        with pytest.raises(Crash):
            slaf.repair(CrashingStorage(stopped, at), original.inputs)
        opened = slaf.open(stopped)
        assert opened.table("cells").to_table() == whole
        assert opened[0:4].X.to_memory().nnz


def test_of_several_runs(tmp_path: Path) -> None:
    """A dataset of several inputs and appends is repaired from all of them, in their order."""
    first, second, third = shuffled_inputs(tmp_path)
    path = tmp_path / "out.slaf"
    slaf.convert([first, second], path, chunk_size=3, join="union")
    slaf.append(third, path, join="union", chunk_size=2, cell_id_prefix=True)
    made = Original([first, second, third], path)
    files = proven_files(path)
    assert len(data_files(path)) == sum("expression.lance/data" in file for file in files)
    rng = random.Random(0)
    for file in files:
        dataset = made.copy(tmp_path / "damaged.slaf")
        flip(dataset / file, rng)
        with pytest.raises(slaf.VerificationFailed) as caught:
            slaf.verify(dataset)
        assert caught.value.report.differences[0].where.split(" ")[0] == file
        slaf.repair(dataset, made.inputs)
        made.check(dataset)
    dataset = made.copy(tmp_path / "damaged.slaf")
    data_files(dataset)[-1].unlink()
    with pytest.raises(slaf.VerificationFailed, match=rf"of {third}\)"):
        slaf.verify(dataset)
    slaf.repair(dataset, made.inputs)
    # What was repaired is added to as ever.
    fourth = write_h5ad(tmp_path / "fourth.h5ad", counts(3, 6, seed=9))
    slaf.append(fourth, dataset, join="union")
    assert slaf.verify(dataset, against=[*made.inputs, fourth]).ok
    assert not unaccounted(dataset)


def test_an_append_keeps_what_was_noted(tmp_path: Path) -> None:
    """An append notes its own files, and does not take damage of before for what was written."""
    first, second = (write_h5ad(tmp_path / f"{at}.h5ad", counts(12, 6, seed=at)) for at in (0, 1))
    path = tmp_path / "out.slaf"
    before = slaf.convert(first, path, chunk_size=6).published.checksums
    file = data_files(path)[1]
    change_what_nobody_reads(path, file)
    assert slaf.open(path).X.to_memory().nnz
    after = slaf.append(second, path, chunk_size=6).published.checksums
    kept = [one for one in before.files if "expression.lance/data" in one.file]
    fresh = [one for one in after.files if "expression.lance/data" in one.file]
    assert fresh[: len(kept)] == kept
    assert [one.cells for one in fresh] == [(0, 6), (6, 12), (12, 18), (18, 24)]
    with pytest.raises(slaf.VerificationFailed, match=file.name):
        slaf.verify(path)
    assert slaf.repair(path, [first, second]).parts == ((6, 12),)
    assert slaf.verify(path, against=[first, second]).ok


def test_a_version_that_nobody_has_made(tmp_path: Path) -> None:
    """A config.json that claims a version beyond all is repaired as any other, and at once."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(12, 6))
    path = tmp_path / "out.slaf"
    slaf.convert(source, path)
    config = json.loads((path / "config.json").read_bytes())
    config["versions"]["expression"] = 2**40
    for one in config["proof"]["files"]:
        if "expression.lance/_versions" in one["file"]:
            one["bytes"] += 1
    (path / "config.json").write_bytes(with_checksum(config))
    slaf.repair(path, source)
    assert slaf.verify(path, against=source).ok
    assert not unaccounted(path)


def test_plain_types_and_string_ids(tmp_path: Path) -> None:
    """Tables of other types, and with string ids, are repaired as they are."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(12, 6))
    options: dict[str, Any] = {"plain_types": True, "string_ids": True, "compression": "small"}
    slaf.convert(source, tmp_path / "out.slaf", chunk_size=4, **options)
    made = Original([source], tmp_path / "out.slaf")
    for file in proven_files(made.path):
        dataset = made.copy(tmp_path / "damaged.slaf")
        (dataset / file).unlink()
        slaf.repair(dataset, source)
        made.check(dataset)
        schema = slaf.open(made.path).expression.schema
        assert slaf.open(dataset).expression.schema.equals(schema, check_metadata=True)


@pytest.mark.parametrize("shape", [(0, 4), (5, 0), (5, 4)])
def test_without_entries(shape: tuple[int, int], tmp_path: Path) -> None:
    """A dataset without a single value is repaired too."""
    source = write_h5ad(tmp_path / "in.h5ad", sp.csr_matrix(np.zeros(shape, np.float32)))
    slaf.convert(source, tmp_path / "out.slaf")
    made = Original([source], tmp_path / "out.slaf")
    for file in proven_files(made.path):
        dataset = made.copy(tmp_path / "damaged.slaf")
        (dataset / file).unlink()
        slaf.repair(dataset, source)
        made.check(dataset)


def test_datasets_of_before(dataset: Path, original: Original) -> None:
    """Where nothing was noted of files, nothing is called damaged, and nothing is touched."""
    config = json.loads((dataset / "config.json").read_bytes())
    del config["proof"]
    (dataset / "config.json").write_bytes(with_checksum(config))
    before = tree(dataset)
    with pytest.raises(DamagedDataset, match="without checksums of files"):
        slaf.repair(dataset, original.inputs)
    assert tree(dataset) == before


def test_what_was_added_to_a_dataset_of_before(tmp_path: Path) -> None:
    """Of a dataset that has grown, what was written before stays unknown; the rest is repaired."""
    first, second, _ = shuffled_inputs(tmp_path)
    path = tmp_path / "out.slaf"
    slaf.convert(first, path, chunk_size=3)
    config = json.loads((path / "config.json").read_bytes())
    del config["proof"]
    (path / "config.json").write_bytes(with_checksum(config))
    n_before = len(data_files(path))
    slaf.append(second, path, join="union", chunk_size=3)
    known = [file for file in proven_files(path) if "expression.lance/data" in file]
    assert len(known) == len(data_files(path)) - n_before
    assert f"{n_before} have none" in slaf.verify(path).checks[0]
    made = Original([first, second], path)
    for file in proven_files(path):
        dataset = made.copy(tmp_path / "damaged.slaf")
        (dataset / file).unlink()
        if "expression.lance/_versions" in file:
            with pytest.raises(DamagedDataset, match="the version of expression is damaged, and"):
                slaf.repair(dataset, made.inputs)
        else:
            slaf.repair(dataset, made.inputs)
            made.check(dataset)
            assert f"{n_before} have none" in slaf.verify(dataset).checks[0]


def test_an_unfinished_append(tmp_path: Path) -> None:
    """A run that is unfinished there is named, and discarded only when that is asked for."""
    first, second, _ = shuffled_inputs(tmp_path)
    path = tmp_path / "out.slaf"
    slaf.convert(first, path, chunk_size=3)
    expected = output_of(path)
    with pytest.raises(Crash):
        slaf.append(second, CrashingStorage(path, 8), join="union", chunk_size=3)
    data_files(path)[0].unlink()
    with pytest.raises(UnfinishedRun, match="an unfinished append is there"):
        slaf.repair(path, first)
    slaf.repair(path, first, restart=True)
    assert output_of(path) == expected
    assert not unaccounted(path)


def test_an_unfinished_repair(dataset: Path, original: Original, tmp_path: Path) -> None:
    """An append is refused while a repair is unfinished, which `slaf.status` tells."""
    data_files(dataset)[0].unlink()
    with pytest.raises(Crash):
        slaf.repair(CrashingStorage(dataset, 8), original.inputs)
    found = slaf.status(dataset)
    assert (found.operation, found.parts, found.published) == ("repair", 1, True)
    plain = write_h5ad(tmp_path / "plain.h5ad", counts(12, 6))
    slaf.convert(plain, tmp_path / "plain.slaf", chunk_size=4)
    for file in (tmp_path / "plain.slaf").rglob("*.txn"):
        file.unlink()
    with pytest.raises(Crash):
        slaf.repair(CrashingStorage(tmp_path / "plain.slaf", 8))
    with pytest.raises(UnfinishedRun, match="an unfinished repair is there"):
        slaf.append(plain, tmp_path / "plain.slaf", allow_duplicate=True)


def test_more_damage_since(dataset: Path, original: Original) -> None:
    """What was damaged after a repair was stopped is repaired as well."""
    first, second, _ = data_files(dataset)
    first.unlink()
    with pytest.raises(Crash):
        slaf.repair(CrashingStorage(dataset, 10), original.inputs)
    second.unlink()
    data_files(dataset, "layers")[0].unlink()
    repaired = slaf.repair(dataset, original.inputs)
    assert repaired.parts == ((0, 4), (4, 8))
    original.check(dataset)


def test_repaired_by_hand_since(dataset: Path, original: Original) -> None:
    """A repair that is unfinished ends where nothing is damaged any more."""
    first = data_files(dataset)[0]
    content = first.read_bytes()
    first.unlink()
    with pytest.raises(Crash):
        slaf.repair(CrashingStorage(dataset, 10), original.inputs)
    first.write_bytes(content)
    assert not slaf.repair(dataset).damaged
    assert slaf.status(dataset).state == "finished"
    original.check(dataset)


def test_one_writer(dataset: Path, original: Original) -> None:
    """Nothing is repaired while another process writes."""
    data_files(dataset)[0].unlink()
    with Location(dataset).lock(), pytest.raises(Locked):
        slaf.repair(dataset, original.inputs)


def test_workers(dataset: Path, original: Original) -> None:
    """Parts may be written by several threads, in any order."""
    for table in ("expression", "layers", "raw"):
        for file in data_files(dataset, table):
            file.unlink()
    repaired = slaf.repair(dataset, original.inputs, workers=2)
    assert repaired.parts == ((0, 4), (4, 8), (8, 12))
    original.check(dataset)


def test_a_row_that_was_deleted(dataset: Path) -> None:
    """Another program's commit is not damage to files: `verify` finds it, and repair leaves it."""
    lance.dataset(dataset / "expression.lance").delete("cell_integer_id = 3")
    assert not slaf.repair(dataset).damaged
