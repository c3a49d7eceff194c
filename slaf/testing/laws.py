"""The laws of sources, as tests for the test class of a format to inherit."""

from __future__ import annotations

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.annotations.equality import equal_elements
from slaf.errors import MissingMatrix
from slaf.sparse.ranges import RowRange

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from slaf.sources.base import Source
    from slaf.sources.matrix import Matrix

__all__ = ["SourceLaws", "contents", "left_open"]

# Seconds until a file that is no longer read must be closed.
_CLOSE_SECONDS = 60.0


def contents(matrix: Matrix, rows: RowRange) -> tuple[Any, Any, Any]:
    """Read some cells: number of nonzeros of each cell, genes and values."""
    batches = list(matrix.batches(rows))
    return (
        np.concatenate([np.empty(0, np.int64), *(batch.counts for batch in batches)]),
        np.concatenate([np.empty(0, np.uint32), *(batch.genes for batch in batches)]),
        np.concatenate([np.empty(0, matrix.dtype), *(batch.values for batch in batches)]),
    )


class SourceLaws:
    """Base class for tests of a format: ``class TestX(SourceLaws)`` with its own `opener`.

    The input should have a few cells, some of them empty, and entries in the worst order that the
    format allows.
    """

    def opener(self, folder: Path) -> Callable[[], Source]:
        """Write an input into the folder; returns a function that opens it."""
        raise NotImplementedError

    def entries(self, source: Source) -> int | None:
        """The number of stored entries; None if the source has only an estimate."""
        size = source.info.size
        return size.entries if size.exact else None

    def test_partition(self, tmp_path: Path) -> None:
        """Reading [a, b) and then [b, c) equals reading [a, c), for any b."""
        with self.opener(tmp_path)() as source:
            whole = contents(source.matrix(), RowRange(0, source.info.n_cells))
            for cut in range(source.info.n_cells + 1):
                first = contents(source.matrix(), RowRange(0, cut))
                second = contents(source.matrix(), RowRange(cut, source.info.n_cells))
                for expected, left, right in zip(whole, first, second, strict=True):
                    np.testing.assert_array_equal(np.concatenate([left, right]), expected)

    def test_any_range_by_itself(self, tmp_path: Path) -> None:
        """A range has the same values whatever was read before it."""
        with self.opener(tmp_path)() as source:
            lengths, genes, values = contents(source.matrix(), RowRange(0, source.info.n_cells))
            ends = np.append(0, np.cumsum(lengths))
            for start in reversed(range(source.info.n_cells)):
                stop = min(start + 2, source.info.n_cells)
                batches = contents(source.matrix(), RowRange(start, stop))
                part = slice(ends[start], ends[stop])
                np.testing.assert_array_equal(batches[0], lengths[start:stop])
                np.testing.assert_array_equal(batches[1], genes[part])
                np.testing.assert_array_equal(batches[2], values[part])

    def test_batches_follow_each_other(self, tmp_path: Path) -> None:
        """Batches have whole cells, each exactly once."""
        with self.opener(tmp_path)() as source:
            stop = 0
            for batch in source.matrix().batches(RowRange(0, source.info.n_cells)):
                assert batch.rows.start == stop
                assert len(batch.counts) == len(batch.rows)
                stop = batch.rows.stop
            assert stop == source.info.n_cells

    def test_rules_of_a_batch(self, tmp_path: Path) -> None:
        """Genes ascend in each cell and exist, no value is zero, the lengths add up."""
        with self.opener(tmp_path)() as source:
            for batch in source.matrix().batches(RowRange(0, source.info.n_cells)):
                assert batch.counts.sum() == len(batch.genes) == len(batch.values)
                assert batch.genes.dtype == np.uint32
                assert (batch.genes < source.info.n_genes).all()
                assert (batch.values != 0).all()
                for genes in np.split(batch.genes, np.cumsum(batch.counts)[:-1]):
                    assert (np.diff(genes.astype(np.int64)) > 0).all()

    def test_tables(self, tmp_path: Path) -> None:
        """Both tables have a row for each cell and gene, in order, with strings as ids."""
        with self.opener(tmp_path)() as source:
            for table, rows, first in (
                (source.cells(), source.info.n_cells, "cell_id"),
                (source.genes(), source.info.n_genes, "gene_id"),
            ):
                assert table.num_rows == rows
                assert table.schema.names[0] == first
                assert str(table.schema.types[0]) == "string"
                assert table.column(0).null_count == 0

    def test_indptr_estimate(self, tmp_path: Path) -> None:
        """Offsets ascend from 0 to the number of entries, at every step."""
        with self.opener(tmp_path)() as source:
            entries = self.entries(source)
            for step in (1, 2, source.info.n_cells, source.info.n_cells + 1):
                before = source.matrix().indptr_estimate(step)
                assert len(before) == -(-source.info.n_cells // step) + 1
                assert before[0] == 0
                assert (np.diff(before) >= 0).all()
                if entries is not None:
                    assert before[-1] == entries

    def test_identity(self, tmp_path: Path) -> None:
        """An input that is reopened has the same identity, which JSON preserves."""
        open_input = self.opener(tmp_path)
        with open_input() as source:
            identity = dict(source.info.identity)
        with open_input() as source:
            assert dict(source.info.identity) == identity
        assert json.loads(json.dumps(identity)) == identity

    def test_description(self, tmp_path: Path) -> None:
        """The description is that of the chosen matrix, which is one of the matrices."""
        with self.opener(tmp_path)() as source:
            info, matrix = source.info, source.matrix()
            assert info.matrix == "X" or info.matrix in info.matrices
            assert (info.n_cells, info.n_genes) == matrix.shape
            assert info.dtype == matrix.dtype
            assert all(info.not_converted)
            assert info.size.entries >= 0

    def test_sample_values(self, tmp_path: Path) -> None:
        """Sampled values are values of the matrix, zeros, or summands of a value."""
        with self.opener(tmp_path)() as source:
            sample, entries = source.matrix().sample_values(), self.entries(source)
            _, _, values = contents(source.matrix(), RowRange(0, source.info.n_cells))
            assert sample.ndim == 1
            assert sample.size or not values.size
            unknown = sample[(sample != 0) & ~np.isin(sample, values)]
            if entries is None:
                assert len(unknown) < max(len(sample), 1)
            else:
                # Entries that repeat are stored apart, and their sum is read.
                assert len(unknown) <= 2 * (entries - len(values))

    def test_matrices(self, tmp_path: Path) -> None:
        """Each matrix of the description can be opened; another one is refused by name."""
        with self.opener(tmp_path)() as source:
            for name in (source.info.matrix, *source.info.matrices):
                matrix = source.matrix(name)
                assert matrix.shape[0] == source.info.n_cells
                assert matrix.sample_values().ndim == 1
            try:
                source.matrix("layer:none of these")
            except MissingMatrix as error:
                assert "layer:none of these" in str(error)  # noqa: PT017 - pytest is not imported
            else:
                raise AssertionError

    def test_read_once(self, tmp_path: Path) -> None:
        """Tables, raw and matrices are read or opened once, however often they are used."""
        with self.opener(tmp_path)() as source:
            assert source.cells() is source.cells()
            assert source.genes() is source.genes()
            assert source.raw() is source.raw()
            assert source.matrix() is source.matrix(source.info.matrix)

    def test_layers(self, tmp_path: Path) -> None:
        """Each layer has the shape of the matrix, and any ranges read the same values."""
        with self.opener(tmp_path)() as source:
            layers, whole = source.layers(), RowRange(0, source.info.n_cells)
            for name in layers:
                assert layers[name].shape == (source.info.n_cells, source.info.n_genes)
                expected = _dense(layers[name], whole)
                for cut in range(source.info.n_cells + 1):
                    parts = RowRange(0, cut), RowRange(cut, source.info.n_cells)
                    actual = np.concatenate([_dense(layers[name], part) for part in parts])
                    np.testing.assert_array_equal(actual, expected)

    def test_raw(self, tmp_path: Path) -> None:
        """Raw has the cells of the matrix and the genes of its own table."""
        with self.opener(tmp_path)() as source:
            raw = source.raw()
            if raw is not None:
                assert raw.matrix.shape == (source.info.n_cells, raw.genes.num_rows)
                assert raw.genes.schema.names[0] == "gene_id"
                for element in raw.varm.values():
                    assert len(element) == raw.genes.num_rows

    def test_slots(self, tmp_path: Path) -> None:
        """Elements have a row for each cell or gene; those of obsp and varp a column too."""
        with self.opener(tmp_path)() as source:
            slots, info = source.slots(), source.info
            for aligned, n_rows in ((slots.obsm, info.n_cells), (slots.varm, info.n_genes)):
                for name in aligned:
                    assert aligned[name].shape[0] == n_rows
                    assert equal_elements(aligned[name], aligned[name])
            for paired, n in ((slots.obsp, info.n_cells), (slots.varp, info.n_genes)):
                for name in paired:
                    assert paired[name].shape == (n, n)
                    assert equal_elements(paired[name], paired[name])
            assert equal_elements(dict(slots.uns), dict(source.slots().uns))

    def test_closing(self, tmp_path: Path) -> None:
        """No file is open after the context is left."""
        opened = self.opener(tmp_path)()
        with opened as source:
            assert source is opened
            next(iter(source.matrix().batches(RowRange(0, source.info.n_cells))), None)
            source.cells()
        assert left_open(tmp_path) == []

    def test_threads(self, tmp_path: Path) -> None:
        """Several threads at once read the same values as one."""
        with self.opener(tmp_path)() as source, ThreadPoolExecutor(4) as pool:
            whole = RowRange(0, source.info.n_cells)
            expected = contents(source.matrix(), whole)
            for arrays in pool.map(lambda _: contents(source.matrix(), whole), range(8)):
                for array, wanted in zip(arrays, expected, strict=True):
                    np.testing.assert_array_equal(array, wanted)


def _dense(matrix: Matrix, rows: RowRange) -> NDArray[Any]:
    """Read some cells as a dense array of float64."""
    dense = np.zeros((len(rows), matrix.shape[1]))
    for batch in matrix.batches(rows):
        dense[batch.cells() - rows.start, batch.genes] = batch.values
    return dense


def left_open(folder: Path) -> list[str]:
    """Files below a folder that this process keeps open, on systems with /proc.

    Lance closes files in threads, shortly after the last read: only files that stay open for
    seconds are returned.
    """
    end = time.monotonic() + _CLOSE_SECONDS
    while (paths := _open_files(folder)) and time.monotonic() < end:
        time.sleep(0.01)
    return paths


def _open_files(folder: Path) -> list[str]:
    """Files below a folder that this process has open now."""
    paths = []
    for link in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(FileNotFoundError):  # closed in the meantime
            paths.append(str(link.readlink()))
    return sorted(path for path in paths if path.startswith(f"{folder}/"))
