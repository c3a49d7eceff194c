"""Datasets that earlier releases wrote are read and proven as on the day they were written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest

import slaf
from slaf.annotations.equality import equal_elements
from slaf.format.config import load, save
from slaf.format.schema import FORMAT_VERSION
from slaf.format.validation import CHECKSUM_KEY
from slaf.storage.location import Location
from tests.compat.contents import CONTENTS

if TYPE_CHECKING:
    from slaf.options import Compression

DATASETS = sorted(Path(__file__).parent.glob("datasets/*/*"))


@pytest.fixture(params=DATASETS, ids=lambda path: "-".join(path.parts[-2:]))
def dataset(request: pytest.FixtureRequest) -> Path:
    """A dataset of an earlier release."""
    path: Path = request.param
    return path


@pytest.fixture
def read_by_anndata(dataset: Path, tmp_path: Path) -> anndata.AnnData:
    """What was put in, as anndata reads it from the file that the release converted."""
    CONTENTS[dataset.name]().write_h5ad(tmp_path / "in.h5ad")
    return anndata.read_h5ad(tmp_path / "in.h5ad")


def test_there_are_some() -> None:
    """At least one release has left each of the contents."""
    assert {path.name for path in DATASETS} == set(CONTENTS)


def test_it_gives_back_what_was_put_in(dataset: Path, read_by_anndata: anndata.AnnData) -> None:
    """Values, ids and tables are those of the input, with the types that this pandas gives them."""
    expected: Any = read_by_anndata
    found = slaf.open(dataset).to_anndata()
    np.testing.assert_array_equal(found.X.toarray(), expected.X.toarray())
    assert found.X.dtype == expected.X.dtype
    pd.testing.assert_frame_equal(found.obs, expected.obs)
    pd.testing.assert_frame_equal(found.var, expected.var)


def test_it_reads_a_part(dataset: Path) -> None:
    """Cells and genes chosen by position are those of the input."""
    expected = CONTENTS[dataset.name]().X.toarray()
    found = slaf.open(dataset)[[4, 0, 3], [3, 1]].X.to_memory()
    np.testing.assert_array_equal(found.toarray(), expected[[4, 0, 3]][:, [3, 1]])


def test_it_proves_itself(dataset: Path) -> None:
    """Its digests are recomputed, and it is compared with its input."""
    assert slaf.verify(dataset).ok
    assert slaf.verify(dataset, against=CONTENTS[dataset.name]()).ok


def test_what_is_beside_the_matrix(dataset: Path, read_by_anndata: anndata.AnnData) -> None:
    """Layers, raw and every slot are those of the input, with their types."""
    expected, found = read_by_anndata, slaf.open(dataset).to_anndata()
    for slot in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
        assert equal_elements(dict(getattr(expected, slot)), dict(getattr(found, slot))), slot
    assert (expected.raw is None) == (found.raw is None)
    if expected.raw is not None and found.raw is not None:
        assert equal_elements(expected.raw.X, found.raw.X)
        pd.testing.assert_frame_equal(expected.raw.var, found.raw.var)


def test_it_can_be_added_to(dataset: Path, tmp_path: Path) -> None:
    """An append to it gives a dataset of both."""
    copy = tmp_path / "copy.slaf"
    shutil.copytree(dataset, copy)
    content = CONTENTS[dataset.name]
    before = schemas(copy)
    ds = slaf.append(content(), copy, allow_duplicate=True)
    assert ds.n_cells == 2 * content().n_obs
    assert schemas(copy) == before
    assert slaf.verify(ds, against=[content(), content()]).ok


def schemas(path: Path) -> dict[str, list[tuple[str, str, object]]]:
    """The types and codecs of each table of nonzeros."""
    dataset = slaf.open(path)
    names = ("expression", "layers", "raw", "expression_by_gene")
    tables = {name: dataset.table(name) for name in names if name in dataset.published.tables}
    return {
        name: [(field.name, str(field.type), field.metadata) for field in table.schema]
        for name, table in tables.items()
    }


@pytest.mark.parametrize("compression", ["balanced", "small"])
def test_its_compression_can_be_changed(
    dataset: Path, compression: Compression, tmp_path: Path
) -> None:
    """It is then encoded as a new dataset of that compression, with the same content."""
    copy, new = tmp_path / "copy.slaf", tmp_path / "new.slaf"
    shutil.copytree(dataset, copy)
    content = CONTENTS[dataset.name]
    by_gene = slaf.open(copy).published.by_gene is not None
    slaf.compact(copy, compression=compression)
    slaf.convert(content(), new, compression=compression, by_gene=by_gene)
    assert schemas(copy) == schemas(new)
    assert slaf.verify(copy, against=content()).ok
    assert slaf.compact(copy, compression=compression).cells == 0


def test_nothing_is_written(dataset: Path) -> None:
    """Reading leaves every file as it is."""
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    slaf.open(dataset).X.to_memory()
    slaf.verify(dataset)
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before


def test_config_is_written_as_it_was_read(dataset: Path, tmp_path: Path) -> None:
    """Its config.json is written in the newest format, with the same keys and values and the
    defaults of those that it lacked, and is valid.
    """
    manifest = load(Location(dataset))
    assert manifest is not None
    save(Location(tmp_path), manifest)
    before, after = (
        json.loads((path / "config.json").read_bytes()) for path in (dataset, tmp_path)
    )
    for source in before["sources"]:
        absent = {"genes": "strict", "measured": [[0, source["n_genes"]]], "prefix": ""}
        source.update(absent | {"holds": None, "taken": None} | source)
    assert after.pop(CHECKSUM_KEY)
    assert after == before | {"format_version": FORMAT_VERSION}
    assert load(Location(tmp_path)) == manifest
