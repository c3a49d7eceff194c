"""What every source promises, as tests that a new format inherits."""

from __future__ import annotations

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.annotations.equality import equal_elements
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from slaf.sources.base import Matrix, Source

__all__ = ["SourceLaws", "contents", "left_open"]

_PATIENCE = 5.0
"""How long, in seconds, a file that is read no more may still be open."""


def contents(source: Source, rows: RowRange) -> tuple[Any, Any, Any]:
    """Nonzeros of each cell, genes and values of some cells, however they were batched."""
    batches = list(source.batches(rows))
    return (
        np.concatenate([np.empty(0, np.int64), *(batch.counts for batch in batches)]),
        np.concatenate([np.empty(0, np.uint32), *(batch.genes for batch in batches)]),
        np.concatenate([np.empty(0, source.dtype), *(batch.values for batch in batches)]),
    )


class SourceLaws:
    """Inherit these in the tests of a format: ``class TestX(SourceLaws)``, with its own `opener`.

    What it opens should hold a few cells, some of them empty, and entries in the worst order
    that the format allows.
    """

    def opener(self, folder: Path) -> Callable[[], Source]:
        """Write an input into the folder; what opens it, again and again."""
        raise NotImplementedError

    def entries(self, source: Source) -> int | None:
        """The entries that are stored in all of the source; None if it cannot tell exactly."""
        extent = source.extent()
        return extent.entries if extent.exact else None

    def test_partition(self, tmp_path: Path) -> None:
        """Reading [a, b) and then [b, c) equals reading [a, c), wherever it is cut."""
        with self.opener(tmp_path)() as source:
            whole = contents(source, RowRange(0, source.n_cells))
            for cut in range(source.n_cells + 1):
                first = contents(source, RowRange(0, cut))
                second = contents(source, RowRange(cut, source.n_cells))
                for expected, one, other in zip(whole, first, second, strict=True):
                    np.testing.assert_array_equal(np.concatenate([one, other]), expected)

    def test_any_range_by_itself(self, tmp_path: Path) -> None:
        """A range says the same of its cells whatever was read before it."""
        with self.opener(tmp_path)() as source:
            lengths, genes, values = contents(source, RowRange(0, source.n_cells))
            ends = np.append(0, np.cumsum(lengths))
            for start in reversed(range(source.n_cells)):
                stop = min(start + 2, source.n_cells)
                found = contents(source, RowRange(start, stop))
                part = slice(ends[start], ends[stop])
                np.testing.assert_array_equal(found[0], lengths[start:stop])
                np.testing.assert_array_equal(found[1], genes[part])
                np.testing.assert_array_equal(found[2], values[part])

    def test_batches_follow_each_other(self, tmp_path: Path) -> None:
        """Batches hold whole cells, none twice and none left out."""
        with self.opener(tmp_path)() as source:
            at = 0
            for batch in source.batches(RowRange(0, source.n_cells)):
                assert batch.rows.start == at
                assert len(batch.counts) == len(batch.rows)
                at = batch.rows.stop
            assert at == source.n_cells

    def test_rules_of_a_batch(self, tmp_path: Path) -> None:
        """Genes ascend in each cell and exist, no value is zero, the lengths add up."""
        with self.opener(tmp_path)() as source:
            for batch in source.batches(RowRange(0, source.n_cells)):
                assert batch.counts.sum() == len(batch.genes) == len(batch.values)
                assert batch.genes.dtype == np.uint32
                assert (batch.genes < source.n_genes).all()
                assert (batch.values != 0).all()
                for genes in np.split(batch.genes, np.cumsum(batch.counts)[:-1]):
                    assert (np.diff(genes.astype(np.int64)) > 0).all()

    def test_tables(self, tmp_path: Path) -> None:
        """Both tables have a row for each cell and gene, in order, with strings as ids."""
        with self.opener(tmp_path)() as source:
            for table, rows, first in (
                (source.cells(), source.n_cells, "cell_id"),
                (source.genes(), source.n_genes, "gene_id"),
            ):
                assert table.num_rows == rows
                assert table.schema.names[0] == first
                assert str(table.schema.types[0]) == "string"
                assert table.column(0).null_count == 0

    def test_nonzeros_before(self, tmp_path: Path) -> None:
        """Entries are counted from none to all, at every step, and never fewer."""
        with self.opener(tmp_path)() as source:
            entries = self.entries(source)
            for step in (1, 2, source.n_cells, source.n_cells + 1):
                before = source.indptr_estimate(step)
                assert len(before) == -(-source.n_cells // step) + 1
                assert before[0] == 0
                assert (np.diff(before) >= 0).all()
                if entries is not None:
                    assert before[-1] == entries

    def test_identity(self, tmp_path: Path) -> None:
        """An input that is opened again has the same identity, which JSON can hold."""
        open_again = self.opener(tmp_path)
        with open_again() as source:
            identity = dict(source.identity())
        with open_again() as source:
            assert dict(source.identity()) == identity
        assert json.loads(json.dumps(identity)) == identity

    def test_description(self, tmp_path: Path) -> None:
        """It says what it is: the matrix is one of its own, what it leaves has names."""
        with self.opener(tmp_path)() as source:
            assert source.matrix == "X" or source.matrix in source.matrices()
            assert all(source.left_behind())
            assert source.extent().entries >= 0

    def test_peek(self, tmp_path: Path) -> None:
        """What is looked at first are values of the matrix, or zeros, or parts of a value."""
        with self.opener(tmp_path)() as source:
            peeked, entries = source.sample_values(), self.entries(source)
            _, _, values = contents(source, RowRange(0, source.n_cells))
            assert peeked.ndim == 1
            assert peeked.size or not values.size
            unknown = peeked[(peeked != 0) & ~np.isin(peeked, values)]
            if entries is None:
                assert len(unknown) < max(len(peeked), 1)
            else:
                # A gene that a cell has twice is stored as two values, and holds their sum.
                assert len(unknown) <= 2 * (entries - len(values))

    def test_matrices(self, tmp_path: Path) -> None:
        """Of each matrix it names, the first values can be looked at."""
        with self.opener(tmp_path)() as source:
            for name in source.matrices():
                assert source.sample_values(name).ndim == 1

    def test_layers(self, tmp_path: Path) -> None:
        """Each layer has the cells and the genes of the matrix, and is read by ranges as it is."""
        with self.opener(tmp_path)() as source:
            layers, whole = source.layers(), RowRange(0, source.n_cells)
            for name in layers:
                assert layers[name].shape == (source.n_cells, source.n_genes)
                expected = _dense(layers[name], whole)
                for cut in range(source.n_cells + 1):
                    parts = RowRange(0, cut), RowRange(cut, source.n_cells)
                    found = np.concatenate([_dense(layers[name], part) for part in parts])
                    np.testing.assert_array_equal(found, expected)

    def test_raw(self, tmp_path: Path) -> None:
        """Raw has the cells of the matrix, and as many genes as its own table has rows."""
        with self.opener(tmp_path)() as source:
            raw = source.raw()
            if raw is not None:
                assert raw.matrix.shape == (source.n_cells, raw.genes.num_rows)
                assert raw.genes.schema.names[0] == "gene_id"
                for element in raw.varm.values():
                    assert len(element) == raw.genes.num_rows

    def test_slots(self, tmp_path: Path) -> None:
        """Elements have a row for each cell or gene, and those of pairs a column too."""
        with self.opener(tmp_path)() as source:
            slots = source.slots()
            for aligned, n_rows in ((slots.obsm, source.n_cells), (slots.varm, source.n_genes)):
                for name in aligned:
                    assert aligned[name].shape[0] == n_rows
                    assert equal_elements(aligned[name], aligned[name])
            for paired, n in ((slots.obsp, source.n_cells), (slots.varp, source.n_genes)):
                for name in paired:
                    assert paired[name].shape == (n, n)
                    assert equal_elements(paired[name], paired[name])
            assert equal_elements(dict(slots.uns), dict(source.slots().uns))

    def test_closing(self, tmp_path: Path) -> None:
        """Whatever was read, no file is open once the context is left."""
        opened = self.opener(tmp_path)()
        with opened as source:
            assert source is opened
            next(iter(source.batches(RowRange(0, source.n_cells))), None)
            source.cells()
        assert left_open(tmp_path) == []

    def test_threads(self, tmp_path: Path) -> None:
        """Several threads that read at once find what one finds."""
        with self.opener(tmp_path)() as source, ThreadPoolExecutor(4) as pool:
            whole = RowRange(0, source.n_cells)
            expected = contents(source, whole)
            for found in pool.map(lambda _: contents(source, whole), range(8)):
                for one, other in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(one, other)


def _dense(matrix: Matrix, rows: RowRange) -> NDArray[Any]:
    """Some cells of a matrix, in float64, whose zeros are what it does not store."""
    found = np.zeros((len(rows), matrix.shape[1]))
    for batch in matrix.batches(rows):
        found[batch.cells() - rows.start, batch.genes] = batch.values
    return found


def left_open(folder: Path) -> list[str]:
    """The files below a folder that this process keeps open, where the system tells.

    A library with threads of its own may close a file a moment after the last who reads it is gone
    (Lance does): only what is open for seconds is kept.
    """
    end = time.monotonic() + _PATIENCE
    while (found := _open_files(folder)) and time.monotonic() < end:
        time.sleep(0.01)
    return found


def _open_files(folder: Path) -> list[str]:
    """The files below a folder that this process has open now."""
    found = []
    for link in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            found.append(str(link.readlink()))
    return sorted(path for path in found if path.startswith(f"{folder}/"))
