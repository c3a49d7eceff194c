"""What stands beside the matrix goes along with one input; of several it is named and left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import slaf
from slaf.errors import NotYet
from slaf.schema import CELLS, EXPRESSION, GENES
from tests.builders import counts, write_h5ad
from tests.conversion.outputs import tree

if TYPE_CHECKING:
    from pathlib import Path

N_CELLS, N_GENES = 7, 5
MATRIX = counts(N_CELLS, N_GENES)
SLOTS: dict[str, dict[str, Any]] = {
    "layers": {"layers": {"halves": MATRIX * 0.5}},
    "obsm": {"obsm": {"X_pca": np.ones((N_CELLS, 2))}},
    "varm": {"varm": {"PCs": np.ones((N_GENES, 2))}},
    "obsp": {"obsp": {"distances": np.eye(N_CELLS)}},
    "varp": {"varp": {"links": np.eye(N_GENES)}},
    "uns": {"uns": {"colour": "blue"}},
}
NAMES = {
    "layers": "layers (halves)",
    "obsm": "obsm (X_pca)",
    "varm": "varm (PCs)",
    "obsp": "obsp (distances)",
    "varp": "varp (links)",
    "uns": "uns",
}


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """An input that has its matrix only."""
    return write_h5ad(tmp_path / "plain.h5ad", counts(3, N_GENES, seed=1))


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """An input that has something in every slot."""
    held: dict[str, Any] = {}
    for slot in SLOTS.values():
        held |= slot
    return write_h5ad(tmp_path / "full.h5ad", MATRIX, **held)


def test_several_inputs_leave_it_behind(plain: Path, full: Path, tmp_path: Path) -> None:
    """Nothing of it is taken of several inputs, and all of it is named."""
    found = slaf.preview([plain, full], tmp_path / "out.slaf")
    assert found.beside == ()
    left = " ".join(found.left_behind)
    assert all(f"{name.removesuffix(')')}" in left for name in NAMES.values())
    assert all(what.endswith("(of 1 inputs)") for what in found.left_behind)
    ds = slaf.convert([plain, full], tmp_path / "out.slaf")
    assert set(ds.published.tables) == {EXPRESSION, CELLS, GENES}
    assert ds.published.beside == {}
    slaf.verify(ds, against=[plain, full])


def test_a_layer_of_several_inputs_is_refused(full: Path, tmp_path: Path) -> None:
    """A layer of several inputs that is asked for by name is refused before anything is written."""
    output = tmp_path / "out.slaf"
    with pytest.raises(NotYet, match=r"layers of several inputs .* halves are asked for"):
        slaf.convert([full, full], output, layers=["halves"], allow_duplicate=True)
    assert not output.exists()


@pytest.mark.parametrize("slot", SLOTS)
def test_nothing_is_added_to_more_than_a_matrix(slot: str, plain: Path, tmp_path: Path) -> None:
    """An append to a dataset that has any of it is refused, names it, and changes nothing."""
    source = write_h5ad(tmp_path / "in.h5ad", MATRIX, **SLOTS[slot])
    output = tmp_path / "out.slaf"
    slaf.convert(source, output)
    before = tree(output)
    for call in (slaf.append, slaf.preview_append):
        with pytest.raises(NotYet) as refused:
            call(plain, output)
        assert f"it has {NAMES[slot]} beside its matrix" in str(refused.value)
    assert tree(output) == before


def test_nothing_is_added_beside_raw(plain: Path, tmp_path: Path) -> None:
    """Raw is refused as the slots are; a dataset that was made without it can be added to."""
    import anndata

    adata = anndata.AnnData(MATRIX)
    adata.raw = adata
    with pytest.raises(NotYet, match="it has raw beside its matrix"):
        slaf.append(plain, slaf.convert(adata, tmp_path / "raw.slaf").location)
    ds = slaf.convert(adata[:, :], tmp_path / "none.slaf", raw=False)
    genes = ds.n_genes
    ds = slaf.append(plain, ds.location, genes="union")
    assert ds.shape == (N_CELLS + 3, genes + N_GENES)


def test_an_append_leaves_it_behind(plain: Path, full: Path, tmp_path: Path) -> None:
    """What an input that is added has of it is named and left; its matrix is added."""
    first = slaf.convert(plain, tmp_path / "out.slaf")
    found = slaf.preview_append(full, first.location)
    assert {*NAMES.values(), "uns (colour)"} - {"uns"} <= set(found.left_behind)
    ds = slaf.append(full, first.location)
    assert ds.n_cells == 3 + N_CELLS
    assert ds.published.beside == {}
    slaf.verify(ds, against=[plain, full])
