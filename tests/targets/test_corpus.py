"""Every input of the corpus that converts comes out again as it went in."""

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
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from slaf.options import Layout

pytestmark = pytest.mark.corpus

# Files from before HDF5 held text of any length; types of text are all that changes.
_TEXT_OF_FIXED_LENGTH = {"scanpy_pbmc68k_reduced_2018legacy"}

_TENX = {
    "10x_h5/scanpy_cr3.0/filtered_feature_bc_matrix.h5": scanpy.read_10x_h5,
    "10x_h5/scp_jl_adt_rna/GSE164378_RNA_ADT_3P_P1_subsetted.h5": scanpy.read_10x_h5,
    "10x_mtx/msti_visium/filtered_feature_bc_matrix": scanpy.read_10x_mtx,
    "10x_mtx/scanpy_v3/filtered_feature_bc_matrix": scanpy.read_10x_mtx,
}


def read(reader: Callable[..., anndata.AnnData], path: Path, **options: Any) -> anndata.AnnData:
    """What others read, without what they say of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return reader(path, **options)


def matrix_of(path: Path) -> str | None:
    """The matrix of a file that is taken: X, or the first there is; None if it is refused."""
    try:
        with open_source(path) as source:
            names = source.info.matrices
    except InputError:
        return None
    return "X" if "X" in names else names[0]


def converted(corpus: Path, folder: Path) -> Iterator[tuple[Path, slaf.Dataset]]:
    """Each h5ad of the corpus that converts, and its dataset."""
    for path in sorted((corpus / "h5ad").glob("*/*.h5*")):
        matrix = matrix_of(path)
        if matrix is not None:
            yield path, slaf.convert(path, folder / f"{path.parent.name}.slaf", matrix=matrix)


@pytest.mark.timeout(900)
def test_every_h5ad(corpus: Path, tmp_path: Path) -> None:
    """What anndata reads of an exported h5ad is what it reads of the input, in every slot.

    But for the types of text: an old file's text of fixed length is text of any length.
    """
    checked = 0
    for path, dataset in converted(corpus, tmp_path):
        name = path.parent.name
        layout: Layout = "csc" if checked % 2 else "csr"
        output = tmp_path / f"{name}.h5ad"
        made = slaf.export(dataset, output, layout=layout, memory=1 << 20)
        assert made.left_out == (), name
        found, expected = read(anndata.read_h5ad, output), read(anndata.read_h5ad, path)
        texts = name in _TEXT_OF_FIXED_LENGTH
        assert_everything(found, expected, texts=texts)
        with h5py.File(output) as file:
            assert file["X"].attrs["encoding-type"] == f"{layout}_matrix"
        assert dict(slaf.diff(dataset, output).counts).keys() == ({"uns"} if texts else set()), name
        checked += 1
    assert checked == 30


@pytest.mark.timeout(900)
def test_every_h5ad_as_zarr(corpus: Path, tmp_path: Path) -> None:
    """So it is of an exported zarr, but that all text of arrays is of numpy's own type."""
    checked = 0
    for path, dataset in converted(corpus, tmp_path):
        output = tmp_path / f"{path.parent.name}.zarr"
        assert slaf.export(dataset, output, compression="none").left_out == ()
        found, expected = read(anndata.read_zarr, output), read(anndata.read_h5ad, path)
        assert_everything(found, expected, texts=True)
        checked += 1
    assert checked == 30


@pytest.mark.parametrize(
    "name",
    [
        *("soma_pbmc_small", "scvelo_pancreas_50obs", "anndata_archive_v0.7.0"),
        pytest.param("", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_h5ad_by_way_of_soma(name: str, corpus: Path, tmp_path: Path) -> None:
    """Tiledbsoma reads what anndata reads of the input, by id, or it was said to be left out."""
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
        notes = slaf.export(dataset, output).left_out
        assert_by_id(from_soma(output, expected), expected, notes)
        checked += 1
    assert checked == (1 if name else 28)


def from_soma(path: Path, expected: anndata.AnnData) -> anndata.AnnData:
    """The experiment as tiledbsoma reads it, with raw."""
    layers = [name for name in expected.layers if name is not None]
    with warnings.catch_warnings(), tiledbsoma.Experiment.open(str(path)) as experiment:
        warnings.simplefilter("ignore")
        found = tiledbsoma.io.to_anndata(
            experiment, measurement_name="RNA", extra_X_layer_names=layers
        )
        if expected.raw is not None:
            found.raw = tiledbsoma.io.to_anndata(experiment, measurement_name="raw")
    return found


def assert_by_id(found: anndata.AnnData, expected: anndata.AnnData, notes: tuple[str, ...]) -> None:
    """Compare ids, values and text of everything that was not said to be left out."""

    def said(place: str) -> bool:
        return any(note.startswith((f"{place} ", f"{place}[")) for note in notes)

    for one, other in ((found, expected), (found.raw, expected.raw)):
        if other is None:
            continue
        np.testing.assert_array_equal(as_matrix(one.X), as_matrix(other.X))
        assert list(one.var_names) == list(other.var_names)
    assert list(found.obs_names) == list(expected.obs_names)
    for slot in ("obs", "var"):
        ours, theirs = getattr(found, slot), getattr(expected, slot)
        for name in theirs:
            if name in ours:
                assert values_of(ours[name]) == values_of(theirs[name]), (slot, name)
            else:
                assert said(f"{slot}[{name!r}]")
    for name in expected.layers:
        np.testing.assert_array_equal(
            as_matrix(found.layers[name]), as_matrix(expected.layers[name])
        )
    for slot in ("obsm", "varm", "obsp", "varp"):
        assert_arrays(getattr(found, slot), getattr(expected, slot), slot, said)
    assert_mapping(found.uns, expected.uns, "uns", said)


def assert_arrays(found: Any, expected: Any, slot: str, said: Callable[[str], bool]) -> None:
    """Compare the values of the elements of a slot."""
    for name, element in expected.items():
        if name in found:
            np.testing.assert_array_equal(as_matrix(found[name]), as_matrix(element))
        else:
            assert said(f"{slot}[{name!r}]")


def assert_mapping(found: Any, expected: Any, place: str, said: Callable[[str], bool]) -> None:
    """Compare what is in uns, however deep."""
    for name, element in expected.items():
        where = f"{place}[{name!r}]"
        if name not in found:
            assert said(where), where
        elif isinstance(element, Mapping):
            assert_mapping(found[name], element, where, said)
        elif isinstance(element, pd.DataFrame):
            assert list(found[name].index) == list(element.index)
            for column in found[name]:
                assert values_of(found[name][column]) == values_of(element[column])
        else:
            assert np.asarray(found[name]).tolist() == np.asarray(element).tolist(), where


def values_of(column: Any) -> list[Any]:
    """The values, with None for what is missing or no number."""
    return [None if pd.isna(value) else value for value in column]


@pytest.mark.parametrize("name", _TENX)
def test_10x_as_scanpy_reads_it(name: str, corpus: Path, tmp_path: Path) -> None:
    """Scanpy reads the same of an export as of the input, features and types too."""
    path, reader = corpus / name, _TENX[name]
    dataset = slaf.convert(path, tmp_path / "in.slaf")
    is_file = path.is_file()
    output = tmp_path / ("out.h5" if is_file else "out")
    slaf.export(dataset, output, format="10x_h5" if is_file else "10x_mtx")
    found, expected = (read(reader, place, gex_only=False) for place in (output, path))
    assert entries(found.X) == entries(expected.X)
    assert list(found.obs_names) == list(expected.obs_names)
    for frame in (found.var, expected.var):
        frame.columns = frame.columns.astype(object)
    pd.testing.assert_frame_equal(
        found.var.sort_index(axis=1), expected.var.sort_index(axis=1), check_names=False
    )
