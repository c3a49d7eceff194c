"""Options of an export, and reports about what each format leaves out."""

from __future__ import annotations

import gzip
import logging
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy

import slaf
from slaf.errors import OutputExists, SelectionError, StorageError, TargetError
from slaf.targets import FORMATS
from slaf.testing.strategies import Stored
from tests.builders import names, write_stored
from tests.sources.reads import M, Read, write_reads

if TYPE_CHECKING:
    from pathlib import Path

    from slaf.dataset.dataset import Dataset


def dataset_of(
    folder: Path, obs: pd.DataFrame | None = None, var: pd.DataFrame | None = None
) -> Dataset:
    """A dataset of three cells and two genes."""
    adata = anndata.AnnData(
        np.array([[1, 0], [0, 2], [3, 4]], np.float32),
        obs=names("cell", 3) if obs is None else obs,
        var=names("gene", 2) if var is None else var,
    )
    return slaf.convert(adata, folder / "in.slaf")


def features() -> pd.DataFrame:
    """A var as scanpy reads it from files of Cell Ranger."""
    return pd.DataFrame(
        {
            "gene_ids": ["ENSG1", "ENSG2"],
            "feature_types": pd.Categorical(["Gene Expression", "Antibody Capture"]),
            "genome": ["GRCh38", ""],
            "length": [5, 6],
        },
        index=pd.Index(["CD3D", "CD4"], dtype=object),
    )


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)
def test_formats_are_chosen_by_name_or_suffix(format: Any, tmp_path: Path) -> None:
    """Each format is chosen by its suffixes, or by its name with any suffix."""
    dataset = dataset_of(tmp_path)
    if format.has_strands:
        reads = write_reads(tmp_path / "in.bam", [Read(0, 5, ((M, 9),))])
        dataset = slaf.convert(reads, tmp_path / "reads.slaf")
    for number, suffix in enumerate((*format.suffixes, "")):
        name = None if suffix else format.name
        report = slaf.export(dataset, tmp_path / f"out-{number}{suffix}", format=name)
        assert report.format == format.name
        assert report.bytes > 0
        assert format.matches(tmp_path / f"out-{number}{suffix}")


@pytest.mark.parametrize(
    ("name", "options", "cause"),
    [
        ("out.loom", {}, "no format has this suffix; name one with --format: h5ad"),
        ("out", {}, "no format has this suffix"),
        ("out", {"format": "loom"}, "no format 'loom' to export to; choose one of h5ad"),
        ("out.h5", {"layout": "csc"}, "no layout 'csc'; leave the option out"),
        ("out.h5ad", {"layout": "coo"}, "no layout 'coo'; choose one of csr, csc"),
        ("out.zarr", {"compression": "lzf"}, "no compression 'lzf'; choose one of zstd, gzip"),
        ("out.soma", {"compression": "gzip"}, "no compression 'gzip'; leave the option out"),
    ],
)
def test_choices_that_a_format_has_not(
    name: str, options: dict[str, str], cause: str, tmp_path: Path
) -> None:
    """An unknown choice is refused with a list of the known ones, and nothing is written."""
    dataset = dataset_of(tmp_path)
    with pytest.raises(TargetError, match=cause):
        slaf.export(dataset, tmp_path / name, **options)  # type: ignore[arg-type]  # strings all
    assert [path.name for path in tmp_path.iterdir()] == ["in.slaf"]


def test_unknown_cells(tmp_path: Path) -> None:
    """A selection of unknown cells is refused before anything is written."""
    with pytest.raises(SelectionError):
        slaf.export(dataset_of(tmp_path)[["nobody"]], tmp_path / "out.h5ad")
    assert [path.name for path in tmp_path.iterdir()] == ["in.slaf"]


def test_web_addresses(tmp_path: Path) -> None:
    """A web address is refused as output, and a URL as scratch directory."""
    with pytest.raises(StorageError, match="an output is on a disk or in a bucket"):
        slaf.export(dataset_of(tmp_path), "https://host/out.h5ad")
    with pytest.raises(StorageError, match="has to be a path of this machine"):
        slaf.export(tmp_path / "in.slaf", tmp_path / "out.h5ad", scratch="s3://bucket/scratch")


def test_left_out_columns_are_reported_and_refused_by_strict(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each column that a format cannot hold is reported; with `strict` nothing is written."""
    obs = names("cell", 3).assign(
        when=pd.to_datetime(["2020-01-01"] * 3),
        some=np.array(["a", None, "b"], object),
        kind=["a", "b", "c"],
        part=pd.array([0.5, None, 2], dtype="Float64"),
        both=pd.arrays.FloatingArray(np.array([np.nan, 1, 2]), np.array([False, True, False])),
    )
    dataset = dataset_of(tmp_path, obs)
    caplog.set_level(logging.WARNING, "slaf")
    report = slaf.export(dataset, tmp_path / "out.h5ad")
    assert report.left_out == (
        "obs['when'] (datetime64[ns]) is left out",
        "obs['some'] (object) becomes nullable strings",
        "obs['part'] (Float64) becomes float64, with NaN where missing",
        "obs['both'] (Float64) becomes float64, where NaN and missing values are one",
    )
    assert "AnnData on HDF5 does not hold all of the dataset: obs['when']" in caplog.text
    read = anndata.read_h5ad(tmp_path / "out.h5ad").obs
    assert list(read.columns) == ["some", "kind", "part", "both"]
    assert read["part"].fillna(-1).tolist() == [0.5, -1, 2]
    assert read["both"].isna().tolist() == [True, True, False]
    assert read["some"].isna().tolist() == [False, True, False]
    with pytest.raises(TargetError, match=r"obs\['when'\] \(datetime64\[ns\]\) is left out"):
        slaf.export(dataset, tmp_path / "strict.h5ad", strict=True)
    assert not (tmp_path / "strict.h5ad").exists()


@pytest.mark.parametrize("same", [True, False])
def test_a_column_with_the_name_of_the_index(same: bool, tmp_path: Path) -> None:  # noqa: FBT001 - pytest names it
    """AnnData stores both as one: the name of the index stays only if both are equal."""
    obs = names("cell", 3).rename_axis("barcode")
    obs["barcode"] = obs.index if same else ["a", "b", "c"]
    dataset = dataset_of(tmp_path, obs)
    report = slaf.export(dataset, tmp_path / "out.h5ad")
    read = anndata.read_h5ad(tmp_path / "out.h5ad").obs
    assert read.index.name == ("barcode" if same else None)
    assert list(read.index) == list(obs.index)
    assert list(read["barcode"]) == list(obs["barcode"])
    assert report.left_out == (
        () if same else ("the name of the index of obs, 'barcode', is left out",)
    )


def test_tables_without_columns_are_not_left_out(tmp_path: Path) -> None:
    """Of a raw whose genes have no columns an SCDL folder lacks the matrix alone."""
    adata = anndata.AnnData(np.eye(3, dtype=np.float32))
    adata.raw = adata
    dataset = slaf.convert(adata, tmp_path / "in.slaf")
    report = slaf.export(dataset, tmp_path / "out", format="scdl")
    assert report.left_out == ("raw/X is left out",)


@pytest.mark.parametrize("name", ["out.h5", "out.mtx"])
def test_features_of_scanpy(name: str, tmp_path: Path) -> None:
    """`gene_ids` has the identifiers and the index the symbols, as scanpy reads them."""
    dataset = dataset_of(tmp_path, names("cell", 3).assign(n=1), features())
    is_file = name.endswith(".h5")
    report = slaf.export(dataset, tmp_path / name, format="10x_h5" if is_file else "10x_mtx")
    left_out = "length" if is_file else "length, genome"
    assert report.left_out == ("obs (n) is left out", f"var ({left_out}) is left out")
    read: Any = scanpy.read_10x_h5 if is_file else scanpy.read_10x_mtx
    read = read(tmp_path / name, gex_only=False)
    assert list(read.var_names) == ["CD3D", "CD4"]
    assert read.var["gene_ids"].tolist() == ["ENSG1", "ENSG2"]
    assert read.var["feature_types"].tolist() == ["Gene Expression", "Antibody Capture"]
    assert read.X.toarray().tolist() == [[1, 0], [0, 2], [3, 4]]


def test_10x_h5_equals_cell_ranger(tmp_path: Path) -> None:
    """Types, shape and names are those of Cell Ranger; text columns of var are features."""
    slaf.export(dataset_of(tmp_path, var=features()), tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        matrix = file["matrix"]
        assert {name: str(matrix[name].dtype) for name in ("data", "indices", "indptr")} == {
            "data": "int32",
            "indices": "int64",
            "indptr": "int64",
        }
        assert matrix["shape"][:].tolist() == [2, 3]
        assert matrix["barcodes"].dtype.kind == "S"
        assert set(matrix["features"]) == {"id", "name", "feature_type", "genome", "_all_tag_keys"}
        assert matrix["features/_all_tag_keys"][:].tolist() == [b"genome"]


def test_multiome_keeps_regions(tmp_path: Path) -> None:
    """MTX keeps chromosome, start and end, which Cell Ranger writes for multiome kits."""
    var = names("gene", 2).assign(chromosome="chr1", start=["1", "5"], end=["4", "9"])
    report = slaf.export(dataset_of(tmp_path, var=var), tmp_path / "out", format="10x_mtx")
    assert report.left_out == ()
    with gzip.open(tmp_path / "out" / "features.tsv.gz", "rt") as file:
        assert file.readlines()[1].rstrip().split("\t") == [
            *("gene-1", "gene-1", "Gene Expression"),
            *("chr1", "5", "9"),
        ]


@pytest.mark.parametrize("cell", ["", "a\tb", "a\nb"])
def test_mtx_refuses_ids_with_separators(cell: str, tmp_path: Path) -> None:
    """An id that is empty or has a tab or line break is refused by name."""
    obs = names("cell", 3).set_axis(["a", cell, "c"], axis=0)
    with pytest.raises(TargetError, match=r"the cell_id .* of row 1"):
        slaf.export(dataset_of(tmp_path, obs), tmp_path / "out", format="10x_mtx")


@pytest.mark.filterwarnings("ignore:.* names are not unique")
def test_soma_refuses_repeated_ids_and_empty_axes(tmp_path: Path) -> None:
    """Tiledbsoma would change repeated ids, and cannot write empty axes: both are refused."""
    obs = names("cell", 3).set_axis(["a", "b", "a"], axis=0)
    dataset = dataset_of(tmp_path, obs)
    with pytest.raises(TargetError, match="the cell id 'a' occurs more than once"):
        slaf.export(dataset, tmp_path / "out.soma")
    with pytest.raises(TargetError, match="there is no gene"):
        slaf.export(dataset[[0, 1], []], tmp_path / "out.soma")


def test_soma_reports_unsupported_columns(tmp_path: Path) -> None:
    """Durations, time zones and reserved names are left out and reported."""
    obs = names("cell", 3).assign(
        took=pd.to_timedelta([1, 2, 3]),
        when=pd.to_datetime(["2020-01-01"] * 3, utc=True),
        soma_x=1,
        obs_id=2,
        half=np.zeros(3, np.float16),
        kept=[1, 2, 3],
    )
    report = slaf.export(dataset_of(tmp_path, obs), tmp_path / "out.soma")
    columns = [message.split("'")[1] for message in report.left_out]
    assert columns == ["took", "when", "soma_x", "obs_id", "half"]
    assert report.left_out[-1].endswith("becomes float32")


def test_a_dataset_is_never_replaced(tmp_path: Path) -> None:
    """An output with the path of the dataset is refused, with --overwrite too."""
    dataset = dataset_of(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(slaf.ConflictError):
            slaf.export(dataset, tmp_path / "in.slaf", format="zarr", overwrite=overwrite)
    with pytest.raises(OutputExists, match="it would be in the dataset"):
        slaf.export(dataset, tmp_path / "in.slaf" / "out.h5ad")
    assert slaf.verify(tmp_path / "in.slaf").ok


def test_empty_datasets(tmp_path: Path) -> None:
    """A dataset without cells, genes or nonzeros gives an output without them."""
    empty = np.empty(0, np.int64)
    for number, shape in enumerate([(0, 0), (0, 3), (3, 0), (2, 2)]):
        stored = Stored(shape, empty, empty, np.empty(0, np.float32))
        path = write_stored(tmp_path / f"{number}.h5ad", stored)
        dataset = slaf.convert(path, tmp_path / f"{number}.slaf")
        for layout in ("csr", "csc"):
            slaf.export(dataset, tmp_path / "out.h5ad", layout=layout, overwrite=True)
            assert anndata.read_h5ad(tmp_path / "out.h5ad").shape == shape
        slaf.export(dataset, tmp_path / "out.zarr", overwrite=True)
        assert anndata.read_zarr(tmp_path / "out.zarr").shape == shape
        slaf.export(dataset, tmp_path / "out.h5", overwrite=True)
        assert scanpy.read_10x_h5(tmp_path / "out.h5").shape == shape
