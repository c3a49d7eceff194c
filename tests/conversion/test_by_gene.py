"""The rows in the order of genes are those of `expression`, and reads by gene give the same."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import lance
import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given

import slaf
from slaf.errors import ConversionInProgress, DamagedDataset, UnfinishedRun
from slaf.format.digests import MultisetHash
from slaf.format.validation import with_checksum
from slaf.runs import gene_order as stage
from slaf.sparse.casting import Float64WithRemainder
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import counts, write_h5ad
from tests.conversion.cases import ending_in, shuffled_inputs
from tests.conversion.outputs import finished_parts, output_of, unaccounted
from tests.conversion.slafdb_datasets import slafdb_files

if TYPE_CHECKING:
    from pathlib import Path

    from hypothesis.strategies import DataObject

N_CELLS, N_GENES = 60, 20
TABLE = "expression_by_gene"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 20 rows, and parts of 60."""
    monkeypatch.setattr(stage, "_BLOCK_NONZEROS", 20)
    monkeypatch.setattr(stage, "PART_NONZEROS", 60)


def check_by_gene(path: Path) -> pa.Table:
    """Check that the table is `expression`, sorted by gene and cell; it."""
    dataset = slaf.open(path)
    found = dataset.table(TABLE).to_table()
    expected = dataset.expression.to_table().select(found.column_names)
    order = [("gene_integer_id", "ascending"), ("cell_integer_id", "ascending")]
    for ours, theirs in zip(found.columns, expected.sort_by(order).columns, strict=True):
        assert ours.type == theirs.type
        np.testing.assert_array_equal(ours.to_numpy(), theirs.to_numpy())
    starts = dataset.table("genes").to_table().column("gene_start_index").to_numpy()
    genes = found.column("gene_integer_id").to_numpy()
    np.testing.assert_array_equal(starts, np.searchsorted(genes, np.arange(dataset.n_genes)))
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_in_parts(workers: int, tmp_path: Path) -> None:
    """The rows are all there, in whole genes, in several fragments, and proven."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(N_CELLS, N_GENES))
    output = tmp_path / "out.slaf"
    slaf.convert(source, output, by_gene=True, chunk_size=7, workers=workers)
    check_by_gene(output)
    rows = output_of(output).rows[TABLE]
    assert len(rows) > 2
    assert all(n >= 60 for n in rows[:-1])
    checks = slaf.verify(output, against=source).checks
    assert any("in the order of genes" in check for check in checks)
    assert not unaccounted(output)
    plain = slaf.convert(source, tmp_path / "plain.slaf", chunk_size=7)
    assert TABLE not in plain.published.tables
    assert plain.table("genes").to_table().column_names == [
        name
        for name in slaf.open(output).table("genes").to_table().column_names
        if name != "gene_start_index"
    ]


@given(data=st.data())
def test_the_same_is_read(data: DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever cells and genes are asked for, in whatever order, however often."""
    folder = tmp_path_factory.getbasetemp() / "reads"
    if not folder.exists():
        folder.mkdir()
        source = write_h5ad(folder / "in.h5ad", counts(N_CELLS, N_GENES))
        slaf.convert(source, folder / "out.slaf", by_gene=True)
    dataset = slaf.open(folder / "out.slaf")
    expected = counts(N_CELLS, N_GENES).toarray()
    cells = data.draw(st.none() | st.lists(st.integers(0, N_CELLS - 1), max_size=8))
    genes = data.draw(st.lists(st.integers(0, N_GENES - 1), max_size=4))
    found = dataset[cells, genes].X.to_memory()
    rows = np.arange(N_CELLS) if cells is None else np.array(cells, np.int64)
    wanted = expected[rows][:, np.array(genes, np.int64)]
    np.testing.assert_array_equal(found.toarray(), wanted)
    assert found.has_sorted_indices
    assert found.dtype == expected.dtype
    assert isinstance(found, sp.csr_matrix)


@pytest.mark.parametrize(
    ("gone", "cells", "genes"),
    [
        ("expression", slice(None), [3]),
        ("expression", slice(None), [3, 4]),
        ("expression", slice(2, 20), [1]),
        (TABLE, [3], list(range(N_GENES))),
        (TABLE, slice(None), list(range(N_GENES))),
    ],
)
def test_the_fewer_rows_are_read(gone: str, cells: Any, genes: list[int], tmp_path: Path) -> None:
    """A gene of many cells is read by gene, and all genes of a cell by cell: of the other table
    nothing is read, for it is gone.
    """
    matrix = counts(N_CELLS, N_GENES)
    output = tmp_path / "out.slaf"
    slaf.convert(write_h5ad(tmp_path / "in.h5ad", matrix), output, by_gene=True)
    shutil.rmtree(output / f"{gone}.lance" / "data")
    expected = matrix[cells][:, genes].toarray()
    np.testing.assert_array_equal(slaf.open(output)[cells, genes].X.to_memory().toarray(), expected)
    found = slaf.open(output)[cells, genes].to_anndata()
    np.testing.assert_array_equal(found.X.toarray(), expected)
    other = (slice(None), [3]) if gone == TABLE else ([3], list(range(N_GENES)))
    with pytest.raises(DamagedDataset):
        slaf.open(output)[*other].X.to_memory()


@pytest.mark.parametrize(
    "values",
    [
        np.array([2**63 - 1, -1, 3], np.int64),
        np.array([0.1, np.nan, -np.inf], np.float64),
        np.array([70_000, 1, 2], np.float32),
        np.array([2**64 - 1, 1, 2], np.uint64)[1:],
    ],
)
def test_every_type(values: Any, tmp_path: Path) -> None:
    """Values are in the type that `expression` has them in."""
    n = len(values)
    matrix = sp.csr_matrix((values, (np.arange(n) % 2, np.arange(n))), (2, 4))
    output = tmp_path / "out.slaf"
    slaf.convert(write_h5ad(tmp_path / "in.h5ad", matrix), output, by_gene=True)
    check_by_gene(output)
    slaf.verify(output, against=tmp_path / "in.h5ad")


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "fast"},
        {"compression": "small"},
        {"plain_types": True},
        {"string_ids": True, "create_indices": True},
    ],
)
def test_however_it_is_stored(options: dict[str, Any], tmp_path: Path) -> None:
    """Each way to store `expression` goes together with it."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(N_CELLS, N_GENES))
    output = tmp_path / "out.slaf"
    slaf.convert(source, output, by_gene=True, **options)
    check_by_gene(output)
    slaf.verify(output, against=source)
    more = write_h5ad(tmp_path / "more.h5ad", counts(4, N_GENES, seed=2))
    slaf.append(more, output)
    check_by_gene(output)
    slaf.verify(output, against=[source, more])


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0), (5, 4)])
def test_without_a_value(shape: tuple[int, int], tmp_path: Path) -> None:
    """No cells, no genes, no values: the table is there, and empty."""
    source = write_h5ad(tmp_path / "in.h5ad", sp.csr_matrix(np.zeros(shape, np.float32)))
    output = tmp_path / "out.slaf"
    dataset = slaf.convert(source, output, by_gene=True)
    assert check_by_gene(output).num_rows == 0
    assert dataset[:, list(range(shape[1]))].X.to_memory().shape == shape
    slaf.verify(output, against=source)


def test_appends_are_one_conversion(tmp_path: Path) -> None:
    """Of inputs that are added with genes of their own, the rows are those of one conversion."""
    first, second, third = shuffled_inputs(tmp_path)
    output = tmp_path / "out.slaf"
    slaf.convert(first, output, by_gene=True)
    slaf.append([second], output, join="union")
    slaf.append([third], output, join="union")
    whole = slaf.convert([first, second, third], tmp_path / "whole.slaf", join="union")
    assert TABLE not in whole.published.tables
    slaf.convert(
        [first, second, third], tmp_path / "whole.slaf", join="union", by_gene=True, overwrite=True
    )
    assert check_by_gene(output) == check_by_gene(tmp_path / "whole.slaf")
    slaf.verify(output, against=[first, second, third])
    assert not unaccounted(output)


def test_widened_by_an_append(tmp_path: Path) -> None:
    """A value that asks for another type changes that of both tables."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(12, 6))
    output = tmp_path / "out.slaf"
    slaf.convert(source, output, by_gene=True)
    slaf.append(write_h5ad(tmp_path / "more.h5ad", ending_in(0.5)), output)
    assert check_by_gene(output).schema.field("value").type == pa.float32()
    slaf.verify(output)


def test_left_out_and_asked_for(tmp_path: Path) -> None:
    """An append may leave the table out, and another may make it."""
    inputs = [
        write_h5ad(tmp_path / f"{n}.h5ad", counts(N_CELLS, N_GENES, seed=n)) for n in range(3)
    ]
    output = tmp_path / "out.slaf"
    slaf.convert(inputs[0], output, by_gene=True)
    without = slaf.append(inputs[1], output, by_gene=False)
    assert TABLE not in without.published.tables
    assert "gene_start_index" not in without.table("genes").to_table().column_names
    assert not (output / f"{TABLE}.lance").exists()
    assert not unaccounted(output)
    slaf.verify(output)
    slaf.append(inputs[2], output, by_gene=True)
    check_by_gene(output)
    slaf.verify(output, against=inputs)


def test_compacting_leaves_it(tmp_path: Path) -> None:
    """When small fragments are merged the rows by gene stay what they are."""
    output = tmp_path / "out.slaf"
    slaf.convert(write_h5ad(tmp_path / "0.h5ad", counts(5, 6)), output, by_gene=True)
    slaf.append(write_h5ad(tmp_path / "1.h5ad", counts(5, 6, seed=1)), output)
    before = output_of(output)
    slaf.compact(output)
    assert output_of(output).tables == before.tables
    assert output_of(output).rows[TABLE] == before.rows[TABLE]
    slaf.verify(output)
    assert not unaccounted(output)


def test_with_hardly_any_memory(tmp_path: Path) -> None:
    """Sorting takes what memory it may, and gives the same."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(400, 300))
    made = [
        slaf.convert(source, tmp_path / f"{memory}.slaf", by_gene=True, memory=memory)
        for memory in (200_000, None)
    ]
    little, much = (output_of(one.location.path) for one in made)
    assert little == much


def test_genes_that_are_done_stay(tmp_path: Path) -> None:
    """Stopped between two parts, the first is not sorted again."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(N_CELLS, N_GENES))
    output = tmp_path / "out.slaf"
    whole = CrashingStorage(tmp_path / "whole.slaf")
    slaf.convert(source, whole, by_gene=True)
    written = [at for at, one in enumerate(whole.effects) if str(one).startswith(f"write {TABLE}")]
    assert len(written) > 2
    with pytest.raises(Crash):
        slaf.convert(source, CrashingStorage(output, written[2]), by_gene=True)
    with pytest.raises(ConversionInProgress):
        slaf.open(output)
    kept = [at for at in finished_parts(output) if at < 0]
    assert len(kept) == 2
    files = {file.name for at in kept for file in finished_parts(output)[at]}
    with pytest.raises(UnfinishedRun, match="by_gene was True and is False"):
        slaf.convert(source, output)
    slaf.convert(source, output, by_gene=True)
    assert files < {path.name for path in (output / f"{TABLE}.lance/data").iterdir()}
    assert output_of(output) == output_of(tmp_path / "whole.slaf")


@pytest.mark.parametrize("appending", [False, True])
def test_parts_that_were_damaged_meanwhile(appending: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """What is sorted is held against its digests: a flipped byte does not get into the copy."""
    source = write_h5ad(tmp_path / "in.h5ad", counts(200, N_GENES))
    output = tmp_path / "out.slaf"
    if appending:
        slaf.convert(write_h5ad(tmp_path / "old.h5ad", counts(9, N_GENES, seed=1)), output)
    before = output_of(output) if appending else None
    call = slaf.append if appending else slaf.convert
    copy = tmp_path / "copy.slaf"
    if appending:
        shutil.copytree(output, copy)
    recorder = CrashingStorage(copy)
    call(source, recorder, by_gene=True)
    first = next(at for at, one in enumerate(recorder.effects) if f"write {TABLE}" in str(one))
    with pytest.raises(Crash):
        call(source, CrashingStorage(output, first), by_gene=True)
    (part,) = (file.name for files in finished_parts(output).values() for file in files)
    file = output / "expression.lance/data" / part
    content = bytearray(file.read_bytes())
    # Beyond the first page, which is of the cells: those are known without it.
    middle = slice(len(content) // 4, len(content) // 2)
    content[middle] = bytes(byte ^ 0xFF for byte in content[middle])
    file.write_bytes(content)
    with pytest.raises(DamagedDataset):
        call(source, output, by_gene=True)
    if before is None:
        assert not output.exists()
    else:
        assert output_of(output) == before
        assert not unaccounted(output)


def tampered(output: Path, change: Any) -> None:
    """Write another table in place of the rows by gene, as somebody would who hides it."""
    published = slaf.open(output).published
    table = slaf.open(output).table(TABLE).to_table()
    columns = [column.to_numpy().copy() for column in table.columns]
    change(columns)
    changed = pa.table(dict(zip(table.column_names, columns, strict=True)), schema=table.schema)
    lance.write_dataset(
        changed, str(output / f"{TABLE}.lance"), mode="overwrite", data_storage_version="2.1"
    )
    config = json.loads((output / "config.json").read_bytes())
    config["versions"][TABLE] = published.versions[TABLE] + 1
    del config["proof"]
    (output / "config.json").write_bytes(with_checksum(config))


def exchange(columns: list[Any]) -> None:
    """Two different values of one gene."""
    genes, _, values = columns
    first = next(at for at in range(len(genes)) if genes[at] == genes[at + 1])
    values[[first, first + 1]] = values[first] + 1, values[first + 1] + 1


def other_cell(columns: list[Any]) -> None:
    """The last row is of another cell."""
    columns[1][-1] -= 1


def other_gene(columns: list[Any]) -> None:
    """The last row is of another gene."""
    columns[0][-1] -= 1


@pytest.mark.parametrize("change", [exchange, other_cell, other_gene])
def test_what_is_no_copy_is_found(change: Any, tmp_path: Path) -> None:
    """Rows that are not those of `expression` are found, though all files are sound."""
    output = tmp_path / "out.slaf"
    matrix = counts(N_CELLS, N_GENES)
    slaf.convert(write_h5ad(tmp_path / "in.h5ad", matrix), output, by_gene=True)
    tampered(output, change)
    with pytest.raises(slaf.VerificationFailed) as caught:
        slaf.verify(output)
    kinds = {difference.kind for difference in caught.value.report.differences}
    assert kinds <= {"digest", "order"}
    assert all(TABLE in difference.where for difference in caught.value.report.differences)


def test_another_dataset_s_rows(tmp_path: Path) -> None:
    """Rows with sound digests that are not those of `expression` have another fingerprint."""
    output, other = tmp_path / "out.slaf", tmp_path / "other.slaf"
    matrix = counts(N_CELLS, N_GENES)
    slaf.convert(write_h5ad(tmp_path / "in.h5ad", matrix), output, by_gene=True)
    matrix.data[matrix.data > 4] += 1
    slaf.convert(write_h5ad(tmp_path / "other.h5ad", matrix), other, by_gene=True)

    def theirs(columns: list[Any]) -> None:
        for mine, new in zip(
            columns, slaf.open(other).table(TABLE).to_table().columns, strict=True
        ):
            mine[:] = new.to_numpy()

    tampered(output, theirs)
    config = json.loads((output / "config.json").read_bytes())
    config["by_gene"]["blocks"] = json.loads((other / "config.json").read_bytes())["by_gene"][
        "blocks"
    ]
    (output / "config.json").write_bytes(with_checksum(config))
    with pytest.raises(slaf.VerificationFailed, match=f"all rows of {TABLE}"):
        slaf.verify(output)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["by_gene"].pop("fingerprint"), "key 'fingerprint' is missing"),
        (lambda c: c["by_gene"].update(fingerprint="xyz"), r"by_gene\.fingerprint is 'xyz'"),
        (
            lambda c: c["by_gene"]["blocks"][0].update(rows=-1),
            r"by_gene\.blocks\[0\]\.rows",
        ),
        (lambda c: c["by_gene"]["blocks"][0].update(genes=[0]), "must be a list of length 2"),
        (lambda c: c.update(by_gene=3), "by_gene is '3', but must be an object"),
    ],
)
def test_config_that_somebody_edited(change: Any, said: str, tmp_path: Path) -> None:
    """What config.json says of it is held against its rules when it is opened."""
    output = tmp_path / "out.slaf"
    slaf.convert(write_h5ad(tmp_path / "in.h5ad", counts(5, 4)), output, by_gene=True)
    config = json.loads((output / "config.json").read_bytes())
    change(config)
    (output / "config.json").write_bytes(with_checksum(config))
    with pytest.raises(DamagedDataset, match=said):
        slaf.open(output)


def test_mended_without_the_inputs(tmp_path: Path) -> None:
    """Damaged rows by gene are sorted again out of those by cell, and only they."""
    output = tmp_path / "out.slaf"
    source = write_h5ad(tmp_path / "in.h5ad", counts(N_CELLS, N_GENES))
    slaf.convert(source, output, by_gene=True, chunk_size=9)
    before = output_of(output)
    first, second, *_ = sorted((output / f"{TABLE}.lance/data").iterdir())
    second.unlink()
    repaired = slaf.repair(output)
    assert (repaired.parts, repaired.tables) == ((), (TABLE,))
    assert ", genes " in repaired.damaged[0]
    assert first.exists()
    assert output_of(output) == before
    slaf.verify(output, against=source)
    assert not unaccounted(output)
    # Of all that lies under it nothing is left either: then the inputs are asked for.
    for file in [
        *(output / f"{TABLE}.lance/data").iterdir(),
        *(output / "cells.lance/data").iterdir(),
    ]:
        file.unlink()
    next((output / "expression.lance/data").iterdir()).unlink()
    slaf.repair(output, source)
    assert output_of(output) == before
    slaf.verify(output, against=source)


def test_the_fingerprint_knows_no_order() -> None:
    """Entries in any order, in any pieces, have the same fingerprint; others have another one."""
    rng = np.random.default_rng(0)
    cells, genes = rng.integers(0, 50, (2, 100_000)).astype(np.uint32)
    values = rng.integers(1, 9, 100_000).astype(np.float64)

    def of(order: Any, **changed: Any) -> str:
        whole = {"cells": cells, "genes": genes, "values": values} | changed
        parts = []
        for chosen in np.array_split(order, 3):
            one = MultisetHash()
            found = Float64WithRemainder(whole["values"][chosen], None)
            one.add(whole["cells"][chosen], whole["genes"][chosen], found)
            parts.append(one.hexdigest())
        return MultisetHash.total(parts)

    all_of_them = np.arange(len(cells))
    whole = of(all_of_them)
    assert of(rng.permutation(all_of_them)) == whole
    assert of(all_of_them, cells=genes, genes=cells) != whole
    changed = values.copy()
    changed[5] += 1
    assert of(all_of_them, values=changed) != whole
    swapped = values.copy()
    at = int(np.flatnonzero(values != values[0])[0])
    swapped[[0, at]] = values[[at, 0]]
    assert of(all_of_them, values=swapped) != whole
    assert of(np.append(all_of_them[1:], 1)) != whole


def test_proof_names_genes(tmp_path: Path) -> None:
    """The files are noted with the genes that they hold."""
    output = tmp_path / "out.slaf"
    slaf.convert(write_h5ad(tmp_path / "in.h5ad", counts(N_CELLS, N_GENES)), output, by_gene=True)
    proof = slaf.open(output).published.checksums
    files = [one for one in proof.of(f"{TABLE}.lance") if "/data/" in one.file]
    held = [one.genes for one in files if one.genes is not None]
    assert len(files) == len(held) > 2
    assert [start for start, _ in held] == [0, *(stop for _, stop in held[:-1])]
    assert held[-1][1] == 20
    assert {one.cells for one in files} == {None}


def test_of_a_dataset_that_slafdb_wrote(tmp_path: Path) -> None:
    """What is written anew of another program's dataset may be in the order of genes as well."""
    output = tmp_path / "out.slaf"
    slafdb_files(counts(9, 6)).write(output)
    more = write_h5ad(tmp_path / "more.h5ad", counts(12, 6, seed=1))
    slaf.append(more, output, by_gene=True)
    check_by_gene(output)
    assert (output / "adopted" / f"{TABLE}.lance").is_dir()
    slaf.append(write_h5ad(tmp_path / "last.h5ad", counts(5, 6, seed=2)), output)
    check_by_gene(output)
    slaf.verify(output)
