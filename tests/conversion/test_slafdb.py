"""A dataset that slafdb wrote is appended to if it satisfies the format, and else left alone."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import lance
import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

import slaf
from slaf.errors import (
    DamagedDataset,
    DatasetError,
    DuplicateInput,
    InexactValue,
    UnfinishedRun,
    UnsupportedFormat,
)
from slaf.format.schema import FORMAT_VERSION
from slaf.storage.location import Location
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import counts, write_h5ad
from tests.conversion.outputs import output_of, receipts, tree
from tests.conversion.slafdb_datasets import SlafdbFiles, slafdb_files
from tests.conversion.stopped import points

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N_GENES = 6
OLD = counts(9, N_GENES, seed=1)
NEW = counts(7, N_GENES, seed=2)
TABLES = ("expression", "cells", "genes")


@pytest.fixture
def added(tmp_path: Path) -> Path:
    """What is appended."""
    return write_h5ad(tmp_path / "new.h5ad", NEW)


def of_two_files(plain: SlafdbFiles) -> SlafdbFiles:
    """The same, made of two files: as it would be if slafdb had counted the rows of all."""
    files = [
        {"file_path": f"/data/{name}", "file_name": name, "n_cells": n, "cell_offset": offset}
        for name, n, offset in (("a.h5ad", 4, 0), ("b.h5ad", 5, 4))
    ]
    multi = {"source_files": files, "total_files": 2, "total_cells_from_files": 9}
    names = pa.array(["a.h5ad"] * 4 + ["b.h5ad"] * 5)
    told = plain.with_column("cells", "source_file", names).with_config(multi_file=multi)
    return told.without_column("cells", "cell_start_index")


def assert_holds(dataset: slaf.Dataset, *matrices: sp.csr_matrix) -> None:
    """Check that a dataset holds these cells, one below the other."""
    np.testing.assert_array_equal(dataset.X.to_memory().toarray(), sp.vstack(matrices).toarray())


LAYOUTS: dict[str, SlafdbFiles] = {
    "as by default": slafdb_files(OLD),
    "of plain types": slafdb_files(OLD, plain=True),
    "with string ids": slafdb_files(OLD, strings=True),
    "without offsets": slafdb_files(OLD).without_column("cells", "cell_start_index"),
    "of two files": of_two_files(slafdb_files(OLD)),
    "of format 0.4": slafdb_files(OLD).with_config(format_version="0.4"),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_value_is_there_afterwards(layout: SlafdbFiles, added: Path, tmp_path: Path) -> None:
    """What was there and what is added are the dataset, whose tables are ours."""
    path = layout.write(tmp_path / "old.slaf")
    dataset = slaf.append(added, path)
    assert slaf.verify(path).ok
    assert_holds(dataset, OLD, NEW)
    old = [f"old-{cell}" for cell in range(9)]
    assert list(dataset.obs.index) == old + [f"cell-{cell}" for cell in range(7)]
    assert dataset.table("cells").to_table().schema.field("plate").type == pa.int8()
    assert dataset.obs["plate"].tolist()[:9] == list(range(9))
    assert dataset.obs["depth"].isna().tolist() == [cell == 1 for cell in range(16)]
    assert dataset.expression.data_storage_version == "2.1"
    types = dataset.expression.schema.types[-3:]
    found = layout.tables["expression"].schema.types[-3:]
    assert types == found


@pytest.mark.parametrize("n_cells", [0, 3])
@pytest.mark.parametrize(("plain", "strings"), [(False, False), (True, False), (False, True)])
def test_one_that_holds_nothing(
    *, plain: bool, strings: bool, n_cells: int, added: Path, tmp_path: Path
) -> None:
    """A dataset without a nonzero, or without a cell, is added to as well."""
    nothing = sp.csr_matrix(np.zeros((n_cells, N_GENES), np.float32))
    path = slafdb_files(nothing, plain=plain, strings=strings).write(tmp_path / "old.slaf")
    dataset = slaf.append(added, path)
    assert slaf.verify(dataset).ok
    assert_holds(dataset, nothing, NEW)


def test_its_files_are_its_sources(added: Path, tmp_path: Path) -> None:
    """The files that it says it was made of stay told from each other, and from what is added."""
    dataset = slaf.append(added, LAYOUTS["of two files"].write(tmp_path / "old.slaf"))
    assert [(s.uri, s.n_cells, s.offset) for s in dataset.sources] == [
        ("/data/a.h5ad", 4, 0),
        ("/data/b.h5ad", 5, 4),
        (str(added), 7, 9),
    ]
    names = dataset.table("cells").to_table().column("source_file").to_pylist()
    assert names == ["a.h5ad"] * 4 + ["b.h5ad"] * 5 + ["new.h5ad"] * 7
    assert [block.start for block in dataset.published.blocks] == [0, 4, 9]


def test_a_column_of_files_that_are_not_known_is_the_users(added: Path, tmp_path: Path) -> None:
    """Where it does not say of every cell which file it is of, its `source_file` is kept."""
    names = pa.array(["original_data"] * 9)
    path = slafdb_files(OLD).with_column("cells", "source_file", names).write(tmp_path / "old.slaf")
    dataset = slaf.append(added, path)
    assert dataset.obs["source_file"].tolist()[:9] == ["original_data"] * 9
    assert [source.uri for source in dataset.sources] == [str(path), str(added)]


@pytest.mark.parametrize(
    "edited",
    [
        1,
        [1],
        [{"file_path": 1}],
        {"n_cells": 5.0},
        {"n_cells": True},
        {"n_cells": -4},
        {"n_cells": 10**15},
        {"file_name": "c.h5ad"},
        {"file_path": None},
        {"cell_offset": 3},
    ],
    ids=str,
)
def test_files_that_cannot_be_are_none(edited: Any, added: Path, tmp_path: Path) -> None:
    """What was edited of its files is not believed: the dataset itself is what it was made of."""
    layout = LAYOUTS["of two files"]
    files = edited
    if isinstance(edited, dict):
        first, *others = layout.config["multi_file"]["source_files"]
        files = [first | edited, *others]
    path = layout.with_config(multi_file={"source_files": files}).write(tmp_path / "old.slaf")
    dataset = slaf.append(added, path)
    assert [source.uri for source in dataset.sources] == [str(path), str(added)]
    assert_holds(dataset, OLD, NEW)


def swapped(name: str, first: int) -> SlafdbFiles:
    """Two neighbouring rows of a table in the other order."""
    table = slafdb_files(OLD).tables[name]
    rows = np.arange(table.num_rows)
    rows[[first, first + 1]] = rows[[first + 1, first]]
    return slafdb_files(OLD).with_table(name, table.take(pa.array(rows)))


def starts_of_files() -> SlafdbFiles:
    """Offsets that begin anew with the second file, as slafdb counts them."""
    starts = np.concatenate([OLD.indptr[:4], OLD.indptr[4:9] - OLD.indptr[4]])
    return slafdb_files(OLD).with_column(
        "cells", "cell_start_index", pa.array(starts.astype(np.int64))
    )


def with_type(name: str, column: str, dtype: pa.DataType) -> SlafdbFiles:
    """A column in another type."""
    values = slafdb_files(OLD).tables[name].column(column).cast(dtype)
    return slafdb_files(OLD).with_column(name, column, values)


END = int(OLD.indptr[1])
PLAIN = slafdb_files(OLD)
VIOLATIONS: dict[str, tuple[SlafdbFiles, str]] = {
    "cells of rows descend": (swapped("expression", END - 1), "its cell is before"),
    "genes of a cell descend": (
        swapped("expression", int(OLD.indptr[np.argmax(np.diff(OLD.indptr) > 1)])),
        "its gene is not behind",
    ),
    "a pair is there twice": (
        PLAIN.with_table(
            "expression",
            pa.concat_tables([PLAIN.tables["expression"].slice(0, 1), PLAIN.tables["expression"]]),
        ),
        "expression, row 1: its gene is not behind",
    ),
    "zero": (
        PLAIN.with_value("expression", "value", 3, 0),
        "expression, row 3: value is zero",
    ),
    "no value": (
        PLAIN.with_value("expression", "value", 3, None),
        "expression, row 3: value is null",
    ),
    "a gene that is not there": (
        PLAIN.with_value("expression", "gene_integer_id", 3, 6),
        "expression, row 3: gene_integer_id is not below 6",
    ),
    "a cell that is not there": (
        PLAIN.with_value("expression", "cell_integer_id", OLD.nnz - 1, 9),
        f"expression, row {OLD.nnz - 1}: cell_integer_id is not below 9",
    ),
    "a type of values": (
        with_type("expression", "value", pa.uint8()),
        "value is of type uint8, not one of uint16, uint32, ",
    ),
    "a type of ids": (
        with_type("expression", "gene_integer_id", pa.int64()),
        "gene_integer_id is of type int64, not one of ",
    ),
    "only string ids": (
        slafdb_files(OLD, strings=True).without_column("expression", "cell_integer_id"),
        "its columns are cell_id, gene_id, gene_integer_id, value, not ",
    ),
    "a string id of another cell": (
        slafdb_files(OLD, strings=True).with_value("expression", "cell_id", 2, "old-8"),
        "expression, row 2: cell_id is not that of the id",
    ),
    "offsets of each file": (
        starts_of_files(),
        f"cells, row 4: cell_start_index is 0, but the rows of the cell begin at {OLD.indptr[4]}",
    ),
    "offsets of another type": (
        with_type("cells", "cell_start_index", pa.uint64()),
        "cell_start_index is of type uint64, not int64",
    ),
    "an offset that is missing": (
        PLAIN.with_value("cells", "cell_start_index", 5, None),
        "cells, row 5: cell_start_index is null",
    ),
    "cells in another order": (
        swapped("cells", 2),
        "cells, row 2: cell_integer_id is not the position of the row",
    ),
    "genes in another order": (
        swapped("genes", 2),
        "genes, row 2: gene_integer_id is not the position of the row",
    ),
    "a cell without an id": (
        PLAIN.with_value("cells", "cell_id", 2, None),
        "cells, row 2: cell_id is null",
    ),
    "ids that are numbers": (
        PLAIN.with_column("genes", "gene_id", pa.array(range(N_GENES))),
        "genes: gene_id is of type int64, not string",
    ),
    "another shape": (
        PLAIN.with_config(array_shape=[8, N_GENES]),
        r"array_shape is \[8, 6\], but the tables have \[9, 6\] rows",
    ),
    "another table": (
        PLAIN.with_config(tables=PLAIN.config["tables"] | {"layers": "layers.lance"}),
        "it holds layers, which this release would lose",
    ),
    "another table that config.json does not name": (
        PLAIN.with_table("layers", PLAIN.tables["expression"]),
        "it holds layers, which this release would lose",
    ),
    "obsm": (
        PLAIN.with_column("cells", "pca", pa.array([[0.5, 1.0]] * 9, pa.list_(pa.float32(), 2))),
        r"cells: column pca is of type fixed_size_list.*, which this release would lose",
    ),
    "uns": (
        SlafdbFiles(PLAIN.tables, PLAIN.config, {"uns.json": b"{}"}),
        "it holds uns, which this release would lose",
    ),
    "layers in a list": (PLAIN.with_config(layers=["a"]), r'layers is \["a"\], not an object'),
    "files in a list": (PLAIN.with_config(multi_file=[1]), r"multi_file is \[1\], not an object"),
    "a conversion of slafdb": (
        PLAIN.with_config(checkpoint={"status": "in_progress"}),
        "a conversion of slafdb is unfinished",
    ),
}


@pytest.mark.parametrize(("layout", "message"), VIOLATIONS.values(), ids=VIOLATIONS.keys())
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_violated_rule_is_named(
    layout: SlafdbFiles, message: str, added: Path, tmp_path: Path, *, dry_run: bool
) -> None:
    """A dataset that violates a rule is refused with the rule and the row, and left as it was."""
    path = layout.write(tmp_path / "old.slaf")
    before = tree(path)
    verb: Callable[..., Any] = slaf.append
    with pytest.raises(DamagedDataset, match=f"{message}.*; nothing was changed: convert"):
        verb(added, path, dry_run=dry_run)
    assert tree(path) == before


def test_a_table_that_is_missing_is_named(added: Path, tmp_path: Path) -> None:
    """So is a dataset whose table is not there."""
    path = slafdb_files(OLD).write(tmp_path / "old.slaf")
    shutil.rmtree(path / "genes.lance")
    with pytest.raises(DamagedDataset, match=r"genes.lance cannot be opened"):
        slaf.append(added, path)


def as_others_see(path: Path) -> dict[str, Any] | None:
    """What slafdb would open, which reads the newest versions; None if it is ours by now."""
    config = json.loads((path / "config.json").read_bytes())
    if config["format_version"] == FORMAT_VERSION:
        return None
    tables = {name: lance.dataset(path / config["tables"][name]) for name in TABLES}
    found: dict[str, Any] = {name: table.to_table() for name, table in tables.items()}
    found["config"] = {key: config[key] for key in config if key != "adoption"}
    return found


def done_parts(path: Path) -> dict[str, int]:
    """The files of the parts that are done, and their inodes."""
    config = json.loads((path / "config.json").read_bytes())
    done = receipts(Location(path), config.get("adoption"))
    fragments = [
        fragment for part in done for fragment in part["tables"]["expression"]["fragments"]
    ]
    data = path / "adopted/expression.lance/data"
    names = [file["path"] for fragment in fragments for file in fragment["metadata"]["files"]]
    return {name: (data / name).stat().st_ino for name in names}


@pytest.mark.parametrize("most", [6, pytest.param(None, marks=pytest.mark.slow)])
def test_stopped_at_every_effect(
    most: int | None, added: Path, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """Stopped anywhere, it is what it was, or ours and whole; the same command finishes it."""
    found = LAYOUTS["of two files"].write(tmp_path / "found.slaf")
    theirs = as_others_see(found)

    def run(output: Any) -> None:
        slaf.append(added, output, chunk_size=3)

    recorder = CrashingStorage(shutil.copytree(found, tmp_path / "whole.slaf"))
    run(recorder)
    expected = output_of(tmp_path / "whole.slaf")
    for at in points(len(recorder.effects), most, "adopted"):
        with subtests.test(at=at, effect=str(recorder.effects[at])):
            path = shutil.copytree(found, tmp_path / f"{at}.slaf")
            with pytest.raises(Crash):
                run(CrashingStorage(path, at))
            seen = as_others_see(path)
            if seen is None:
                assert output_of(path) == expected
            else:
                assert seen == theirs
                with pytest.raises(UnsupportedFormat):
                    slaf.open(path)
            done = done_parts(path)
            try:
                run(path)
            except DuplicateInput:
                assert seen is None
            assert output_of(path) == expected
            data = path / "adopted/expression.lance/data"
            assert all((data / name).stat().st_ino == inode for name, inode in done.items())
            assert {file.name for file in path.iterdir()} == {"adopted", "config.json"}
            slaf.verify(path)


def test_an_input_that_cannot_be_added_leaves_it_as_it_was(tmp_path: Path) -> None:
    """A value that no type holds, found after parts were written, leaves nothing of the run."""
    matrix = NEW.toarray().astype(np.uint64)
    matrix[-1, -1] = 2**64 - 1
    source = write_h5ad(tmp_path / "new.h5ad", sp.csr_matrix(matrix))
    path = slafdb_files(OLD).write(tmp_path / "old.slaf")
    before, config = tree(path), json.loads((path / "config.json").read_bytes())
    with pytest.raises(InexactValue, match="18446744073709551615"):
        slaf.append(source, path, chunk_size=3)
    changed = {key for key, value in before.items() if tree(path)[key] != value}
    assert changed <= {"old.slaf", "old.slaf/config.json"}
    assert tree(path).keys() == before.keys()
    assert json.loads((path / "config.json").read_bytes()) == config


def test_a_value_may_ask_for_a_wider_type(tmp_path: Path) -> None:
    """Then all rows are written with it."""
    matrix = NEW.toarray()
    matrix[-1, -1] = 70_000
    source = write_h5ad(tmp_path / "new.h5ad", sp.csr_matrix(matrix))
    dataset = slaf.append(source, slafdb_files(OLD).write(tmp_path / "old.slaf"), chunk_size=3)
    assert dataset.published.value_type == "uint32"
    assert_holds(dataset, OLD, sp.csr_matrix(matrix))


def test_changed_by_slafdb_meanwhile(added: Path, tmp_path: Path) -> None:
    """An append that was stopped does not go on with tables that are others since."""
    path = slafdb_files(OLD).write(tmp_path / "old.slaf")
    with pytest.raises(Crash):
        slaf.append(added, CrashingStorage(path, 6), chunk_size=3)
    cells = lance.dataset(path / "cells.lance")
    lance.write_dataset(cells.to_table(), path / "cells.lance", mode="overwrite")
    with pytest.raises(UnfinishedRun, match="version of cells was 2 and is 3"):
        slaf.append(added, path, chunk_size=3)
    dataset = slaf.append(added, path, chunk_size=3, restart=True)
    assert_holds(dataset, OLD, NEW)


def test_it_is_ours_from_then_on(added: Path, tmp_path: Path) -> None:
    """It is appended to again, the same input is refused, and a conversion replaces it."""
    path = slafdb_files(OLD).write(tmp_path / "old.slaf")
    slaf.append(added, path)
    with pytest.raises(DuplicateInput):
        slaf.append(added, path)
    more = write_h5ad(tmp_path / "more.h5ad", counts(5, N_GENES, seed=3))
    dataset = slaf.append(more, path)
    assert dataset.shape == (21, N_GENES)
    slaf.verify(path)
    slaf.convert(more, path, overwrite=True)
    slaf.verify(path, against=more)
    assert not (path / "adopted").exists()


def test_convert_does_not_replace_it(added: Path, tmp_path: Path) -> None:
    """A conversion refuses the place of such a dataset, and says that it may be appended to."""
    path = slafdb_files(OLD).write(tmp_path / "old.slaf")
    with pytest.raises(DatasetError, match="slaf append"):
        slaf.convert(added, path, overwrite=True)
