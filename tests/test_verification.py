"""Verification finds and names every change of a dataset."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import anndata
import lance
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp

import slaf
from slaf.errors import DamagedDataset, Locked
from slaf.format.validation import with_checksum
from slaf.verification.report import SHOWN_OF_A_KIND
from tests.builders import counts, write_h5ad
from tests.conversion.cases import slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from slaf.verification.report import Difference, Report

    Change = Callable[[pa.Table], pa.Table]
    Edit = Callable[[dict[str, Any]], Any]

N_CELLS, N_GENES, CHUNK = 24, 10, 6


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source, and the dataset that was made of it, in four blocks."""
    top = tmp_path_factory.mktemp("original")
    matrix = counts(N_CELLS, N_GENES)
    write_h5ad(top / "in.h5ad", matrix)
    slaf.convert(top / "in.h5ad", top / "out.slaf", chunk_size=CHUNK)
    return top


@pytest.fixture
def source(original: Path) -> Path:
    """What the dataset was made of."""
    return original / "in.h5ad"


@pytest.fixture
def dataset(original: Path, tmp_path: Path) -> Path:
    """A copy of the dataset, to be changed."""
    return shutil.copytree(original / "out.slaf", tmp_path / "out.slaf")


class Appending:
    """Appends to a dataset at the first progress of its verification."""

    def __init__(self, dataset: Path, more: Path) -> None:
        self._rest: list[Callable[[], Any]] = [lambda: slaf.append(more, dataset)]

    def begin(self, cells: int, nonzeros: int, total_cells: int) -> None:
        """The verification begins."""

    def advance(self, cells: int, nonzeros: int) -> None:  # noqa: ARG002
        """The append."""
        while self._rest:
            self._rest.pop()()


def test_written_to_meanwhile(dataset: Path, source: Path, tmp_path: Path) -> None:
    """A dataset that changes during verification is neither damaged nor verified."""
    more = write_h5ad(tmp_path / "more.h5ad", counts(4, slaf.open(dataset).n_genes, seed=7))
    with pytest.raises(Locked, match=r"written to since it was opened.*verify it again"):
        slaf.verify(dataset, against=source, progress=Appending(dataset, more))
    assert slaf.verify(dataset).ok


@pytest.mark.parametrize("other", [np.int16, np.float32, np.uint8])
def test_sums_that_overflow_their_type_with_another_input(other: Any, tmp_path: Path) -> None:
    """Values that are read in a wider type than that of their source verify."""
    repeated = sp.csr_matrix(
        (np.array([100, 100, 3], np.int8), np.array([1, 1, 2]), np.array([0, 2, 3])), (2, 5)
    )
    first, second = tmp_path / "first.h5ad", tmp_path / "second.h5ad"
    obs = [pd.DataFrame(index=[f"{name}{cell}" for cell in range(2)]) for name in "ab"]
    var = pd.DataFrame(index=list("ghijk"))
    anndata.AnnData(repeated, obs[0], var).write_h5ad(first)
    anndata.AnnData(sp.csr_matrix(np.ones((2, 5), other)), obs[1], var).write_h5ad(second)
    slaf.convert([first, second], tmp_path / "out.slaf")
    assert slaf.verify(tmp_path / "out.slaf", against=[first, second]).ok
    slaf.convert(second, tmp_path / "other.slaf")
    slaf.append(first, tmp_path / "other.slaf")
    assert slaf.verify(tmp_path / "other.slaf", against=[second, first]).ok


def sabotage(dataset: Path, name: str, change: Change) -> None:
    """Write a changed table, and have config.json name the version that it became."""
    before = slaf.open(dataset).table(name).to_table()
    written = lance.write_dataset(
        change(before), dataset / f"{name}.lance", mode="overwrite", data_storage_version="2.1"
    )
    edit(dataset, lambda config: config["versions"].update({name: written.version}))


def edit(dataset: Path, change: Edit) -> None:
    """Change config.json."""
    config = json.loads((dataset / "config.json").read_bytes())
    change(config)
    (dataset / "config.json").write_bytes(with_checksum(config))


def unproven(dataset: Path) -> None:
    """Remove the checksums of files, as in datasets of earlier releases."""
    edit(dataset, lambda config: config.pop("proof"))


def put(column: str, row: int, value: object) -> Change:
    """Replace one value of a table."""

    def change(table: pa.Table) -> pa.Table:
        field = table.schema.field(column)
        values = table[column].to_pylist()
        assert values[row] != value
        values[row] = value
        position = table.schema.get_field_index(column)
        return table.set_column(position, field, pa.array(values, field.type))

    return change


def reorder(first: int, second: int) -> Change:
    """Swap two rows of a table."""

    def change(table: pa.Table) -> pa.Table:
        order = list(range(table.num_rows))
        order[first], order[second] = second, first
        return table.take(order)

    return change


def without(row: int) -> Change:
    """Drop a row of a table."""
    return lambda table: table.take([at for at in range(table.num_rows) if at != row])


def failed(dataset: Path, **options: Any) -> Report:
    """The report of a verification that fails."""
    with pytest.raises(slaf.VerificationFailed) as caught:
        slaf.verify(dataset, **options)
    report: Report = caught.value.report
    assert not report.ok
    assert str(report.differences[0]) in str(caught.value)
    return report


def only(report: Report, kind: str) -> Difference:
    """The one difference of a kind."""
    (found,) = [difference for difference in report.differences if difference.kind == kind]
    return found


def kinds(report: Report) -> set[str]:
    """Which kinds of differences there are."""
    return {kind for kind, _ in report.counts}


# ------------------------------------------------------------------------------------ nothing wrong


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("compared", [False, True])
def test_intact(quick: bool, compared: bool, dataset: Path, source: Path) -> None:  # noqa: FBT001
    """An intact dataset verifies, and the report says what was checked."""
    report = slaf.verify(dataset, against=source if compared else None, quick=quick)
    assert report.ok
    assert report.dataset == str(dataset)
    assert report.differences == ()
    assert len(report.checks) == 2 + (not quick) + compared
    assert ("the digest of every block (4)" in report.checks) is not quick
    assert (str(source) in report.checks[-1]) is compared
    assert report.to_json()["ok"] is True


def test_intact_open(dataset: Path) -> None:
    """An open dataset is verified at the version at which it was opened."""
    assert slaf.verify(slaf.open(dataset)).ok


def test_intact_in_memory(tmp_path: Path) -> None:
    """A dataset is compared with an AnnData in memory as with a file."""
    adata = anndata.AnnData(counts(5, 4))
    slaf.convert(adata, tmp_path / "out.slaf")
    assert slaf.verify(tmp_path / "out.slaf", against=adata).ok
    cell, gene = (int(positions[0]) for positions in adata.X.nonzero())
    adata.X[cell, gene] += 1
    report = failed(tmp_path / "out.slaf", against=adata)
    assert only(report, "value").where == f"cell {cell} ('{cell}'), gene {gene} ('{gene}')"


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (3, 3)])
def test_intact_without_entries(shape: tuple[int, int], tmp_path: Path) -> None:
    """A dataset without nonzeros verifies, by itself and against its source."""
    adata = anndata.AnnData(np.zeros(shape))
    slaf.convert(adata, tmp_path / "out.slaf")
    assert slaf.verify(tmp_path / "out.slaf", against=adata).ok


# -------------------------------------------------------------------------- the nonzeros themselves


def row_of(dataset: Path, row: int) -> tuple[int, int, int]:
    """Cell, gene and value of a row of `expression`."""
    table = slaf.open(dataset).expression.take([row])
    cell, gene, value = (column[0].as_py() for column in table.columns)
    return cell, gene, value


@pytest.mark.parametrize("row", [0, 17, -1])
def test_a_value(row: int, dataset: Path, source: Path) -> None:
    """A changed value is found by its block's digest, and named with both values by the source."""
    cell, gene, value = row_of(dataset, row % slaf.open(dataset).nnz)
    sabotage(dataset, "expression", put("value", row, value + 1))
    start = cell // CHUNK * CHUNK
    assert only(failed(dataset), "digest").where == f"cells {start} to {start + CHUNK}"
    found = only(failed(dataset, against=source), "value")
    assert found.where == f"cell {cell} ('cell-{cell}'), gene {gene} ('gene-{gene}')"
    assert (found.expected, found.found) == (f"{value}", f"{value + 1}")


def test_a_gene_of_a_value(dataset: Path, source: Path) -> None:
    """A value that moved to another gene is found, missing at one and too many at the other."""
    cell, gene, value = row_of(dataset, 9)
    sabotage(dataset, "expression", put("gene_integer_id", 9, N_GENES))
    assert kinds(failed(dataset)) == {"digest"}
    one, other = failed(dataset, against=source, quick=True).differences
    assert one.where == f"cell {cell} ('cell-{cell}'), gene {gene} ('gene-{gene}')"
    assert (one.expected, one.found) == (f"{value}", "0")
    assert other.where == f"cell {cell} ('cell-{cell}'), gene {N_GENES} (none)"
    assert (other.expected, other.found) == ("0", str(value))


@pytest.mark.parametrize("owner", [1, N_CELLS])
def test_a_cell_of_a_value(owner: int, dataset: Path, source: Path) -> None:
    """A row with the id of another cell, or of none, is named."""
    cell, _, value = row_of(dataset, 40)
    sabotage(dataset, "expression", put("cell_integer_id", 40, owner))
    found = only(failed(dataset), "order")
    assert found.where == "cell_integer_id of row 40"
    assert (found.expected, found.found) == (str(cell), str(owner))
    differences = failed(dataset, against=source, quick=True).differences
    assert {(d.expected, d.found) for d in differences if f"cell {owner}" in d.where} == {
        ("0", str(value))
    }


def test_a_row_less(dataset: Path, source: Path) -> None:
    """A dropped row is found without reading values, by the number of rows."""
    n_rows = slaf.open(dataset).nnz
    sabotage(dataset, "expression", without(7))
    for options in ({}, {"quick": True}, {"against": source}):
        found = only(failed(dataset, **options), "config")
        assert found.where == "rows of expression"
        assert (found.expected, found.found) == (str(n_rows), str(n_rows - 1))


def test_a_deleted_row(dataset: Path) -> None:
    """A row that Lance deleted is reported."""
    table = slaf.open(dataset).expression
    table.delete("cell_integer_id = 2 AND value > 0")
    edit(dataset, lambda config: config["versions"].update(expression=table.version))
    assert only(failed(dataset, quick=True), "config").where == "rows of expression"


def test_a_row_more(dataset: Path) -> None:
    """A repeated row is found without reading values."""
    sabotage(dataset, "expression", lambda table: pa.concat_tables([table, table.slice(3, 1)]))
    assert only(failed(dataset, quick=True), "config").where == "rows of expression"


def test_swapped_rows_of_a_cell(dataset: Path, source: Path) -> None:
    """Two rows of one cell in the wrong order are found, though the entries are the same."""
    offsets = slaf.open(dataset).offsets("expression")
    cell = int(np.flatnonzero(np.diff(offsets) > 1)[0])
    sabotage(dataset, "expression", reorder(offsets[cell], offsets[cell] + 1))
    assert only(failed(dataset), "digest").where == f"cells 0 to {CHUNK}"
    assert only(failed(dataset, against=source, quick=True), "order").found == (
        "the same entries in disorder"
    )


def test_swapped_rows_of_two_cells(dataset: Path) -> None:
    """Two rows in each other's cell are both named."""
    first, second = 3, slaf.open(dataset).nnz - 1
    sabotage(dataset, "expression", reorder(first, second))
    found = [d.where for d in failed(dataset).differences if d.kind == "order"]
    assert found == [f"cell_integer_id of row {row}" for row in (first, second)]


def test_another_type(dataset: Path) -> None:
    """Values of another type than config.json records are found without reading them."""

    def wider(table: pa.Table) -> pa.Table:
        return table.set_column(2, "value", table["value"].cast(pa.uint32()))

    sabotage(dataset, "expression", wider)
    found = only(failed(dataset, quick=True), "config")
    assert (found.where, found.expected, found.found) == ("type of value", "uint16", "uint32")


def test_all_are_counted(dataset: Path, source: Path) -> None:
    """The first of many differences are kept, and all are counted."""

    def more(table: pa.Table) -> pa.Table:
        return table.set_column(2, "value", pa.array(table["value"].to_numpy() + 1, pa.uint16()))

    sabotage(dataset, "expression", more)
    report = failed(dataset, against=source)
    nnz = slaf.open(dataset).nnz
    assert dict(report.counts) == {"digest": N_CELLS // CHUNK, "value": nnz}
    assert sum(d.kind == "value" for d in report.differences) == SHOWN_OF_A_KIND
    with pytest.raises(slaf.VerificationFailed, match=f"{nnz + 4} differences; the first: digest"):
        slaf.verify(dataset, against=source)


class Watched(slaf.Dataset):
    """A dataset that counts how often its tables are opened."""

    looks = 0

    def table(self, name: str) -> lance.LanceDataset:
        """The table."""
        self.looks += 1
        return super().table(name)


def test_only_what_is_shown_is_looked_up(tmp_path: Path) -> None:
    """Many differences cost no more lookups of ids than a few."""
    looks = []
    for n_genes in (N_GENES, 5 * N_GENES):
        one, other = (anndata.AnnData(np.full((4, n_genes), value)) for value in (1, 2))
        made = slaf.convert(one, tmp_path / f"{n_genes}.slaf")
        watched = Watched(made.location, made.published)
        with pytest.raises(slaf.VerificationFailed):
            slaf.verify(watched, against=other)
        looks.append(watched.looks)
    assert looks[0] == looks[1]


@pytest.mark.parametrize(("column", "other"), [("cell_id", "cell-9"), ("gene_id", "gene-?")])
def test_a_string_id_of_a_value(column: str, other: str, source: Path, tmp_path: Path) -> None:
    """String ids in `expression` that contradict its integer ids are named."""
    slaf.convert(source, tmp_path / "out.slaf", string_ids=True)
    assert slaf.verify(tmp_path / "out.slaf").ok
    expected = slaf.open(tmp_path / "out.slaf").expression.take([30], [column])[column][0].as_py()
    sabotage(tmp_path / "out.slaf", "expression", put(column, 30, other))
    found = only(failed(tmp_path / "out.slaf"), "names")
    assert (found.where, found.expected, found.found) == (f"{column} of row 30", expected, other)


# ---------------------------------------------------------------------------------- cells and genes


def test_an_offset(dataset: Path, source: Path) -> None:
    """A `cell_start_index` inside a block is found by the digest, and by the source per cell."""
    cell = next(c for c in range(7, 11) if np.diff(slaf.open(dataset).offsets("expression"))[c] > 0)
    start = int(slaf.open(dataset).offsets("expression")[cell])
    sabotage(dataset, "cells", put("cell_start_index", cell, start + 1))
    report = failed(dataset)
    assert only(report, "digest").where == f"cells {CHUNK} to {2 * CHUNK}"
    assert only(report, "order").where == f"cell_integer_id of row {start}"
    wheres = [d.where for d in failed(dataset, against=source, quick=True).differences]
    assert wheres == [f"rows of cell {cell - 1}", f"rows of cell {cell}"]


@pytest.mark.parametrize("cell", [0, CHUNK, 2 * CHUNK])
def test_an_offset_of_a_block(cell: int, dataset: Path) -> None:
    """A `cell_start_index` that a block begins with is found without reading the values."""
    start = int(slaf.open(dataset).offsets("expression")[cell])
    sabotage(dataset, "cells", put("cell_start_index", cell, start + 1))
    assert kinds(failed(dataset, quick=True)) == {"offsets"}


def test_descending_offsets(dataset: Path) -> None:
    """A `cell_start_index` less than the one before it is named, and nothing is read by it."""
    offsets = slaf.open(dataset).offsets("expression")
    sabotage(dataset, "cells", put("cell_start_index", 9, int(offsets[-1])))
    report = failed(dataset)
    assert kinds(report) == {"offsets"}
    assert report.differences[0].where == "cell_start_index after cell 9"


@pytest.mark.parametrize("name", ["cells", "genes"])
def test_an_integer_id(name: str, dataset: Path) -> None:
    """An integer id that is not the position is named without reading the values."""
    column = f"{name.removesuffix('s')}_integer_id"
    sabotage(dataset, name, put(column, 4, 5))
    found = only(failed(dataset, quick=True), name)
    assert (found.where, found.expected, found.found) == (f"{column} of row 4", "4", "5")


@pytest.mark.parametrize("name", ["cells", "genes"])
def test_swapped_ids(name: str, dataset: Path) -> None:
    """Swapped rows of the cells or the genes are both named without reading the values."""
    sabotage(dataset, name, reorder(2, 3))
    wheres = [d.where for d in failed(dataset, quick=True).differences if d.kind == name]
    assert [where.rsplit(" ", 1)[1] for where in wheres] == ["2", "3"]


@pytest.mark.parametrize("name", ["cells", "genes"])
def test_a_cell_or_gene_less(name: str, dataset: Path) -> None:
    """A cell or a gene less than config.json says is found without reading the values."""
    sabotage(dataset, name, without(9))
    assert f"rows of {name}" in {d.where for d in failed(dataset, quick=True).differences}


@pytest.mark.parametrize(
    ("name", "column", "title"),
    [
        ("cells", "cell_id", "index"),
        ("genes", "gene_id", "index"),
        ("cells", "batch", "column 'batch'"),
        ("genes", "length", "column 'length'"),
    ],
)
def test_a_field(name: str, column: str, title: str, dataset: Path, source: Path) -> None:
    """A changed id, obs or var value is found by the source, and named with both values."""
    before = slaf.open(dataset).table(name).take([5], [column])[column][0].as_py()
    after = "b0" if column == "batch" else before * 2
    sabotage(dataset, name, put(column, 5, after))
    found = only(failed(dataset, against=source), name)
    assert found.where == f"{title} of row 5"
    assert (found.expected, found.found) == (repr(before), repr(after))


def test_a_missing_value(dataset: Path, source: Path) -> None:
    """A missing value of obs differs from a value."""
    sabotage(dataset, "cells", put("batch", 5, None))
    found = only(failed(dataset, against=source), "cells")
    assert (found.expected, found.found) == ("'b2'", "None")


def test_a_number_for_a_nan(tmp_path: Path) -> None:
    """NaN in obs equals NaN, and nothing else."""
    obs = pd.DataFrame({"score": [np.nan, 1.0, np.nan]}, index=list("abc"))
    adata = anndata.AnnData(np.ones((3, 1)), obs=obs)
    slaf.convert(adata, tmp_path / "out.slaf")
    assert slaf.verify(tmp_path / "out.slaf", against=adata).ok
    sabotage(tmp_path / "out.slaf", "cells", put("score", 2, 0.0))
    assert only(failed(tmp_path / "out.slaf", against=adata), "cells").expected == "nan"


def test_the_order_of_categories(dataset: Path, source: Path) -> None:
    """Categories in another order are found by the source, though every cell has its own."""

    def turned(table: pa.Table) -> pa.Table:
        batch = table["batch"].combine_chunks()
        values = pa.DictionaryArray.from_arrays(
            pa.array(2 - batch.indices.to_numpy(), pa.int32()), batch.dictionary[::-1]
        )
        assert values.to_pylist() == batch.to_pylist()
        return table.set_column(table.schema.get_field_index("batch"), "batch", values)

    sabotage(dataset, "cells", turned)
    found = only(failed(dataset, against=source), "cells")
    assert found.where == "categories of column 'batch'"
    assert (found.expected, found.found) == ("['b0', 'b1', 'b2']", "['b2', 'b1', 'b0']")


@pytest.mark.parametrize("name", ["cells", "genes"])
def test_a_column_less(name: str, dataset: Path) -> None:
    """A column that config.json describes and the table lacks is named without reading any."""
    column = {"cells": "depth", "genes": "length"}[name]
    sabotage(dataset, name, lambda table: table.drop_columns(column))
    found = only(failed(dataset, quick=True), "config")
    assert (found.where, found.expected) == (f"columns of {name}", column)


# ------------------------------------------------------------------------------------ damaged files


def data_file(dataset: Path, name: str) -> Path:
    """A file with rows of a table: of `expression` that of the second part."""
    fragments = slaf.open(dataset).table(name).get_fragments()
    file = fragments[min(1, len(fragments) - 1)].data_files()[0]
    return dataset / f"{name}.lance/data" / file.path


@pytest.mark.parametrize("name", ["expression", "cells", "genes"])
@pytest.mark.parametrize("quick", [False, True])
def test_a_file_less(quick: bool, name: str, dataset: Path, source: Path) -> None:  # noqa: FBT001
    """A data file that is gone is named, by the quick check too, and of older datasets."""
    file = data_file(dataset, name)
    file.unlink()
    path = file.relative_to(dataset).as_posix()
    for against in (None, source):
        (found,) = failed(dataset, quick=quick, against=against).differences
        assert (found.kind, found.expected, found.found) == ("file", "a file", "nothing")
        assert found.where.startswith(f"{path} ({name}")
    unproven(dataset)
    for against in (None, source):
        found = failed(dataset, quick=quick, against=against).differences[0]
        assert (found.kind, found.where) == ("unreadable", path)
        assert (found.expected, found.found) == ("a file", "nothing")


@pytest.mark.parametrize("name", ["expression", "cells", "genes"])
@pytest.mark.parametrize("quick", [False, True])
def test_a_shorter_file(quick: bool, name: str, dataset: Path) -> None:  # noqa: FBT001
    """A data file that was cut off is named with both sizes, by the quick check too."""
    file = data_file(dataset, name)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    path = file.relative_to(dataset).as_posix()
    (found,) = failed(dataset, quick=quick).differences
    assert found.where.startswith(f"{path} ({name}")
    assert (found.expected, found.found) == (f"{len(whole)} bytes", f"{len(whole) // 2} bytes")
    unproven(dataset)
    found = failed(dataset, quick=quick).differences[0]
    assert (found.kind, found.where) == ("unreadable", path)
    assert (found.expected, found.found) == (f"{len(whole)} bytes", f"{len(whole) // 2} bytes")


def flipped(whole: bytes, n: int) -> Iterator[bytes]:
    """A file with one byte changed, at n places spread over it."""
    for at in range(0, len(whole), len(whole) // n):
        yield whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]


def harmless(original: Path, changed: Path) -> bool:
    """Whether all that can be read of a changed dataset is still what it was."""
    one, other = slaf.open(original), slaf.open(changed)
    return all(
        one.table(name).to_table().equals(other.table(name).to_table())
        for name in one.published.tables
    )


@pytest.mark.parametrize("name", ["expression", "cells", "genes"])
def test_flipped_bytes(name: str, dataset: Path, original: Path, source: Path) -> None:
    """A flipped byte in a file without a checksum is found, unless everything reads as it was."""
    file = data_file(dataset, name)
    unproven(dataset)
    found = 0
    for damaged in flipped(file.read_bytes(), 25):
        file.write_bytes(damaged)
        try:
            slaf.verify(dataset, against=source)
        except slaf.VerificationFailed:
            found += 1
        else:
            assert harmless(original / "out.slaf", dataset)
    assert found


def test_an_unreadable_column(dataset: Path) -> None:
    """Damage to a column without a checksum is found where it makes the column unreadable."""
    file = data_file(dataset, "cells")
    unproven(dataset)
    found = 0
    for damaged in flipped(file.read_bytes(), 25):
        file.write_bytes(damaged)
        opened = slaf.open(dataset)
        try:
            # Neither of these needs more than the columns of ours.
            slaf.verify(opened, quick=True)
            opened.sql("SELECT * FROM cells")
        except slaf.VerificationFailed:
            continue
        except DamagedDataset:
            assert kinds(failed(dataset)) == {"unreadable"}
            found += 1
    assert found


@pytest.mark.parametrize("name", ["expression", "cells", "genes"])
def test_a_version_less(name: str, dataset: Path) -> None:
    """A version that config.json names and the table lacks is an error with its number."""
    edit(dataset, lambda config: config["versions"].update({name: 99}))
    with pytest.raises(DamagedDataset, match=rf"version 99 of {name}\.lance cannot be opened"):
        slaf.verify(dataset)


def test_what_was_in_a_damaged_file(dataset: Path, source: Path) -> None:
    """Table, cells, blocks and input of a damaged file are named."""
    file = data_file(dataset, "expression")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    found = only(failed(dataset), "file")
    path = file.relative_to(dataset).as_posix()
    assert found.where == f"{path} (expression, cells 6 to 12, block 1, of {source})"
    assert found.expected.startswith("checksum ")
    assert slaf.verify(dataset, quick=True).ok, "which reads no values"


def test_a_damaged_version(dataset: Path) -> None:
    """Manifests are checked before Lance opens them, by the quick check too."""
    (file,) = (dataset / "cells.lance/_versions").glob("*.manifest")
    content = bytearray(file.read_bytes())
    for at in range(0, len(content), 40):
        content[at] ^= 0xFF
        file.write_bytes(content)
        found = only(failed(dataset, quick=True), "file")
        assert "(the version of cells)" in found.where
        content[at] ^= 0xFF


def test_files_without_a_checksum_are_counted(dataset: Path) -> None:
    """A report gives the number of files without a checksum."""

    def forget(config: dict[str, Any]) -> None:
        kept = [one for one in config["proof"]["files"] if "/data/" not in one["file"]]
        config["proof"]["files"] = kept

    edit(dataset, forget)
    assert "6 have none" in slaf.verify(dataset).checks[0]


# ------------------------------------------------------------------------------------------- sample


@pytest.mark.parametrize("seed", range(6))
def test_a_sample(seed: int, dataset: Path) -> None:
    """Only blocks of the sample are read and listed; the same seed draws the same blocks."""
    report = slaf.verify(dataset, sample=2, seed=seed)
    check = report.checks[-1]
    assert f"the digest of 2 of 4 blocks, drawn with seed {seed} (cells " in check
    assert slaf.verify(dataset, sample=2, seed=seed) == report
    edit(dataset, first_digest)
    if "cells 0 to 6" in check:
        assert only(failed(dataset, sample=2, seed=seed), "digest").where == "cells 0 to 6"
    else:
        assert slaf.verify(dataset, sample=2, seed=seed).ok


def test_samples_differ(dataset: Path) -> None:
    """Other seeds draw other blocks, and a large sample draws all."""
    checks = [slaf.verify(dataset, sample=1, seed=seed).checks[-1] for seed in range(12)]
    samples = {check.partition("(")[2] for check in checks}
    assert len(samples) == 4
    assert "the digest of 4 of 4 blocks" in slaf.verify(dataset, sample=99).checks[-1]


def test_shares_are_a_whole_verification(dataset: Path) -> None:
    """Each damaged block and file is found by exactly one share, and all shares read all blocks."""
    reports = [slaf.verify(dataset, part=(which, 3)) for which in range(3)]
    texts = [next(check for check in one.checks if "share" in check) for one in reports]
    assert sum(int(text.removeprefix("the digest of ")[0]) for text in texts) == 4
    edit(dataset, first_digest)
    shares = [(which, 3) for which in range(3)]
    damaged = [share for share in shares if not is_sound(dataset, share)]
    assert len(damaged) == 1
    file = data_file(dataset, "expression")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert sum(not is_sound(dataset, share, "file") for share in shares) == 1


def is_sound(dataset: Path, part: tuple[int, int], kind: str = "") -> bool:
    """Whether a share of a dataset has no difference, or none of a kind."""
    try:
        return slaf.verify(dataset, part=part).ok
    except slaf.VerificationFailed as error:
        return bool(kind) and kind not in {one.kind for one in error.report.differences}


@pytest.mark.parametrize("options", [{"quick": True}, {"against": "in.h5ad"}, {"sample": 1}])
def test_a_share_with_other_options(options: dict[str, Any], dataset: Path) -> None:
    """A share reads some blocks: it goes with no other choice of them, and has to exist."""
    with pytest.raises(ValueError, match="part reads some blocks"):
        slaf.verify(dataset, part=(0, 2), **options)
    with pytest.raises(ValueError, match="there is no share 2 of 2"):
        slaf.verify(dataset, part=(2, 2))


@pytest.mark.parametrize("options", [{"quick": True}, {"against": "in.h5ad"}])
def test_a_sample_with_other_options(options: dict[str, Any], dataset: Path) -> None:
    """A sample is refused with `quick` or `against`, and if it is empty."""
    with pytest.raises(ValueError, match="leave out quick"):
        slaf.verify(dataset, sample=2, **options)
    with pytest.raises(ValueError, match="a sample of 0 blocks"):
        slaf.verify(dataset, sample=0)


# -------------------------------------------------------------------------------------- config.json


def first_digest(config: dict[str, Any]) -> None:
    """Another digest of the first block."""
    config["blocks"][0]["digest"] = "0" * 32


def test_a_digest(dataset: Path, source: Path) -> None:
    """An edited digest is found by reading its block, and not by the quick check."""
    edit(dataset, first_digest)
    found = only(failed(dataset), "digest")
    assert (found.where, found.expected) == (f"cells 0 to {CHUNK}", "0" * 32)
    assert slaf.verify(dataset, quick=True, against=source).ok


def rows_of_a_block(config: dict[str, Any]) -> None:
    """One row more in a block, one less in the next."""
    config["blocks"][1]["rows"] += 1
    config["blocks"][2]["rows"] -= 1


def cells_of_a_block(config: dict[str, Any]) -> None:
    """A block that begins where the one before it has not ended."""
    config["blocks"][1]["cells"][0] -= 1


def a_block_less(config: dict[str, Any]) -> None:
    """The last block is gone."""
    del config["blocks"][-1]


def more_cells(config: dict[str, Any]) -> None:
    """A cell more than there is."""
    config["array_shape"][0] += 1
    config["n_cells"] += 1


def more_genes(config: dict[str, Any]) -> None:
    """A gene more than there is."""
    config["array_shape"][1] += 1
    config["n_genes"] += 1
    config["history"][-1]["n_genes"] += 1


def fewer_rows(config: dict[str, Any]) -> None:
    """A nonzero less than there is."""
    config["metadata"]["expression_count"] -= 1


def cells_of_a_source(config: dict[str, Any]) -> None:
    """A source with more cells than the dataset."""
    config["sources"][0]["n_cells"] += 1


def another_value_type(config: dict[str, Any]) -> None:
    """Another type than the table has."""
    config["value_type"] = "int64"


def another_dtype(config: dict[str, Any]) -> None:
    """A read type that neither the source nor the table has."""
    config["dtype"] = "float16"


def a_column_of_no_table(config: dict[str, Any]) -> None:
    """A column that is not there."""
    config["columns"]["cells"]["columns"][1]["name"] = "elsewhere"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (rows_of_a_block, f"cells {CHUNK} to {2 * CHUNK}"),
        (cells_of_a_block, f"first cell of the block at {CHUNK - 1}"),
        (a_block_less, "cells in blocks"),
        (more_genes, "rows of genes"),
        (fewer_rows, "rows of expression"),
        (another_value_type, "type of value"),
        (another_dtype, "dtype"),
        (a_column_of_no_table, "columns of cells"),
    ],
)
def test_config(change: Edit, where: str, dataset: Path) -> None:
    """Wrong statements of config.json about tables are found without reading values."""
    edit(dataset, change)
    report = failed(dataset, quick=True)
    assert kinds(report) <= {"config", "offsets"}
    assert where in {difference.where for difference in report.differences}


@pytest.mark.parametrize("change", [more_cells, cells_of_a_source])
def test_cells_that_no_source_has(change: Edit, dataset: Path) -> None:
    """A config.json whose sources have not the cells of the dataset is refused as a whole."""
    edit(dataset, change)
    with pytest.raises(DamagedDataset, match=r"n_cells is \d+, but the sources have \d+ cells"):
        slaf.verify(dataset, quick=True)


def test_quick_reads_no_values(dataset: Path) -> None:
    """The quick check does not read values."""
    sabotage(dataset, "expression", put("value", 3, 999))
    opened = slaf.open(dataset)
    assert slaf.verify(opened, quick=True).ok
    file = data_file(dataset, "expression")
    file.write_bytes(bytes(file.stat().st_size))
    assert slaf.verify(dataset, quick=True).ok
    assert "unreadable" in kinds(failed(dataset))


# ------------------------------------------------------------------------------------ other sources


def test_another_shape(dataset: Path, tmp_path: Path) -> None:
    """A source of another shape is reported as such."""
    other = write_h5ad(tmp_path / "other.h5ad", counts(N_CELLS + 1, N_GENES))
    found = only(failed(dataset, against=other), "shape")
    assert (found.expected, found.found) == (
        f"({N_CELLS + 1}, {N_GENES})",
        f"({N_CELLS}, {N_GENES})",
    )


def test_another_matrix(dataset: Path, tmp_path: Path) -> None:
    """A source with other values is reported with a cell, a gene and both values."""
    other = write_h5ad(tmp_path / "other.h5ad", counts(N_CELLS, N_GENES, seed=1))
    report = failed(dataset, against=other)
    assert kinds(report) == {"value"}
    ours, theirs = counts(N_CELLS, N_GENES), counts(N_CELLS, N_GENES, seed=1)
    assert dict(report.counts)["value"] == (ours.toarray() != theirs.toarray()).sum()


def test_another_type_of_the_source(dataset: Path, tmp_path: Path) -> None:
    """A source with the same numbers in another type is not the one that was converted."""
    other = write_h5ad(tmp_path / "other.h5ad", counts(N_CELLS, N_GENES).astype(np.int32))
    report = failed(dataset, against=other)
    assert [(d.kind, d.expected, d.found) for d in report.differences] == [
        ("type", "int32", "float32")
    ]


def test_other_columns(dataset: Path, tmp_path: Path, source: Path) -> None:
    """A source with another column, or a column of another type, is reported by its name."""
    adata = anndata.read_h5ad(source)
    adata.obs["depth"] = adata.obs["depth"].astype(np.float32)
    adata.var["symbol"] = [f"s{gene}" for gene in range(N_GENES)]
    adata.write_h5ad(tmp_path / "other.h5ad")
    wheres = {d.where for d in failed(dataset, against=tmp_path / "other.h5ad").differences}
    assert "type of column 'depth'" in wheres
    assert "columns" in wheres


def test_another_order_of_cells(dataset: Path, tmp_path: Path, source: Path) -> None:
    """A source with the same cells in another order is reported by the ids."""
    adata = anndata.read_h5ad(source)[::-1].copy()
    adata.write_h5ad(tmp_path / "other.h5ad")
    report = failed(dataset, against=tmp_path / "other.h5ad", quick=True)
    found = next(d for d in report.differences if d.where == "index of row 0")
    assert (found.expected, found.found) == (f"'cell-{N_CELLS - 1}'", "'cell-0'")


# ------------------------------------------------------------------------ layers and annotations


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source with something in every slot, and the dataset that was made of it."""
    top = tmp_path_factory.mktemp("everything")
    n_cells, n_genes = 12, 6
    write_h5ad(top / "in.h5ad", counts(n_cells, n_genes), **slots(counts(n_cells, n_genes, seed=7)))
    slaf.convert(top / "in.h5ad", top / "out.slaf", chunk_size=CHUNK)
    return top


LAYER_TABLES: list[tuple[str, str, Change, str]] = [
    ("a value of a layer", "layers", put("late", 0, 99), "digest"),
    ("a value of a layer is gone", "layers", put("late", 0, None), "digest"),
    ("a cell of a layer", "layers", put("cell_integer_id", 0, 3), "order"),
    ("a gene of a layer", "layers", put("gene_integer_id", 1, 5), "digest"),
    ("rows of a layer", "layers", lambda table: table.slice(1), "config"),
    ("a value of raw", "raw", put("value", 2, 99), "digest"),
    ("rows of raw", "raw", lambda table: table.slice(0, 3), "config"),
    ("genes of raw", "raw_genes", lambda table: table.slice(1), "config"),
    ("offsets of layers", "cells", put("layers_start_index", 0, 1), "offsets"),
    ("offsets of raw", "cells", put("raw_start_index", 11, 0), "offsets"),
]
# What only a source knows.
ELEMENTS: list[tuple[str, str, Change, str]] = [
    ("an embedding", "cells", put("X_pca", 0, [0.0, 9.0]), "obsm['X_pca'][0, 1]"),
    ("loadings", "genes", put("loadings", 0, [1.0, 1.0, 9.0]), "varm['loadings'][0, 2]"),
    ("a graph", "cellsxcells", put("graph", 0, 99), "obsp['graph'][0, 4]"),
    ("pairs of genes", "genesxgenes", put("dense", 0, 99.0), "varp['dense'][0, 0]"),
    ("an id of raw", "raw_genes", put("gene_id", 0, "other"), "index of row 0"),
]


@pytest.mark.parametrize("case", LAYER_TABLES, ids=lambda case: case[0])
def test_damage_to_layers_and_raw_is_found(
    case: tuple[str, str, Change, str], everything: Path, tmp_path: Path
) -> None:
    """Changes in layers, raw or their offsets are found without a source."""
    dataset = shutil.copytree(everything / "out.slaf", tmp_path / "out.slaf")
    _, table, change, kind = case
    sabotage(dataset, table, change)
    with pytest.raises(slaf.VerificationFailed) as caught:
        slaf.verify(dataset)
    assert kind in dict(caught.value.report.counts)


@pytest.mark.parametrize("case", ELEMENTS, ids=lambda case: case[0])
def test_changed_elements_are_found_against_the_source(
    case: tuple[str, str, Change, str], everything: Path, tmp_path: Path
) -> None:
    """What is changed in obsm, varm, obsp, varp or the genes of raw is found by its table's digest.

    Against the source it is named; which takes that, where there is no digest.
    """
    dataset = shutil.copytree(everything / "out.slaf", tmp_path / "out.slaf")
    _, table, change, where = case
    sabotage(dataset, table, change)
    assert only(failed(dataset), "digest").where == table
    source = everything / "in.h5ad"
    report = failed(dataset, against=source)
    assert [difference.where for difference in report.differences] == [table, where]
    unproven(dataset)
    report = failed(dataset, against=source)
    assert [difference.where for difference in report.differences] == [where]


def test_changed_values_of_layers_are_named(everything: Path, tmp_path: Path) -> None:
    """Against the source the layer, the cell and the gene are named."""
    dataset = shutil.copytree(everything / "out.slaf", tmp_path / "out.slaf")
    row = slaf.open(dataset).table("layers").to_table().to_pylist()[0]
    sabotage(dataset, "layers", put("late", 0, 99))
    with pytest.raises(slaf.VerificationFailed) as caught:
        slaf.verify(dataset, against=everything / "in.h5ad", quick=True)
    [found] = caught.value.report.differences
    cell, gene = row["cell_integer_id"], row["gene_integer_id"]
    where = f"'late', cell {cell} ('cell-{cell}'), gene {gene} ('gene-{gene}')"
    assert (found.kind, found.where, found.found) == ("layers", where, "99")


@pytest.mark.parametrize("key", ["uns", "elements"])
def test_damaged_files_are_found(key: str, everything: Path, tmp_path: Path) -> None:
    """A changed or missing file of elements is found, also without checksums of files."""
    dataset = shutil.copytree(everything / "out.slaf", tmp_path / "out.slaf")
    unproven(dataset)
    file = dataset / json.loads((dataset / "config.json").read_bytes())[key]["file"]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(slaf.VerificationFailed, match="digest"):
        slaf.verify(dataset)
    file.unlink()
    with pytest.raises(slaf.VerificationFailed, match="unreadable"):
        slaf.verify(dataset)


def test_a_table_of_raw_that_is_gone(everything: Path, tmp_path: Path) -> None:
    """A table that config.json records but no longer lists is reported."""
    dataset = shutil.copytree(everything / "out.slaf", tmp_path / "out.slaf")
    edit(dataset, lambda config: (config["tables"].pop("raw"), config["versions"].pop("raw")))
    with pytest.raises(slaf.VerificationFailed, match="table raw: expected True, found False"):
        slaf.verify(dataset)


def test_a_record_of_layers_that_is_damaged(everything: Path, tmp_path: Path) -> None:
    """A record of layers without its columns is refused when the dataset is opened."""
    dataset = shutil.copytree(everything / "out.slaf", tmp_path / "out.slaf")
    edit(dataset, lambda config: config["layers"].pop("columns"))
    with pytest.raises(DamagedDataset, match="key 'columns' is missing in layers"):
        slaf.open(dataset)
