"""Small fragments are merged in the order of their rows, and nothing else of a dataset changes."""

from __future__ import annotations

import json
import shutil
from itertools import count
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

import slaf
from slaf.conversion import compact as compaction
from slaf.errors import DamagedDataset, SelectionError, UnfinishedRun
from slaf.format.validation import with_checksum
from slaf.testing.crashing import Crash, CrashingStorage, Moment
from tests.builders import counts, write_h5ad
from tests.conversion.cases import slots
from tests.conversion.outputs import output_of, tree, unaccounted

if TYPE_CHECKING:
    from pathlib import Path

    from slaf.options import Compression

N_CELLS, N_GENES = 12, 6


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fragments of 60 rows are large."""
    monkeypatch.setattr(compaction, "PART_NONZEROS", 60)


def appended(folder: Path, *, cells: list[int], beside: bool = False) -> tuple[Path, list[Path]]:
    """A dataset of several inputs, one appended after the other."""
    inputs = []
    for at, n_cells in enumerate(cells):
        held: dict[str, Any] = slots(counts(N_CELLS, N_GENES, seed=at)) if beside else {}
        matrix = counts(N_CELLS if beside else n_cells, N_GENES, seed=at)
        inputs.append(write_h5ad(folder / f"{at}.h5ad", matrix, **held))
    output = folder / "out.slaf"
    slaf.convert(inputs[0], output, create_indices=True)
    for one in inputs[1:]:
        slaf.append(one, output, allow_duplicate=True)
    return output, inputs


def rows_of(path: Path) -> dict[str, list[int]]:
    """The rows of each fragment."""
    return output_of(path).rows


def check_same(path: Path, before: Any) -> None:
    """The tables are what they were, and nothing else is there."""
    after = output_of(path)
    assert after.tables == before.tables
    assert after.indices == before.indices
    assert after.files == before.files
    changing = {"proof"}
    assert {k: v for k, v in after.config.items() if k not in changing} == {
        k: v for k, v in before.config.items() if k not in changing
    }
    assert not unaccounted(path)


@pytest.mark.parametrize("beside", [False, True])
def test_neighbours_are_merged(beside: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Of many fragments few become, with the same rows; the proof is of the new files."""
    output, inputs = appended(tmp_path, cells=[5] * 10, beside=beside)
    before, rows = output_of(output), rows_of(output)
    compacted = slaf.compact(output)
    after = rows_of(output)
    assert len(after["expression"]) < len(rows["expression"]) == 10
    assert sum(after["expression"]) == sum(rows["expression"])
    assert all(n >= 60 for n in after["expression"][:-1])
    assert compacted.before["expression"] == 10
    assert compacted.after == {name: len(after[name]) for name in compacted.after}
    check_same(output, before)
    slaf.verify(output, against=inputs)
    found = tree(output)
    again = slaf.compact(output)
    assert (again.before, again.cells) == (compacted.after, 0)
    assert tree(output) == found
    slaf.repair(output)


def test_what_is_large_stays(tmp_path: Path) -> None:
    """A fragment that is large enough keeps its file; those beside it are merged."""
    output, _ = appended(tmp_path, cells=[5, 5, 90, 5, 5])
    before = output_of(output)
    large = [max(rows_of(output)["expression"])]
    files = {path.name for path in (output / "expression.lance/data").iterdir()}
    slaf.compact(output)
    assert [n for n in rows_of(output)["expression"] if n > 60] == large
    assert len(files & {path.name for path in (output / "expression.lance/data").iterdir()}) == 1
    assert len(rows_of(output)["expression"]) == 3
    check_same(output, before)


def test_it_can_be_added_to(tmp_path: Path) -> None:
    """An append to what was merged, and another merge, give what one conversion gives."""
    output, inputs = appended(tmp_path, cells=[5] * 4, beside=True)
    slaf.compact(output)
    more = write_h5ad(tmp_path / "more.h5ad", counts(7, N_GENES, seed=9))
    slaf.append(more, output)
    slaf.compact(output, workers=2)
    whole = slaf.convert([*inputs, more], tmp_path / "whole.slaf", create_indices=True)
    assert output_of(output).tables == output_of(whole.location.path).tables
    slaf.verify(output, against=[*inputs, more])


def test_blank_cells(tmp_path: Path) -> None:
    """Inputs without a value, and without a cell, are in the way of nothing."""
    inputs = [
        write_h5ad(tmp_path / "a.h5ad", counts(5, N_GENES)),
        write_h5ad(tmp_path / "b.h5ad", counts(4, N_GENES) * 0),
        write_h5ad(tmp_path / "c.h5ad", counts(0, N_GENES)),
        write_h5ad(tmp_path / "d.h5ad", counts(6, N_GENES, seed=3)),
    ]
    output = tmp_path / "out.slaf"
    slaf.convert(inputs[0], output)
    for one in inputs[1:]:
        slaf.append(one, output)
    before = output_of(output)
    slaf.compact(output)
    assert len(rows_of(output)["expression"]) == 1
    check_same(output, before)
    slaf.verify(output, against=inputs)


@pytest.mark.parametrize(
    ("moment", "step"),
    [(Moment.BEFORE, 6), *(pytest.param(m, 1, marks=pytest.mark.slow) for m in Moment)],
)
def test_stopped_at_every_effect(moment: Moment, step: int, tmp_path: Path) -> None:
    """Stopped anywhere, the dataset is what it was, and the same call finishes the work."""
    output, _ = appended(tmp_path, cells=[5] * 5)
    before = output_of(output)
    whole = tmp_path / "whole.slaf"
    shutil.copytree(output, whole)
    slaf.compact(whole)
    for at in count(0, step):
        stopped = tmp_path / f"{at}.slaf"
        shutil.copytree(output, stopped)
        try:
            slaf.compact(CrashingStorage(stopped, at, moment))
        except Crash:
            assert output_of(stopped).tables == before.tables
            slaf.verify(stopped)
            slaf.compact(stopped)
        else:
            break
        assert rows_of(stopped) == rows_of(whole)
        check_same(stopped, before)
    assert at > 10


def test_another_unfinished_run(tmp_path: Path) -> None:
    """An append that was stopped is not given up for it, unless it is asked to."""
    output, _ = appended(tmp_path, cells=[5] * 5)
    before = output_of(output)
    more = write_h5ad(tmp_path / "more.h5ad", counts(7, N_GENES, seed=9))
    with pytest.raises(Crash):
        slaf.append(more, CrashingStorage(output, 9))
    with pytest.raises(UnfinishedRun, match="an unfinished append is there"):
        slaf.compact(output)
    slaf.compact(output, restart=True)
    check_same(output, before)


def test_damage_is_not_merged(tmp_path: Path) -> None:
    """What is not what was written is refused, and stays where it is."""
    output, _ = appended(tmp_path, cells=[5] * 5)
    config = json.loads((output / "config.json").read_bytes())
    config["blocks"][2]["digest"] = "0" * 32
    damaged = with_checksum(config, indent=1)
    (output / "config.json").write_bytes(damaged)
    before = np.sort(list((output / "expression.lance/data").iterdir()))
    with pytest.raises(DamagedDataset, match="cells 10 to 15"):
        slaf.compact(output)
    assert np.array_equal(np.sort(list((output / "expression.lance/data").iterdir())), before)
    assert (output / "config.json").read_bytes() == damaged


# ------------------------------------------------------------------------------ another compression


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset with layers, raw, a copy by gene, and a count that needs uint32."""
    folder = tmp_path_factory.mktemp("stored")
    matrix = counts(N_CELLS, N_GENES)
    matrix.data[-1] = 70_000
    source = write_h5ad(folder / "in.h5ad", matrix, **slots(matrix))
    slaf.convert(source, folder / "out.slaf", by_gene=True, create_indices=True, chunk_size=5)
    return folder


def storage_of(path: Path) -> Any:
    """The recorded storage options."""
    return slaf.open(path).published.checksums.storage


def content_of(path: Path) -> Any:
    """The tables of a dataset, whatever the types of their positions and values."""
    output = output_of(path)
    return {
        name: {column: table[column].to_pylist() for column in table.column_names}
        for name, table in output.tables.items()
    }


def test_every_compression_and_back(stored: Path, tmp_path: Path) -> None:
    """Tables have the columns that a conversion with this compression makes, the copy by gene too,
    and the same content; only the proof, types and versions of config.json differ.
    """
    output, source = tmp_path / "out.slaf", stored / "in.h5ad"
    shutil.copytree(stored / "out.slaf", output)
    content = content_of(output)
    for compression in ("fast", "small", "fast", "balanced"):
        compacted = slaf.compact(output, compression=compression, workers=2)
        fresh = tmp_path / "fresh.slaf"
        slaf.convert(
            source,
            fresh,
            by_gene=True,
            create_indices=True,
            chunk_size=5,
            compression=compression,
            overwrite=True,
        )
        after, expected = output_of(output), output_of(fresh)
        assert compacted.cells == N_CELLS
        assert content_of(output) == content
        assert {name: one.schema for name, one in after.tables.items()} == {
            name: one.schema for name, one in expected.tables.items()
        }
        own = {"proof", "created_at", "last_updated", "history"}
        assert {k: v for k, v in after.config.items() if k not in own} == {
            k: v for k, v in expected.config.items() if k not in own
        }
        assert storage_of(output) == storage_of(fresh)
        assert after.indices == expected.indices
        assert not unaccounted(output)
        slaf.verify(output, against=source)
    again = tree(output)
    assert slaf.compact(output, compression="balanced").cells == 0
    assert tree(output) == again


def test_sums_beyond_the_type_of_the_input(tmp_path: Path) -> None:
    """Sums that the type of the input does not hold are read in one type by every compression."""
    repeated = sp.csr_matrix(
        (np.array([200, 100], np.uint8), np.array([1, 1]), np.array([0, 2])), shape=(1, 3)
    )
    adata = anndata.AnnData(repeated, layers={"same": repeated})
    names: tuple[Compression, ...] = ("fast", "balanced", "small")
    outputs = {name: tmp_path / f"{name}.slaf" for name in names}
    for name, output in outputs.items():
        dataset = slaf.convert(adata, output, compression=name)
        assert dataset.X.to_memory().dtype == dataset.layers["same"].to_memory().dtype == np.uint16
        assert dataset.X.to_memory().toarray().tolist() == [[0, 300, 0]]
        assert slaf.diff(dataset, outputs["fast"]).ok
        for other in names[::-1]:
            slaf.compact(output, compression=other)
            assert slaf.verify(output, against=adata).ok


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_stopped_while_it_changes(stored: Path, step: int, tmp_path: Path) -> None:
    """Stopped anywhere, the dataset is what it was, and the same call finishes the work."""
    content = content_of(stored / "out.slaf")
    for at in count(3, step):
        stopped = tmp_path / f"{at}.slaf"
        shutil.copytree(stored / "out.slaf", stopped)
        try:
            slaf.compact(CrashingStorage(stopped, at), compression="small")
        except Crash:
            assert content_of(stopped) == content
            slaf.verify(stopped)
            slaf.compact(stopped, compression="small")
        else:
            break
        assert storage_of(stopped).compression == "small"
        assert content_of(stopped) == content
        assert not unaccounted(stopped)
        slaf.verify(stopped)
    assert at > 20


def test_an_unfinished_change_is_not_another_one(stored: Path, tmp_path: Path) -> None:
    """A change that was stopped is finished by its own call only."""
    output = tmp_path / "out.slaf"
    shutil.copytree(stored / "out.slaf", output)
    with pytest.raises(Crash):
        slaf.compact(CrashingStorage(output, 9), compression="small")
    with pytest.raises(UnfinishedRun, match="option compression was small and is"):
        slaf.compact(output, compression="fast")
    with pytest.raises(ValueError, match="compression is 'tiny'"):
        slaf.compact(output, compression="tiny")  # type: ignore[arg-type]
    slaf.compact(output, compression="small")
    slaf.verify(output)


def test_what_is_added_has_the_new_compression(stored: Path, tmp_path: Path) -> None:
    """An append after it keeps types and codecs, and repairs come out the same."""
    output = tmp_path / "out.slaf"
    shutil.copytree(stored / "out.slaf", output)
    slaf.compact(output, compression="small")
    schemas = {name: one.schema for name, one in output_of(output).tables.items()}
    more = write_h5ad(tmp_path / "more.h5ad", counts(7, N_GENES, seed=9))
    slaf.append(more, output)
    after = {name: one.schema for name, one in output_of(output).tables.items()}
    assert {name: after[name] for name in ("expression", "raw", "layers")} == {
        name: schemas[name] for name in ("expression", "raw", "layers")
    }
    victim = max((output / "expression.lance/data").iterdir())
    victim.write_bytes(b"damaged")
    slaf.repair(output, [stored / "in.h5ad", more])
    slaf.verify(output, against=[stored / "in.h5ad", more])


def test_an_open_dataset(stored: Path, tmp_path: Path) -> None:
    """It takes the dataset itself, as annotate and remove do, and no view of a part of it."""
    dataset = slaf.open(shutil.copytree(stored / "out.slaf", tmp_path / "out.slaf"))
    with pytest.raises(SelectionError, match="a view of a part of it; compact changes the tables"):
        slaf.compact(dataset[:2])
    assert slaf.compact(dataset).dataset == str(dataset.location)
