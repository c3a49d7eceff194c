"""Export of every input of the corpus that can be converted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy
import tiledbsoma
import tiledbsoma.io

import slaf
from slaf.errors import InputError, TargetError
from slaf.sources import open_source
from tests.builders import as_matrix
from tests.targets.checks import assert_everything, entries

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slaf.options import Layout

pytestmark = pytest.mark.corpus

# Old files with strings of fixed length: only string types change.
_TEXT_OF_FIXED_LENGTH = {"scanpy_pbmc68k_reduced_2018legacy"}

_TENX = {
    "10x_h5/scanpy_cr3.0/filtered_feature_bc_matrix.h5": scanpy.read_10x_h5,
    "10x_h5/scp_jl_adt_rna/GSE164378_RNA_ADT_3P_P1_subsetted.h5": scanpy.read_10x_h5,
    "10x_mtx/msti_visium/filtered_feature_bc_matrix": scanpy.read_10x_mtx,
    "10x_mtx/scanpy_v3/filtered_feature_bc_matrix": scanpy.read_10x_mtx,
}


def read(reader: Callable[..., anndata.AnnData], path: Path, **options: Any) -> anndata.AnnData:
    """The AnnData that a reader returns, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return reader(path, **options)


def matrix_of(path: Path) -> str | None:
    """The matrix of a file to convert: X, or the first one; None if the file is refused."""
    try:
        with open_source(path) as source:
            names = source.info.matrices
    except InputError:
        return None
    return "X" if "X" in names else names[0]


@pytest.mark.timeout(900)
def test_every_h5ad(converted_corpus: dict[Path, Path], tmp_path: Path) -> None:
    """What anndata reads of an exported h5ad is what it reads of the input, in every slot.

    String types are an exception: strings of fixed length, in old files, become variable.
    """
    for at, (path, converted) in enumerate(converted_corpus.items()):
        dataset, name = slaf.open(converted), path.parent.name
        layout: Layout = "csc" if at % 2 else "csr"
        output = tmp_path / f"{name}.h5ad"
        report = slaf.export(dataset, output, layout=layout, memory=1 << 20)
        assert report.left_out == (), name
        result, expected = read(anndata.read_h5ad, output), read(anndata.read_h5ad, path)
        texts = name in _TEXT_OF_FIXED_LENGTH
        assert_everything(result, expected, texts=texts)
        with h5py.File(output) as file:
            assert file["X"].attrs["encoding-type"] == f"{layout}_matrix"
        assert dict(slaf.diff(dataset, output).counts).keys() == ({"uns"} if texts else set()), name


@pytest.mark.timeout(900)
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_every_h5ad_as_zarr(step: int, converted_corpus: dict[Path, Path], tmp_path: Path) -> None:
    """Anndata reads the same from an exported zarr, with numpy's string type in arrays."""
    for path, converted in list(converted_corpus.items())[::step]:
        dataset = slaf.open(converted)
        output = tmp_path / f"{path.parent.name}.zarr"
        assert slaf.export(dataset, output, compression="none").left_out == ()
        result, expected = read(anndata.read_zarr, output), read(anndata.read_h5ad, path)
        assert_everything(result, expected, texts=True)


@pytest.mark.parametrize(
    "name",
    [
        *("soma_pbmc_small", "scvelo_pancreas_50obs", "anndata_archive_v0.7.0"),
        pytest.param("", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_h5ad_by_way_of_soma(name: str, corpus: Path, tmp_path: Path) -> None:
    """Tiledbsoma reads what anndata reads from the input, by id, except what was reported."""
    checked = 0
    for path in sorted((corpus / "h5ad").glob(f"{name or '*'}/*.h5*")):
        if matrix_of(path) != "X":
            continue
        expected = read(anndata.read_h5ad, path)
        dataset = slaf.convert(path, tmp_path / f"{path.parent.name}.slaf")
        output = tmp_path / f"{path.parent.name}.soma"
        if not (expected.obs_names.is_unique and expected.var_names.is_unique):
            with pytest.raises(TargetError, match="occurs more than once"):
                slaf.export(dataset, output)
            continue
        messages = slaf.export(dataset, output).left_out
        assert_by_id(from_soma(output, expected), expected, messages)
        checked += 1
    assert checked == (1 if name else 28)


def from_soma(path: Path, expected: anndata.AnnData) -> anndata.AnnData:
    """The AnnData that tiledbsoma reads from an experiment, with raw."""
    layers = [name for name in expected.layers if name is not None]
    with warnings.catch_warnings(), tiledbsoma.Experiment.open(str(path)) as experiment:
        warnings.simplefilter("ignore")
        result = tiledbsoma.io.to_anndata(
            experiment, measurement_name="RNA", extra_X_layer_names=layers
        )
        if expected.raw is not None:
            result.raw = tiledbsoma.io.to_anndata(experiment, measurement_name="raw")
    return result


def assert_by_id(
    result: anndata.AnnData, expected: anndata.AnnData, messages: tuple[str, ...]
) -> None:
    """Compare ids, values and strings of everything that was not reported as left out."""

    def is_reported(label: str) -> bool:
        return any(message.startswith((f"{label} ", f"{label}[")) for message in messages)

    for left, right in ((result, expected), (result.raw, expected.raw)):
        if right is None:
            continue
        np.testing.assert_array_equal(as_matrix(left.X), as_matrix(right.X))
        assert list(left.var_names) == list(right.var_names)
    assert list(result.obs_names) == list(expected.obs_names)
    for slot in ("obs", "var"):
        frame, expected_frame = getattr(result, slot), getattr(expected, slot)
        for name in expected_frame:
            if name in frame:
                assert values_of(frame[name]) == values_of(expected_frame[name]), (slot, name)
            else:
                assert is_reported(f"{slot}[{name!r}]")
    for name in expected.layers:
        np.testing.assert_array_equal(
            as_matrix(result.layers[name]), as_matrix(expected.layers[name])
        )
    for slot in ("obsm", "varm", "obsp", "varp"):
        assert_arrays(getattr(result, slot), getattr(expected, slot), slot, is_reported)
    assert_mapping(result.uns, expected.uns, "uns", is_reported)


def assert_arrays(
    result: Any, expected: Any, slot: str, is_reported: Callable[[str], bool]
) -> None:
    """Compare the values of the elements of a slot."""
    for name, element in expected.items():
        if name in result:
            np.testing.assert_array_equal(as_matrix(result[name]), as_matrix(element))
        else:
            assert is_reported(f"{slot}[{name!r}]")


def assert_mapping(
    result: Any, expected: Any, label: str, is_reported: Callable[[str], bool]
) -> None:
    """Compare mappings, with the mappings in them."""
    for name, element in expected.items():
        value_label = f"{label}[{name!r}]"
        if name not in result:
            assert is_reported(value_label), value_label
        elif isinstance(element, Mapping):
            assert_mapping(result[name], element, value_label, is_reported)
        elif isinstance(element, pd.DataFrame):
            assert list(result[name].index) == list(element.index)
            for column in result[name]:
                assert values_of(result[name][column]) == values_of(element[column])
        else:
            assert np.asarray(result[name]).tolist() == np.asarray(element).tolist(), value_label


def values_of(column: Any) -> list[Any]:
    """The values of a column, with None for missing values and NaN."""
    return [None if pd.isna(value) else value for value in column]


@pytest.mark.parametrize("name", _TENX)
def test_10x_as_scanpy_reads_it(name: str, corpus: Path, tmp_path: Path) -> None:
    """Scanpy reads the same from an export and from the input, features and types too."""
    path, reader = corpus / name, _TENX[name]
    dataset = slaf.convert(path, tmp_path / "in.slaf")
    is_file = path.is_file()
    output = tmp_path / ("out.h5" if is_file else "out")
    slaf.export(dataset, output, format="10x_h5" if is_file else "10x_mtx")
    result, expected = (read(reader, label, gex_only=False) for label in (output, path))
    assert entries(result.X) == entries(expected.X)
    assert list(result.obs_names) == list(expected.obs_names)
    for frame in (result.var, expected.var):
        frame.columns = frame.columns.astype(object)
    pd.testing.assert_frame_equal(
        result.var.sort_index(axis=1), expected.var.sort_index(axis=1), check_names=False
    )
