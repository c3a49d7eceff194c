"""Fragments made of records of files equal those of Lance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import slaf
from slaf.format.schema import partitioned_tables
from slaf.tables.fragments import Fragment
from slaf.tables.read import fragments_of
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from pathlib import Path


def described(fragment: Fragment) -> dict[str, Any]:
    """Metadata of a fragment without empty entries."""
    return {key: value for key, value in fragment.metadata.items() if value not in (None, [])}


def test_of_a_file(tmp_path: Path) -> None:
    """A fragment made of the record of a file equals the one that Lance wrote."""
    source = write_h5ad(
        tmp_path / "in.h5ad", counts(12, 6), layers={"other": counts(12, 6, seed=1)}
    )
    ds = slaf.convert(source, tmp_path / "out.slaf", chunk_size=5, by_gene=True)
    published = ds.published
    noted = {one.file: one for one in published.checksums.files}
    n_rows = 0
    for name in [spec.name for spec in partitioned_tables(published.tables)]:
        directory, width = published.tables[name], len(ds.table(name).schema)
        fragments = fragments_of(ds.location, directory, published.versions[name])
        for number, fragment in enumerate(fragments):
            (path,) = fragment.paths
            made = Fragment.of_file(noted[f"{directory}/{path}"], width)
            assert described(made) | {"id": number} == described(fragment)
            assert Fragment(json.loads(json.dumps(made.metadata))) == made
            assert made.rows == fragment.rows
            n_rows += fragment.rows
    assert n_rows == sum(
        ds.table(spec.name).count_rows()
        for spec in partitioned_tables()
        if spec.name in published.tables
    )
