"""The encoding of gene ids of a new table is the one that takes fewest bytes of a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.sparse as sp

import slaf
from slaf.errors import DamagedInput
from slaf.runs import gene_encodings
from slaf.testing.crashing import Crash, CrashingStorage
from tests.builders import write_h5ad

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.fixture(autouse=True)
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of 10,000 rows are large."""
    monkeypatch.setattr(gene_encodings, "_FEWEST_ROWS", 10_000)


def matrix_of(genes: NDArray[Any], n_genes: int) -> sp.csr_matrix:
    """A matrix with these genes in each row."""
    n_cells, n = genes.shape
    indptr = np.arange(n_cells + 1) * n
    values = np.ones(genes.size, np.float32)
    return sp.csr_matrix((values, genes.ravel(), indptr), (n_cells, n_genes))


def repeated(n_genes: int = 30_000) -> sp.csr_matrix:
    """Cells with the same genes: lz4 finds the repeats."""
    genes = np.sort(np.random.default_rng(0).choice(n_genes, 100, replace=False))
    return matrix_of(np.tile(genes, (200, 1)), n_genes)


def scattered(n_genes: int = 500) -> sp.csr_matrix:
    """Cells with other genes each: packed bits take least."""
    random = np.random.default_rng(0)
    cells = [np.sort(random.choice(500, 100, replace=False)) for _ in range(200)]
    return matrix_of(np.array(cells), n_genes)


def encodings(dataset: slaf.Dataset) -> Any:
    """The recorded encodings; the tables have them, as `verify` checks."""
    assert slaf.verify(dataset).ok
    return dataset.published.checksums.storage.gene_encodings


@pytest.mark.parametrize(
    ("matrix", "options", "expected"),
    [
        (repeated(), {}, "uint32 lz4"),
        (scattered(), {}, "uint16"),
        (repeated(), {"plain_types": True}, "int32 lz4"),
        (scattered(), {"plain_types": True}, "int32"),
        (repeated(70_000), {}, "uint32 lz4"),
        (scattered(70_000), {}, "uint32"),
        (repeated(), {"compression": "fast"}, "uint16"),
        (scattered(), {"compression": "small"}, "uint32 zstd"),
        (repeated()[:50], {}, "uint16"),
        (repeated().tocsc(), {}, "uint32 lz4"),
    ],
    ids=range(10),
)
def test_the_smaller_encoding_is_taken(
    matrix: Any, options: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    """It depends on genes, compression and plain types; small tables have no codec."""
    source = write_h5ad(tmp_path / "in.h5ad", matrix)
    dataset = slaf.convert(source, tmp_path / "out.slaf", **options)
    assert encodings(dataset) == {"expression": expected}
    schema = dataset.expression.schema.field("gene_integer_id")
    assert str(schema.type) == expected.split(maxsplit=1)[0]
    codec = (schema.metadata or {}).get(b"lance-encoding:compression", b"").decode()
    assert codec == expected.partition(" ")[2]


def test_each_table_has_its_own(tmp_path: Path) -> None:
    """Raw has other genes than X; the copy by gene has the encoding of its original."""
    narrow = scattered()
    source = write_h5ad(
        tmp_path / "in.h5ad", narrow, layers={"same": narrow}, raw={"X": repeated()}
    )
    dataset = slaf.convert(source, tmp_path / "out.slaf", by_gene=True)
    found = encodings(dataset)
    assert found == {"expression": "uint16", "layers": "uint16", "raw": "uint32 lz4"}


def test_an_append_keeps_it(tmp_path: Path) -> None:
    """What is added is encoded as the dataset is, whatever would be smaller for it."""
    first = write_h5ad(tmp_path / "1.h5ad", repeated())
    more = write_h5ad(tmp_path / "2.h5ad", scattered(30_000))
    slaf.convert(first, tmp_path / "a.slaf")
    assert encodings(slaf.append(more, tmp_path / "a.slaf")) == {"expression": "uint32 lz4"}
    slaf.compact(tmp_path / "a.slaf", compression="fast")
    assert encodings(slaf.open(tmp_path / "a.slaf")) == {"expression": "uint16"}
    slaf.compact(tmp_path / "a.slaf", compression="balanced")
    assert encodings(slaf.open(tmp_path / "a.slaf")) == {"expression": "uint32 lz4"}


def test_a_sample_is_of_the_first_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small inputs are, few of them are opened again to be sampled."""
    first = scattered()
    matrices = [first[:100], first[100:], sp.vstack([repeated(500)] * 10, "csr")]
    paths = [write_h5ad(tmp_path / f"{at}.h5ad", matrix) for at, matrix in enumerate(matrices)]
    for sampled, expected in ((2, "uint16"), (3, "uint32 lz4")):
        monkeypatch.setattr(gene_encodings, "_MOST_INPUTS", sampled)
        dataset = slaf.convert(paths, tmp_path / f"{sampled}.slaf", allow_duplicate=True)
        assert encodings(dataset) == {"expression": expected}


@pytest.mark.parametrize("at", [2, 5, 8])
def test_a_run_that_was_stopped_keeps_it(at: int, tmp_path: Path) -> None:
    """It is chosen again, the same, or is in the plan already."""
    source = write_h5ad(tmp_path / "in.h5ad", repeated())
    with pytest.raises(Crash):
        slaf.convert(source, CrashingStorage(tmp_path / "out.slaf", at), chunk_size=20)
    dataset = slaf.convert(source, tmp_path / "out.slaf", chunk_size=20)
    assert encodings(dataset) == {"expression": "uint32 lz4"}


def test_damage_is_reported_by_the_part(tmp_path: Path) -> None:
    """A sample that cannot be read decides nothing; the other inputs are still written."""
    good = write_h5ad(tmp_path / "good.h5ad", repeated() * 2)
    matrix = repeated()
    matrix.indices[3] = 2**30
    bad = write_h5ad(tmp_path / "bad.h5ad", matrix)
    with pytest.raises(DamagedInput) as caught:
        slaf.convert([bad, good], tmp_path / "out.slaf", workers=2)
    assert "parts are kept" in str(getattr(caught.value, "__notes__", ""))
