"""SLAFConverter: every option does what its name says, over the one conversion there is."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import slaf
from slaf.errors import DuplicateInput, MissingMatrix, NoSuchInput, OutputExists
from slaf.options import docs_of
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import counts, write_h5ad
from tests.conversion.outputs import finished_parts, output_of, published_parts, tree

if TYPE_CHECKING:
    from slaf.dataset.dataset import Dataset

N_CELLS, N_GENES = 20, 8
IN_THE_MIDDLE = 20


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An h5ad with a layer that differs from X."""
    matrix = counts(N_CELLS, N_GENES)
    path = tmp_path_factory.mktemp("converter") / "in.h5ad"
    return write_h5ad(path, matrix, layers={"doubled": matrix * 2})


def fragments(dataset: Dataset) -> list[int]:
    """Rows of each fragment of `expression`."""
    return [fragment.count_rows() for fragment in dataset.expression.get_fragments()]


def indexed(dataset: Dataset) -> dict[str, set[str]]:
    """The columns that are indexed, by table."""
    return {
        name: {column for i in dataset.table(name).describe_indices() for column in i.field_names}
        for name in dataset.published.tables
    }


def test_the_defaults(source: Path, tmp_path: Path) -> None:
    """Without options, a converter does the same as `slaf.convert`."""
    ds = slaf.SLAFConverter().convert(source, tmp_path / "one.slaf")
    assert isinstance(ds, slaf.Dataset)
    slaf.convert(source, tmp_path / "other.slaf")
    assert output_of(tmp_path / "one.slaf") == output_of(tmp_path / "other.slaf")
    assert slaf.verify(ds, against=source).ok


def test_every_option_is_described() -> None:
    """Each keyword of the constructor is documented, and has a default."""
    described = docs_of(slaf.SLAFConverter)
    for field in dataclasses.fields(slaf.SLAFConverter):
        assert described[field.name]
        assert field.default is not dataclasses.MISSING


def test_it_is_a_value() -> None:
    """A converter does not change, and equals another with the same options."""
    converter = slaf.SLAFConverter(chunk_size=3)
    assert converter == slaf.SLAFConverter(chunk_size=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        converter.chunk_size = 4  # type: ignore[misc]


# ------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize("option", ["use_integer_keys", "optimize_storage"])
def test_string_ids(option: str, source: Path, tmp_path: Path) -> None:
    """`use_integer_keys=False` adds string ids to `expression`."""
    choice: dict[str, Any] = {option: False}
    ds = slaf.SLAFConverter(**choice).convert(source, tmp_path / "out.slaf")
    table = ds.expression.to_table()
    assert table.column_names == [
        "cell_id",
        "gene_id",
        "cell_integer_id",
        "gene_integer_id",
        "value",
    ]
    expected = counts(N_CELLS, N_GENES).tocoo()
    assert table["cell_id"].to_pylist() == [f"cell-{cell}" for cell in expected.row]
    assert table["gene_id"].to_pylist() == [f"gene-{gene}" for gene in expected.col]
    assert slaf.verify(ds, against=source).ok


@pytest.mark.parametrize("plain", [False, True])
def test_use_optimized_dtypes(plain: bool, source: Path, tmp_path: Path) -> None:  # noqa: FBT001
    """Optimised types are unsigned and narrow; the others int32 and float32."""
    ds = slaf.SLAFConverter(use_optimized_dtypes=not plain).convert(source, tmp_path / "out.slaf")
    types = ["int32", "int32", "float"] if plain else ["uint32", "uint16", "uint16"]
    assert [str(field.type) for field in ds.expression.schema] == types
    for table, column in (("cells", "cell_integer_id"), ("genes", "gene_integer_id")):
        assert str(ds.table(table).schema.field(column).type) == types[0]
    assert slaf.verify(ds, against=source).ok


def test_plain_types_that_are_exact(tmp_path: Path) -> None:
    """Where float32 does not hold every value, plain types are float64: nothing is rounded."""
    adata = anndata.AnnData(np.array([[1.0, 2.0**24 + 1]]))
    converter = slaf.SLAFConverter(use_optimized_dtypes=False)
    ds = converter.convert_anndata(adata, tmp_path / "out.slaf")
    assert str(ds.expression.schema.field("value").type) == "double"
    assert ds.X.to_memory().toarray().tolist() == adata.X.tolist()


def test_chunk_size(source: Path, tmp_path: Path) -> None:
    """`chunk_size` is the number of cells of a block."""
    ds = slaf.SLAFConverter(chunk_size=6).convert(source, tmp_path / "out.slaf")
    assert [(b.start, b.stop) for b in ds.published.blocks] == [(0, 6), (6, 12), (12, 18), (18, 20)]
    assert fragments(ds) == [block.rows for block in ds.published.blocks]


@pytest.mark.parametrize("size", [0, -1])
def test_chunk_size_of_nothing(size: int, source: Path, tmp_path: Path) -> None:
    """A chunk without a cell is refused before anything is written."""
    with pytest.raises(ValueError, match=f"chunk_size is {size}"):
        slaf.SLAFConverter(chunk_size=size).convert(source, tmp_path / "out.slaf")
    assert not (tmp_path / "out.slaf").exists()


def test_not_chunked(source: Path, tmp_path: Path) -> None:
    """Not chunked, the matrix is one part, whatever `chunk_size` says."""
    converter = slaf.SLAFConverter(chunked=False, chunk_size=6)
    ds = converter.convert(source, tmp_path / "out.slaf")
    assert [(block.start, block.stop) for block in ds.published.blocks] == [(0, N_CELLS)]
    assert fragments(ds) == [ds.nnz]


def test_compact_after_write(source: Path, tmp_path: Path) -> None:
    """Small chunks end up in one fragment, in the same order, each with its own digest."""
    chunks = slaf.SLAFConverter(chunk_size=6).convert(source, tmp_path / "chunks.slaf")
    converter = slaf.SLAFConverter(chunk_size=6, compact_after_write=True)
    compact = converter.convert(source, tmp_path / "compact.slaf")
    assert len(fragments(chunks)) == 4
    assert fragments(compact) == [compact.nnz]
    assert compact.published.blocks == chunks.published.blocks
    assert compact.expression.to_table() == chunks.expression.to_table()


def test_create_indices(source: Path, tmp_path: Path) -> None:
    """Ids are indexed on request, and the cells of `expression` always."""
    without = slaf.SLAFConverter().convert(source, tmp_path / "without.slaf")
    assert indexed(without) == {
        "expression": {"cell_integer_id"},
        "layers": set(),
        "cells": set(),
        "genes": set(),
    }
    ds = slaf.SLAFConverter(create_indices=True).convert(source, tmp_path / "with.slaf")
    assert indexed(ds) == {
        "expression": {"cell_integer_id", "gene_integer_id"},
        "layers": set(),
        "cells": {"cell_id"},
        "genes": {"gene_id"},
    }
    assert slaf.verify(ds, against=source).ok


def test_compression(source: Path, tmp_path: Path) -> None:
    """`compression` sets the compression of columns; an unknown one is refused."""
    packed = {}
    for name in ("fast", "balanced", "small"):
        ds = slaf.SLAFConverter(compression=name).convert(source, tmp_path / f"{name}.slaf")
        schema = ds.expression.schema
        packed[name] = [
            f.name for f in schema if b"lance-encoding:compression" in (f.metadata or {})
        ]
        assert slaf.verify(ds, against=source).ok
    assert packed == {
        "fast": [],
        "balanced": [],
        "small": ["gene_integer_id", "value"],
    }
    choice: dict[str, Any] = {"compression": "tiny"}
    with pytest.raises(ValueError, match="compression is 'tiny', but it is one of fast"):
        slaf.SLAFConverter(**choice)


def test_matrix(source: Path, tmp_path: Path) -> None:
    """The chosen matrix becomes `expression`; one that is not there is refused."""
    ds = slaf.SLAFConverter(matrix="layer:doubled").convert(source, tmp_path / "out.slaf")
    assert ds.X.to_memory().toarray().tolist() == (counts(N_CELLS, N_GENES) * 2).toarray().tolist()
    with pytest.raises(MissingMatrix, match="layer:tripled"):
        slaf.SLAFConverter(matrix="layer:tripled").convert(source, tmp_path / "other.slaf")


def stopped(source: Path, output: Path) -> dict[int, Any]:
    """The finished parts of a conversion that was stopped in its middle."""
    with pytest.raises(Crash):
        slaf.SLAFConverter(chunk_size=4).convert(source, CrashingStorage(output, IN_THE_MIDDLE))
    found = finished_parts(output)
    assert 0 < len(found) < N_CELLS // 4
    return found


def test_with_checkpointing(source: Path, tmp_path: Path) -> None:
    """An unfinished conversion is resumed: finished parts are kept."""
    before = stopped(source, tmp_path / "out.slaf")
    slaf.SLAFConverter(chunk_size=4).convert(source, tmp_path / "out.slaf")
    after = published_parts(tmp_path / "out.slaf")
    assert [after[index] for index in sorted(before)] == [file for (file,) in before.values()]


def test_without_checkpointing(source: Path, tmp_path: Path) -> None:
    """An unfinished conversion restarts: no finished part is used."""
    before = stopped(source, tmp_path / "out.slaf")
    converter = slaf.SLAFConverter(chunk_size=4, enable_checkpointing=False)
    ds = converter.convert(source, tmp_path / "out.slaf")
    names = {file.name for files in before.values() for file in files}
    assert not names & {file.name for file in published_parts(tmp_path / "out.slaf")}
    assert slaf.verify(ds, against=source).ok


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sort_metadata": True}, "sort_metadata=True is not possible.*sort when you query"),
        ({"enable_v2_manifest": False}, "enable_v2_manifest=False is not possible"),
        ({"max_rows_per_file": 10}, "max_rows_per_file=10 is not possible.*chunk_size"),
        ({"tiledb_layer_name": "a", "matrix": "raw"}, "name two matrices"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    """Options that contradict the format are refused, with the reason."""
    with pytest.raises(ValueError, match=message):
        slaf.SLAFConverter(**options)


def test_validation_is_not_skipped(source: Path, tmp_path: Path) -> None:
    """`skip_validation=True` is refused with the reason, before anything is written."""
    converter = slaf.SLAFConverter()
    for verb in (converter.convert, converter.append):
        with pytest.raises(ValueError, match="skip_validation=True is not possible"):
            verb(source, tmp_path / "out.slaf", skip_validation=True)
    assert not (tmp_path / "out.slaf").exists()


def test_tiledb_collection_name(source: Path, tmp_path: Path) -> None:
    """`tiledb_collection_name` is ignored for inputs without measurements."""
    ds = slaf.SLAFConverter(tiledb_collection_name="ATAC").convert(source, tmp_path / "out.slaf")
    assert ds.sources[0].choice == {}
    assert slaf.verify(ds, against=source).ok


# ------------------------------------------------------------------------------------------- inputs


@pytest.mark.parametrize(
    "wrap", [Path, str, lambda p: [p], lambda p: (str(p),)], ids=["path", "text", "list", "tuple"]
)
def test_paths(wrap: Any, source: Path, tmp_path: Path) -> None:
    """A path, its text, and a list of one are the same input."""
    ds = slaf.SLAFConverter().convert(wrap(source), tmp_path / "out.slaf")
    assert ds.sources[0].uri == str(source)


def test_several_paths(source: Path, tmp_path: Path) -> None:
    """No input, and the same one twice, are refused before anything is written."""
    with pytest.raises(NoSuchInput, match="there is no input"):
        slaf.SLAFConverter().convert([], tmp_path / "out.slaf")
    with pytest.raises(DuplicateInput, match="the same input is there"):
        slaf.SLAFConverter().convert([source, source], tmp_path / "out.slaf")
    assert not (tmp_path / "out.slaf").exists()


def test_input_format(source: Path, tmp_path: Path) -> None:
    """A named format is used; an unknown one is refused."""
    ds = slaf.SLAFConverter().convert(source, tmp_path / "out.slaf", input_format="h5ad")
    assert ds.sources[0].format == "h5ad"
    with pytest.raises(slaf.InputError, match="'csv'"):
        slaf.SLAFConverter().convert(source, tmp_path / "other.slaf", input_format="csv")


def test_an_output_that_is_there(source: Path, tmp_path: Path) -> None:
    """A finished dataset is never replaced by a converter."""
    converter = slaf.SLAFConverter(enable_checkpointing=False)
    converter.convert(source, tmp_path / "out.slaf")
    before = tree(tmp_path / "out.slaf")
    with pytest.raises(OutputExists):
        converter.convert(source, tmp_path / "out.slaf")
    assert tree(tmp_path / "out.slaf") == before


def awkward() -> anndata.AnnData:
    """An AnnData that invites being tidied: unsorted, with repeated entries and a stored zero."""
    matrix = sp.csr_matrix(
        (
            np.array([2.0, 1.0, 3.0, 0.0, 5.0], np.float32),
            np.array([2, 0, 0, 1, 1], np.int32),
            np.array([0, 3, 4, 5], np.int32),
        ),
        shape=(3, 4),
    )
    assert not matrix.has_canonical_format
    obs = pd.DataFrame(
        {
            "kind": pd.Categorical(["b", None, "a"], categories=["b", "unused", "a"], ordered=True),
            "n.genes": pd.array([1, None, 3], dtype="Int64"),
            "cell_id": ["x", "y", "z"],
        },
        index=pd.Index(["c1", "c2", "c3"], name="barcode"),
    )
    adata = anndata.AnnData(
        matrix, obs=obs, uns={"nested": {"list": [1, 2]}}, obsm={"pca": np.ones((3, 2))}
    )
    adata.layers["copy"] = matrix.copy()
    adata.raw = adata.copy()
    return adata


def memory(adata: anndata.AnnData) -> list[Any]:
    """All of an AnnData, byte by byte and flag by flag, apart from what it shares."""
    found: list[Any] = []
    for matrix in (adata.X, adata.layers["copy"], adata.raw.X):
        found += [copy.copy(vars(matrix).get("_has_canonical_format"))]
        for array in (matrix.data, matrix.indices, matrix.indptr):
            found.append((array.dtype, array.tobytes(), array.flags.writeable))
    for frame in (adata.obs, adata.var, adata.raw.var):
        found.append((list(map(repr, frame.dtypes)), repr(frame.to_dict()), repr(frame.index)))
    found.append((repr(adata.uns), adata.obsm["pca"].tobytes(), adata.is_view))
    return found


@pytest.mark.parametrize("matrix", ["X", "raw", "layer:copy"])
def test_convert_anndata(matrix: str, tmp_path: Path) -> None:
    """An AnnData in memory is converted, and is afterwards what it was before."""
    adata = awkward()
    before, objects = memory(adata), (adata.X, adata.obs, adata.raw, adata.uns)
    converter = slaf.SLAFConverter(chunk_size=2, matrix=matrix)
    ds = converter.convert_anndata(adata, tmp_path / "out.slaf")
    assert memory(adata) == before
    now = (adata.X, adata.obs, adata.raw, adata.uns)
    assert all(one is other for one, other in zip(objects, now, strict=True))
    assert ds.X.to_memory().toarray().tolist() == [[4, 0, 2, 0], [0, 0, 0, 0], [0, 5, 0, 0]]
    assert slaf.verify(ds, against=adata).ok
    assert memory(adata) == before


def test_append(source: Path, tmp_path: Path) -> None:
    """Inputs are appended as by `slaf.append`, with the storage options of the dataset."""
    described = slaf.info(source)
    assert isinstance(described, slaf.InputInfo)
    other = write_h5ad(tmp_path / "other.h5ad", counts(7, described.n_genes, seed=5))
    converter = slaf.SLAFConverter(use_optimized_dtypes=False, layers="none")
    before = converter.convert(source, tmp_path / "out.slaf")
    schema = before.expression.schema
    ds = slaf.SLAFConverter(chunk_size=3).append([other], tmp_path / "out.slaf", "h5ad")
    assert ds.n_cells == before.n_cells + 7
    assert ds.expression.schema == schema
    slaf.verify(ds, against=[source, other])
    with pytest.raises(slaf.DatasetError):
        converter.append(source, tmp_path / "missing.slaf", input_format="h5ad")
    assert not (tmp_path / "missing.slaf").exists()
