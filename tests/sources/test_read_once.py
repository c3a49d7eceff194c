"""One conversion reads nothing of its input twice."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import scipy.sparse as sp

import slaf
from slaf.annotations.plain_elements import read_plain
from slaf.sources import open_source
from slaf.sources.anndata.plain_tables import read_plain_table
from tests.builders import counts, names, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_each_element_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion reads obs, var, raw's var, and each element of every slot once."""
    path = write_h5ad(tmp_path / "in.h5ad", counts(20, 9))
    adata = anndata.read_h5ad(path)
    adata.obsm["X_pca"] = np.ones((20, 3))
    adata.varm["loadings"] = np.ones((9, 3))
    adata.obsp["distances"] = sp.csr_matrix(np.eye(20, k=1))
    adata.varp["links"] = sp.csr_matrix(np.eye(9))
    both = {"plain": np.ones(3), "other": sp.csr_matrix(np.eye(3))}
    adata.uns = {"neighbors": {"params": {"n": 15}}, "colours": np.array(["red"]), "both": both}
    raw = anndata.AnnData(counts(20, 11), obs=adata.obs, var=names("raw", 11))
    raw.varm["x"] = np.ones((11, 1))
    adata.raw = raw
    adata.write_h5ad(path)
    reads: Counter[str] = Counter()
    read_elem = anndata.io.read_elem

    def counting(element: Any) -> Any:
        if element.file.filename == str(path):
            reads[element.name] += 1
        return read_elem(element)

    def counting_plain(element: Any) -> Any:
        read = read_plain(element)
        reads[element.name] += 1
        return read

    def counting_tables(groups: Any, name: str, id_name: str) -> Any:
        reads[f"/{name}"] += 1
        return read_plain_table(groups, name, id_name)

    monkeypatch.setattr(anndata.io, "read_elem", counting)
    monkeypatch.setattr("slaf.sources.hdf5.enumerations.read_plain", counting_plain)
    monkeypatch.setattr("slaf.sources.anndata.elements.read_plain_table", counting_tables)
    slaf.convert(path, tmp_path / "out.slaf")
    elements = ["obsm/X_pca", "varm/loadings", "obsp/distances", "varp/links", "raw/varm/x"]
    elements += ["uns/neighbors/params/n", "uns/colours", "uns/both/plain", "uns/both/other"]
    assert reads == dict.fromkeys([f"/{name}" for name in ("obs", "var", "raw/var", *elements)], 1)


def test_each_object_of_a_file_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is opened and read, tables and sample, opens no group or dataset twice."""
    path = write_h5ad(tmp_path / "in.h5ad", counts(20, 9))
    opened: Counter[str] = Counter()
    open_member = h5py.h5o.open

    def counting(group: Any, name: bytes) -> Any:
        opened[f"{h5py.h5i.get_name(group).decode()}/{name.decode()}".strip("/")] += 1
        return open_member(group, name)

    monkeypatch.setattr(h5py.h5o, "open", counting)
    with open_source(path) as source:
        source.cells()
        source.genes()
        source.slots()
        source.matrix().sample_values()
    monkeypatch.undo()
    assert {"obs/_index", "obs", "X/indptr"} <= opened.keys()
    # Groups are looked at once more to recognise the format.
    assert all(n == 1 for name, n in opened.items() if "/" in name)
    assert max(n for name, n in opened.items() if name) <= 2
