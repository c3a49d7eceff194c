"""More cells for a dataset: the same as if they had been there from the first, or nothing."""

from __future__ import annotations

import copy
import logging
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from msgspec import structs

import slaf
from slaf.errors import (
    ConversionInProgress,
    DamagedInput,
    DuplicateInput,
    GeneMismatch,
    InexactValue,
    InputError,
    Locked,
    MissingMatrix,
    NotADataset,
    UnfinishedRun,
    UnknownFormat,
)
from slaf.runs.output_run import OutputRun
from slaf.storage.location import Location
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import counts, write_h5ad, write_stored
from tests.conversion.outputs import finished_parts, output_of, tree, unaccounted
from tests.conversion.process import ConvertingProcess
from tests.conversion.stopped import Conversion
from tests.conversion.test_progress import Counter, Stopped
from tests.formats.builders import Mtx, write_v3
from tests.formats.test_laws import STORED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from slaf.dataset.dataset import Dataset
    from tests.conversion.outputs import Output

N_CELLS, N_GENES = 12, 6
TABLES = ("cells", "genes", "expression")
N_RACES = 20


def files(folder: Path, count: int, n_cells: int = N_CELLS, n_genes: int = N_GENES) -> list[Path]:
    """So many inputs of the same genes, each with cells of its own."""
    return [
        write_h5ad(folder / f"{at}.h5ad", counts(n_cells + at % 2, n_genes, seed=at))
        for at in range(count)
    ]


def content(path: Path) -> dict[str, bytes | None]:
    """Every file at this path, and what is in it."""
    return {name: held for name, (_, held) in tree(path).items()}


def assert_alike(grown: Dataset, whole: Dataset) -> None:
    """Compare all that two ways to one dataset must agree in."""
    for name in TABLES:
        ours, theirs = grown.table(name).to_table(), whole.table(name).to_table()
        assert ours.schema.equals(theirs.schema, check_metadata=True), name
        assert ours.equals(theirs), name
    one, other = (
        structs.replace(
            found.published,
            versions={},
            metadata=structs.replace(found.published.metadata, expression_stats={}),
            created_at="",
            last_updated="",
            history=(),
            checksums=structs.replace(found.published.checksums, files=()),
        )
        for found in (grown, whole)
    )
    assert one == other
    for name, value in whole.published.expression_stats.items():
        assert grown.published.expression_stats[name] == pytest.approx(value)


def holding(path: Path, value: Any, dtype: str, *, seed: int = 5) -> Path:
    """An input whose last entry is this value."""
    matrix = counts(N_CELLS, N_GENES, seed=seed).toarray().astype(dtype)
    matrix[-1, -1] = value
    return write_h5ad(path, sp.csr_matrix(matrix))


def damage(path: Path) -> None:
    """Make a file that opens, and of which the last entries cannot be read."""
    with h5py.File(path, "r+") as file:
        genes = file["X/indices"][:]
        del file["X/indices"]
        packed = file["X"].create_dataset("indices", data=genes, chunks=(4,), compression="gzip")
        offset = packed.id.get_chunk_info(packed.id.get_num_chunks() - 1).byte_offset
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 4)


def test_ten_appends_are_one_conversion(tmp_path: Path) -> None:
    """Ten appends of 1,000 cells give the tables of one conversion of the ten files."""
    inputs = files(tmp_path, 10, n_cells=1000, n_genes=40)
    whole = slaf.convert(inputs, tmp_path / "whole.slaf", chunk_size=400)
    grown = slaf.convert(inputs[0], tmp_path / "grown.slaf", chunk_size=400)
    for path in inputs[1:]:
        grown = slaf.append(path, tmp_path / "grown.slaf", chunk_size=400)
    assert grown.n_cells == 10_005
    assert_alike(grown, whole)
    assert slaf.verify(grown, against=inputs).ok
    assert unaccounted(tmp_path / "grown.slaf") == set()
    assert output_of(tmp_path / "grown.slaf").rows == output_of(tmp_path / "whole.slaf").rows


def test_several_at_a_time(tmp_path: Path) -> None:
    """Inputs of several formats, added two by two, are one conversion of all."""
    inputs: list[Any] = [
        write_stored(tmp_path / "rows.h5ad", STORED),
        write_v3(tmp_path / "v3.h5", STORED),
        Mtx(order="shuffled").write(tmp_path / "mtx", STORED),
        write_stored(tmp_path / "columns.h5ad", STORED, "csc"),
        write_stored(tmp_path / "dense.h5ad", STORED, "dense"),
    ]
    whole = slaf.convert(inputs, tmp_path / "whole.slaf", chunk_size=4)
    slaf.convert(inputs[:1], tmp_path / "grown.slaf", chunk_size=4)
    slaf.append(inputs[1:3], tmp_path / "grown.slaf", chunk_size=4)
    grown = slaf.append(inputs[3:], tmp_path / "grown.slaf", chunk_size=4, workers=2)
    assert_alike(grown, whole)
    slaf.verify(grown, against=inputs)


def test_two_processes_race(tmp_path: Path) -> None:
    """Two processes that append at once, again and again, lose no cell and double none."""
    first, *more = (
        write_h5ad(tmp_path / f"{at}.h5ad", counts(5, N_GENES, seed=at))
        for at in range(2 * N_RACES + 1)
    )
    output = tmp_path / "out.slaf"
    slaf.convert(first, output)
    ours, theirs = more[::2], more[1::2]
    racers = [
        ConvertingProcess(mine[0], output, {}, appends=True, then=mine[1:])
        for mine in (ours, theirs)
    ]
    for pair in zip(ours, theirs, strict=True):
        for racer in racers:
            racer.go()
        for racer, path in zip(racers, pair, strict=True):
            said = racer.says()
            assert said in {"done", "Locked"}
            if said == "Locked":
                # Whoever won may still be at it, and is waited for.
                again(path, output)
    assert [racer.wait() for racer in racers] == [0, 0]
    dataset = slaf.open(output)
    assert sorted(source.uri for source in dataset.sources) == sorted(map(str, [first, *more]))
    assert dataset.n_cells == 5 * (2 * N_RACES + 1)
    slaf.verify(dataset, against=[source.uri for source in dataset.sources])
    assert unaccounted(output) == set()


def again(path: Path, output: Path) -> None:
    """Append until no other process is in the way."""
    while True:
        try:
            slaf.append(path, output)
        except Locked:
            continue
        return


@pytest.mark.parametrize(
    ("steps", "types"),
    [
        ([(3, "f4"), (70_000, "f4"), (0.5, "f4"), (0.1, "f8")], "uint16 uint32 float32 float64"),
        ([(3, "i4"), (-1, "i4"), (2**40, "i8"), (2**53 + 1, "i8")], "uint16 int32 int64 int64"),
        ([(0.5, "f4"), (3, "i4"), (2**24 + 1, "i4"), (4, "u2")], "float32 float32 float64 float64"),
    ],
)
def test_value_types_widen(steps: list[tuple[Any, str]], types: str, tmp_path: Path) -> None:
    """Each append that needs it widens all values, every one of which stays what it was."""
    inputs = [
        holding(tmp_path / f"{at}.h5ad", value, dtype, seed=at)
        for at, (value, dtype) in enumerate(steps)
    ]
    output = tmp_path / "grown.slaf"
    for at, expected in enumerate(types.split()):
        if at:
            dataset = slaf.append(inputs[at], output, chunk_size=5)
        else:
            dataset = slaf.convert(inputs[at], output, chunk_size=5)
        assert dataset.published.value_type == expected
        assert slaf.verify(dataset, against=inputs[: at + 1]).ok
        assert unaccounted(output) == set()
    assert_alike(dataset, slaf.convert(inputs, tmp_path / "whole.slaf", chunk_size=5))


OPTIONS: list[dict[str, Any]] = [
    {"compression": "fast"},
    {"compression": "small", "create_indices": True},
    {"plain_types": True},
    {"string_ids": True, "compression": "fast"},
    {"plain_types": True, "string_ids": True, "create_indices": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("value", [7, 0.1], ids=["as it is", "all again"])
def test_it_stays_stored_as_it_was(value: float, options: dict[str, Any], tmp_path: Path) -> None:
    """What is added is stored as the dataset is, also where all of it is written again."""
    inputs = [*files(tmp_path, 1), holding(tmp_path / "more.h5ad", value, "f8")]
    whole = slaf.convert(inputs, tmp_path / "whole.slaf", **options)
    slaf.convert(inputs[0], tmp_path / "grown.slaf", **options)
    grown = slaf.append(inputs[1], tmp_path / "grown.slaf")
    assert_alike(grown, whole)
    found, expected = (output_of(tmp_path / name) for name in ("grown.slaf", "whole.slaf"))
    assert found.indices == expected.indices
    slaf.verify(grown, against=inputs)


@pytest.mark.parametrize("indexed", [False, True])
def test_values_for_a_dataset_without_any(indexed: Any, tmp_path: Path) -> None:
    """A dataset of no values has no index to go by, and still gets those that it asked for."""
    blank = write_h5ad(tmp_path / "blank.h5ad", sp.csr_matrix(np.zeros((4, N_GENES), np.float32)))
    inputs = [blank, *files(tmp_path, 2)]
    whole = slaf.convert(inputs, tmp_path / "whole.slaf", create_indices=indexed)
    slaf.convert(blank, tmp_path / "grown.slaf", create_indices=indexed)
    for path in inputs[1:]:
        grown = slaf.append(path, tmp_path / "grown.slaf")
    assert_alike(grown, whole)
    found, expected = (output_of(tmp_path / name) for name in ("grown.slaf", "whole.slaf"))
    assert found.indices == expected.indices
    assert "cell_integer_id" in found.indices["expression"]


def test_every_row_is_in_the_index(tmp_path: Path) -> None:
    """The indices of a dataset cover all of its rows, however often it was added to."""
    inputs = files(tmp_path, 4)
    slaf.convert(inputs[0], tmp_path / "out.slaf", create_indices=True)
    for path in inputs[1:]:
        table = slaf.append(path, tmp_path / "out.slaf").expression
    fragments = {fragment.fragment_id for fragment in table.get_fragments()}
    for found in table.describe_indices():
        covered = [at for segment in found.segments for at in segment.fragment_ids]
        assert sorted(covered) == sorted(fragments)
    for gene in range(N_GENES):
        where = f"gene_integer_id = {gene}"
        indexed = table.to_table(filter=where)
        assert indexed.num_rows == table.scanner(filter=where, use_scalar_index=False).count_rows()


def refused_genes(folder: Path) -> list[Path]:
    """Genes that the dataset has not."""
    return [folder / "1.h5ad", write_h5ad(folder / "more.h5ad", counts(3, N_GENES + 2))]


def refused_file(folder: Path) -> list[Path]:
    """In the middle a file that is none of a known format."""
    (folder / "broken.h5ad").write_bytes(b"not HDF5")
    return [folder / "1.h5ad", folder / "broken.h5ad", folder / "2.h5ad"]


def refused_known(folder: Path) -> list[Path]:
    """The input that it was made of."""
    return [folder / "1.h5ad", folder / "0.h5ad"]


def refused_copy(folder: Path) -> list[Path]:
    """A copy of it."""
    shutil.copy(folder / "0.h5ad", folder / "copy.h5ad")
    return [folder / "copy.h5ad"]


def refused_twice(folder: Path) -> list[Path]:
    """The same input twice."""
    return [folder / "1.h5ad", folder / "2.h5ad", folder / "1.h5ad"]


def refused_value(folder: Path) -> list[Path]:
    """At last a value that no type holds beside the others."""
    return [folder / "1.h5ad", holding(folder / "huge.h5ad", 2**64 - 1, "u8")]


def refused_column(folder: Path) -> list[Path]:
    """A column of another kind."""
    path = folder / "column.h5ad"
    adata = anndata.read_h5ad(folder / "1.h5ad")
    adata.obs["depth"] = pd.Categorical(["deep"] * adata.n_obs)
    adata.write_h5ad(path)
    return [folder / "2.h5ad", path]


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (
            refused_genes,
            GeneMismatch,
            r"more\.h5ad: its genes are not those of .*(out\.slaf|0\.h5ad)",
        ),
        (refused_file, UnknownFormat, r"broken\.h5ad"),
        (refused_known, DuplicateInput, r"0\.h5ad: the same input is there already"),
        (refused_copy, DuplicateInput, r"copy\.h5ad: the same input is there as .*0\.h5ad"),
        (refused_twice, DuplicateInput, r"1\.h5ad: the same input is there already"),
        (refused_value, InexactValue, r"huge\.h5ad: X holds 18446744073709551615 at cell 11"),
        (refused_column, InputError, r"column 'depth' is of float64 in .*categories \[deep\]"),
    ],
)
def test_what_is_refused_changes_nothing(
    bad: Callable[[Path], Sequence[Path]], error: type[Exception], message: str, tmp_path: Path
) -> None:
    """An append that is refused leaves the dataset byte for byte as it was."""
    files(tmp_path, 3)
    output = tmp_path / "out.slaf"
    slaf.convert(tmp_path / "0.h5ad", output, chunk_size=5)
    wrong = list(bad(tmp_path))
    before = content(output)
    for workers in (0, 2):
        with pytest.raises(error, match=message):
            slaf.append(wrong, output, chunk_size=4, workers=workers)
        assert content(output) == before
    with pytest.raises(error, match=message):
        slaf.convert([tmp_path / "0.h5ad", *wrong], tmp_path / "new.slaf")
    assert not (tmp_path / "new.slaf").exists()


def test_choices_that_are_refused(tmp_path: Path) -> None:
    """A matrix that an input has not, and genes taken from the dataset, are refused."""
    inputs = files(tmp_path, 2)
    output = tmp_path / "out.slaf"
    slaf.convert(inputs[0], output)
    before = tree(output)
    with pytest.raises(MissingMatrix, match=r"layer:none.*1\.h5ad"):
        slaf.append(inputs[1], output, matrix="layer:none")
    choice: dict[str, Any] = {"join": "intersection"}
    with pytest.raises(ValueError, match="join is 'intersection', but it is one of strict, union"):
        slaf.append(inputs[1], output, **choice)
    with pytest.raises(InputError, match="there is no input"):
        slaf.append([], output)
    assert tree(output) == before


@pytest.mark.parametrize("appends", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_file_that_is_mended(appends: Any, workers: int, tmp_path: Path) -> None:
    """The run stops with the name of a damaged file, and is resumed once that is mended."""
    inputs = files(tmp_path, 4)
    good = inputs[2].read_bytes()
    found, before = None, None
    added = inputs
    if appends:
        found, before, added = tmp_path / "old.slaf", inputs[:1], inputs[1:]
        slaf.convert(before, found, chunk_size=4)
    conversion = Conversion(
        added[0], {"chunk_size": 4, "workers": workers}, found, before, added[1:]
    )
    expected = conversion.uninterrupted(tmp_path / "whole.slaf")
    damage(inputs[2])
    output = conversion.prepare(tmp_path / "out.slaf")
    with pytest.raises(DamagedInput, match=r"2\.h5ad.* parts are kept: repair it"):
        conversion.run(output)
    conversion.check_stopped(output, expected)
    # Neither another attempt nor one that is stopped changes what may be repaired.
    with pytest.raises((Crash, DamagedInput)):
        conversion.run(CrashingStorage(output, 3))
    with pytest.raises(DamagedInput, match=r"2\.h5ad.* parts are kept: repair it"):
        conversion.run(output)
    kept = finished_parts(output)
    assert len(kept) >= (4 if appends else 7)
    inputs[2].write_bytes(good)
    conversion.finish(output, replace(expected, config=as_of(expected, inputs[2])))


def test_damaged_files_of_two_attempts(tmp_path: Path) -> None:
    """A file that an attempt found damaged may be mended after another attempt found another."""
    inputs = files(tmp_path, 4)
    good = [path.read_bytes() for path in inputs]
    output = tmp_path / "out.slaf"
    damage(inputs[2])
    with pytest.raises(DamagedInput, match=r"2\.h5ad"):
        slaf.convert(inputs, output, chunk_size=4)
    # As an attempt of several workers does that reaches this file before the other.
    run = OutputRun.planned(Location(output))
    of_last = [at for at in run.remaining() if run.plan.source_index(run.plan.parts[at].start) == 3]
    assert run.keep_without(of_last)
    for path, content in zip(inputs[2:], good[2:], strict=True):
        path.write_bytes(content)
    assert slaf.verify(slaf.convert(inputs, output, chunk_size=4), against=inputs).ok


def as_of(expected: Output, path: Path) -> dict[str, Any]:
    """What config.json says, but that a file was written at another time."""
    config = copy.deepcopy(expected.config)
    (record,) = (one for one in config["sources"] if one["uri"] == str(path))
    record["identity"]["mtime_ns"] = path.stat().st_mtime_ns
    return config


def test_a_file_that_is_changed_without_having_been_damaged(tmp_path: Path) -> None:
    """A run that was stopped is not resumed with another input, be it read by then or not."""
    inputs = files(tmp_path, 3)
    output = tmp_path / "out.slaf"
    with pytest.raises(Stopped):
        slaf.convert(inputs, output, chunk_size=4, progress=Counter(stop_at=16))
    for changed in inputs:
        held = changed.read_bytes()
        times = changed.stat().st_atime_ns, changed.stat().st_mtime_ns
        write_h5ad(changed, counts(N_CELLS + (changed == inputs[1]), N_GENES, seed=77))
        with pytest.raises(UnfinishedRun, match=f"input {changed} was changed since it began"):
            slaf.convert(inputs, output, chunk_size=4)
        changed.write_bytes(held)
        os.utime(changed, ns=times)
    assert slaf.verify(slaf.convert(inputs, output, chunk_size=4), against=inputs).ok


@pytest.mark.parametrize("join", ["strict", "union", "intersection"])
def test_a_file_that_comes_back_with_other_genes(join: str, tmp_path: Path) -> None:
    """A file that is mended into one of other genes is another input."""
    inputs = files(tmp_path, 3)
    output = tmp_path / "out.slaf"
    options: dict[str, Any] = {"chunk_size": 4, "join": join}
    damage(inputs[2])
    with pytest.raises(DamagedInput):
        slaf.convert(inputs, output, **options)
    adata = anndata.AnnData(counts(N_CELLS, N_GENES, seed=9))
    adata.var_names = [f"gene-{gene}" for gene in range(1, N_GENES + 1)]
    adata.write_h5ad(inputs[2])
    with pytest.raises(GeneMismatch if join == "strict" else UnfinishedRun):
        slaf.convert(inputs, output, **options)
    if join != "strict":
        dataset = slaf.convert(inputs, output, restart=True, **options)
        assert slaf.verify(dataset, against=inputs).ok


def test_an_anndata_twice(tmp_path: Path) -> None:
    """An AnnData in memory is known again, and one of other values is another."""
    adata = anndata.read_h5ad(files(tmp_path, 1)[0])
    output = tmp_path / "out.slaf"
    slaf.convert(adata, output)
    before = tree(output)
    with pytest.raises(DuplicateInput, match="AnnData"):
        slaf.append(adata.copy(), output)
    with pytest.raises(DuplicateInput, match="AnnData"):
        slaf.append([adata, adata], output)
    assert tree(output) == before
    other = adata.copy()
    other.X = other.X * 2
    dataset = slaf.append(other, output)
    assert dataset.n_cells == 2 * N_CELLS
    slaf.verify(dataset, against=[adata, other])


def test_a_duplicate_that_is_wanted(tmp_path: Path) -> None:
    """The same input is taken again where that is asked for."""
    (path,) = files(tmp_path, 1)
    slaf.convert([path, path], tmp_path / "out.slaf", allow_duplicate=True)
    dataset = slaf.append(path, tmp_path / "out.slaf", allow_duplicate=True)
    assert dataset.n_cells == 3 * N_CELLS
    slaf.verify(dataset, against=[path] * 3)


def test_prefixes(tmp_path: Path) -> None:
    """Cells that are called by their input are told apart from those of all others."""
    paths = []
    for folder in "abc":
        (tmp_path / folder).mkdir()
        paths.append(
            write_h5ad(tmp_path / folder / "in.h5ad", counts(4, N_GENES, seed=ord(folder)))
        )
    slaf.convert(paths[:2], tmp_path / "out.slaf", cell_id_prefix=True)
    dataset = slaf.append(paths[2], tmp_path / "out.slaf", cell_id_prefix=True)
    expected = [f"{folder}_cell-{cell}" for folder in "abc" for cell in range(4)]
    assert list(dataset.obs.index) == expected
    assert dataset.table("cells").to_table().column("source_file").to_pylist() == [
        f"{folder}/in.h5ad" for folder in "abc" for _ in range(4)
    ]
    slaf.verify(dataset, against=paths)


def test_progress(tmp_path: Path) -> None:
    """What is added is counted, or all cells where all are written again."""
    inputs = [*files(tmp_path, 2), holding(tmp_path / "half.h5ad", 0.5, "f4")]
    output = tmp_path / "out.slaf"
    before = slaf.convert(inputs[0], output, chunk_size=4)
    watch = Counter()
    after = slaf.append(inputs[1], output, chunk_size=4, progress=watch)
    n_cells = after.n_cells - before.n_cells
    assert watch.begun == [(0, 0, n_cells)]
    assert (watch.cells, watch.nonzeros) == (n_cells, after.nnz - before.nnz)
    widened = slaf.append(inputs[2], output, chunk_size=4, progress=(watch := Counter()))
    assert watch.begun == [(0, 0, N_CELLS), (0, 0, widened.n_cells)]
    assert (watch.cells, watch.nonzeros) == (widened.n_cells, widened.nnz)


def test_a_resumed_append_begins_where_it_was_stopped(tmp_path: Path) -> None:
    """The parts that are done count as done, are written once, and readers see none of them."""
    inputs = files(tmp_path, 3)
    output = tmp_path / "out.slaf"
    slaf.convert(inputs[0], output, chunk_size=4)
    before = output_of(output)
    with pytest.raises(Stopped):
        slaf.append(inputs[1:], output, chunk_size=4, progress=Counter(stop_at=16))
    assert output_of(output) == before
    assert slaf.verify(output, against=inputs[0]).ok
    status = slaf.status(output)
    assert (status.operation, status.cells_done, status.n_cells) == ("append", 13, 25)
    with pytest.raises(UnfinishedRun, match="an unfinished append is there"):
        slaf.append(inputs[1], output, chunk_size=4)
    watch = Counter()
    dataset = slaf.append(inputs[1:], output, chunk_size=4, progress=watch)
    assert watch.begun[0][0] == 13
    assert watch.cells == 25
    assert slaf.verify(dataset, against=inputs).ok


def test_another_append_after_one_that_was_stopped(tmp_path: Path) -> None:
    """With `restart` an unfinished append is discarded, and nothing is left of it."""
    inputs = files(tmp_path, 3)
    output = tmp_path / "out.slaf"
    slaf.convert(inputs[0], output, chunk_size=4)
    with pytest.raises(Stopped):
        slaf.append(inputs[1], output, chunk_size=4, progress=Counter(stop_at=8))
    dataset = slaf.append(inputs[2], output, chunk_size=3, restart=True)
    assert slaf.verify(dataset, against=[inputs[0], inputs[2]]).ok
    assert unaccounted(output) == set()


def test_no_dataset_to_add_to(tmp_path: Path) -> None:
    """Where no dataset is, or none yet, nothing is added and nothing is written."""
    first, second = files(tmp_path, 2)
    with pytest.raises(NotADataset):
        slaf.append(first, tmp_path / "none.slaf")
    assert not (tmp_path / "none.slaf").exists()
    with pytest.raises(Crash):
        slaf.convert(first, CrashingStorage(tmp_path / "begun.slaf", at=16), chunk_size=3)
    before = tree(tmp_path / "begun.slaf")
    with pytest.raises(ConversionInProgress, match="conversion in progress"):
        slaf.append(second, tmp_path / "begun.slaf")
    with pytest.raises(ConversionInProgress, match="conversion in progress"):
        slaf.append(second, tmp_path / "begun.slaf", dry_run=True)
    assert tree(tmp_path / "begun.slaf") == before
    with pytest.raises((NotADataset, InputError)):
        slaf.append(tmp_path / "begun.slaf", first)


def test_a_dataset_is_an_input(tmp_path: Path) -> None:
    """The cells of a dataset are added to another, as those of any input."""
    first, second = files(tmp_path, 2)
    slaf.convert(first, tmp_path / "a.slaf")
    slaf.convert(second, tmp_path / "b.slaf")
    dataset = slaf.append(tmp_path / "b.slaf", tmp_path / "a.slaf")
    expected = sp.vstack([anndata.read_h5ad(path).X for path in (first, second)])
    assert (dataset.X.to_memory() != expected).nnz == 0
    assert slaf.verify(dataset, [first, tmp_path / "b.slaf"]).ok


def test_a_folder_of_inputs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder stands for all inputs in it, in the order of their names; the rest is named."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    paths = [
        write_h5ad(folder / "a.h5ad", counts(4, 5, seed=1)),
        Mtx().write(folder / "b", STORED),
        write_v3(folder / "sub" / "c.h5", STORED),
    ]
    (folder / "notes.txt").write_text("not an input")
    with pytest.raises(DuplicateInput, match="all their ids are among"):
        slaf.convert(folder, tmp_path / "out.slaf", join="union")
    with caplog.at_level(logging.INFO, logger="slaf"):
        dataset = slaf.convert(folder, tmp_path / "out.slaf", join="union", allow_duplicate=True)
    assert "notes.txt" in caplog.text
    assert [source.uri for source in dataset.sources] == list(map(str, paths))
    slaf.verify(dataset, against=folder)
    first = write_h5ad(tmp_path / "first.h5ad", counts(3, 5))
    slaf.convert(first, tmp_path / "grown.slaf")
    grown = slaf.append(folder, tmp_path / "grown.slaf", join="union", allow_duplicate=True)
    assert [source.uri for source in grown.sources] == [str(first), *map(str, paths)]
    slaf.verify(grown, against=[first, folder])


@pytest.mark.parametrize("name", ["broken.h5ad", "broken.h5", "broken.loom"])
def test_a_broken_file_in_a_folder(name: str, tmp_path: Path) -> None:
    """A file that is called like an input and is none stops the run; it is never passed over."""
    folder = tmp_path / "in"
    folder.mkdir()
    files(folder, 2)
    (folder / name).write_bytes(b"cut off")
    with pytest.raises(InputError, match=name):
        slaf.convert(folder, tmp_path / "out.slaf")
    assert not (tmp_path / "out.slaf").exists()


def test_a_preview_writes_nothing(tmp_path: Path) -> None:
    """What would be added is told, and what would be refused is refused."""
    inputs = files(tmp_path, 3)
    output = tmp_path / "out.slaf"
    several = slaf.convert(inputs, output, dry_run=True)
    assert not output.exists()
    assert (several.n_cells, several.shared_genes, len(several.sources)) == (37, N_GENES, 3)
    slaf.convert(inputs[0], output)
    before = tree(output)
    found = slaf.append(inputs[1:], output, chunk_size=4, dry_run=True)
    assert tree(output) == before
    assert (found.operation, found.n_cells, found.n_genes) == ("append", 37, N_GENES)
    assert found.parts == 4 + 3
    assert found.size.entries == sum(anndata.read_h5ad(path).X.nnz for path in inputs[1:])
    assert [source.uri for source in found.sources] == list(map(str, inputs[1:]))
    assert "12 cell ids" not in found.notes
    with pytest.raises(DuplicateInput):
        slaf.append(inputs[0], output, dry_run=True)
    with pytest.raises(GeneMismatch):
        slaf.append(write_h5ad(tmp_path / "o.h5ad", counts(2, 9)), output, dry_run=True)
    assert tree(output) == before
    dataset = slaf.append(inputs[1:], output, chunk_size=4)
    assert found.sources == dataset.sources[1:]
