"""The kernels of kernels.c and inflate.c, called by ctypes: without the lock of the interpreter."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.kernels.reference import DenseCells, Entries, Gather, Kernels, Sums, Tiles, Windows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["CompiledKernels"]

_POINTER, _SIZE, _UINT32 = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint32
_CAST = (ctypes.c_int32, _POINTER, _POINTER, _SIZE)
_POSITIONS = (_SIZE, _POINTER, _POINTER, _SIZE, _SIZE, _UINT32)
_GATHER = (None, _POINTER, _POINTER, _SIZE, _POINTER)
_DENSE = (ctypes.c_int32, _POINTER, _POINTER, _POINTER, _SIZE, _SIZE, _POINTER)
_ROW_SUMS = (None, _POINTER, _SIZE, _POINTER, _POINTER)
_SCALE = (ctypes.c_int32, _POINTER, _SIZE, _POINTER, _POINTER, _POINTER)
_SELECT = (
    *(_SIZE, _POINTER, _SIZE, _POINTER, _POINTER),
    *(_POINTER, _SIZE, _POINTER, _POINTER, _POINTER),
)
_ENTRIES = (_SIZE, ctypes.c_char_p, _SIZE, _UINT32, _UINT32, _POINTER, _POINTER, _POINTER)

_INFLATE = (
    *(_SIZE, ctypes.c_int32, _POINTER, _POINTER, _SIZE),
    *(_POINTER, _POINTER, _SIZE, ctypes.c_uint64, _POINTER, _SIZE),
)

_COUNT = (None, _POINTER, _SIZE, ctypes.c_uint64, _POINTER)
_FILL = (
    *(None, _POINTER, _SIZE, ctypes.c_uint64),
    *(_SIZE, _SIZE, _POINTER, _POINTER, _POINTER, _SIZE),
)

_DISTRIBUTE = (
    *(ctypes.c_int32, _POINTER, _POINTER, _POINTER, _SIZE),
    *(_UINT32, _SIZE, _POINTER, _POINTER, _POINTER),
)
_PLACE = (ctypes.c_int32, _POINTER, _SIZE, _SIZE, _POINTER, _POINTER, _POINTER, _SIZE)
_COUNT_CELLS = (ctypes.c_int32, _POINTER, _SIZE, _SIZE, _SIZE, _POINTER)

_LARGEST_UINT32 = 2**32 - 1

# Elements that are unshuffled by one pass, by their bytes; and elements of dense matrices.
_WIDTHS = (2, 4, 8)
_DENSE_WIDTHS = (1, 2, 4, 8)
_GENE_WIDTHS = (2, 4)


class CompiledKernels(Kernels):
    """The same passes in C; whatever these do not take is left to numpy.

    Parameters
    ----------
    library
        As `load_library` loads it.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        cast = {
            f"{of}_{to}": self._function(f"slaf_cast_{of}_{to}", _CAST)
            for of in ("f4", "f8", "i4", "i8")
            for to in ("u2", "u4")
        }
        # Of unsigned numbers the same bits are beyond.
        same = {"u4_u2": cast["i4_u2"], "u8_u2": cast["i8_u2"], "u8_u4": cast["i8_u4"]}
        self._casts = {
            (np.dtype(name[:2]), np.dtype(name[3:])): function
            for name, function in (cast | same).items()
        }
        self._positions = {
            size: self._function(f"slaf_positions_{size}", _POSITIONS) for size in (4, 8)
        }
        self._repeat = self._function("slaf_repeat", (None, _UINT32, _POINTER, _SIZE, _POINTER))
        self._sums = self._function("slaf_sums_u2", (None, _POINTER, _SIZE, _POINTER))
        self._unshuffle = {
            size: self._function(f"slaf_unshuffle_{size}", (None, _POINTER, _POINTER, _SIZE))
            for size in _WIDTHS
        }
        self._gather = {
            (np.dtype(of), np.dtype(to)): self._function(f"slaf_gather_{of}_{to}", _GATHER)
            for of, to in (("u2", "i4"), ("u4", "i4"), ("u2", "f4"), ("f4", "f4"))
        }
        self._row_sums = {
            np.dtype(of): self._function(f"slaf_row_sums_{of}", _ROW_SUMS)
            for of in ("u2", "u4", "i4", "i8", "f4", "f8")
        }
        self._scale = {
            (np.dtype(of), np.dtype(to)): self._function(f"slaf_scale_{of}_{to}", _SCALE)
            for of, to in (("u2", "f4"), ("u4", "f4"), ("i4", "f4"), ("f4", "f4"), ("f8", "f8"))
        }
        self._select = {
            (of, size): self._function(f"slaf_select_{of}_{size}", _SELECT)
            for of in (2, 4)
            for size in _DENSE_WIDTHS
        }
        self._whole_rows = self._function("slaf_dense", _DENSE)
        self._entries = {
            kind: self._function(f"slaf_entries_{kind}8", _ENTRIES) for kind in ("i", "f")
        }

        self._inflate = self._function("slaf_inflate", _INFLATE)
        self._dense = {
            size: tuple(
                self._function(f"slaf_{name}_{size}", _typed(types, size))
                for name, types in (("count", _COUNT), ("fill", _FILL))
            )
            for size in _DENSE_WIDTHS
        }

        self._count_cells = self._function("slaf_count_cells", _COUNT_CELLS)
        self._records: dict[tuple[int, int], tuple[Callable[..., Any], ...]] = {
            (gene, value): tuple(
                self._function(f"slaf_{name}_{gene}_{value}", types)
                for name, types in (("distribute", _DISTRIBUTE), ("place", _PLACE))
            )
            for gene in _GENE_WIDTHS
            for value in _DENSE_WIDTHS
        }

    def _function(self, name: str, types: tuple[Any, ...]) -> Callable[..., Any]:
        function = self._library[name]
        function.restype, *function.argtypes = types
        return function

    def cast(self, values: NDArray[Any], out: NDArray[Any]) -> bool:
        """Write values in another type; whether it holds all of them exactly."""
        function = self._casts.get((values.dtype, out.dtype))
        if function is None or values.shape != out.shape or not _are_plain(values, out):
            return super().cast(values, out)
        return bool(function(_address(values), _address(out), len(values)))

    def positions(
        self, positions: NDArray[Any], out: NDArray[np.uint32], start: int, size: int
    ) -> int:
        """Write positions on an axis as uint32."""
        function = self._positions.get(positions.dtype.itemsize)
        has_room = start + len(positions) <= len(out)
        if function is None or not size or not has_room or not _are_plain(positions, out):
            return super().positions(positions, out, start, size)
        last = min(size - 1, _LARGEST_UINT32)
        return int(function(_address(positions), _address(out), start, len(positions), last))

    def repeat(self, first: int, counts: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
        """Write `first`, `first + 1` and so on, each as often as its count says."""
        fits = int(counts.sum()) == len(out) and int(counts.min(initial=0)) >= 0
        if not fits or not _are_plain(counts, out):
            super().repeat(first, counts, out)
            return
        self._repeat(first, _address(counts), len(counts), _address(out))

    def sums(self, values: NDArray[np.uint16]) -> Sums:
        """The sum, the sum of squares, the least and the largest of at least one number."""
        if not _are_plain(values):
            return super().sums(values)
        sums = (ctypes.c_uint64 * 4)()
        self._sums(_address(values), len(values), sums)
        total, squares, least, largest = sums
        return total, squares, least, largest

    def row_sums(self, counts: NDArray[np.int64], values: NDArray[Any]) -> NDArray[Any]:
        """The sum of each row of entries: of floats float64, added from left to right."""
        function = self._row_sums.get(values.dtype)
        if function is None or not _are_rows(counts, values):
            return super().row_sums(counts, values)
        sums = np.empty(len(counts), np.float64 if values.dtype.kind == "f" else np.int64)
        function(_address(counts), len(counts), _address(values), _address(sums))
        return sums

    def scale(
        self,
        counts: NDArray[np.int64],
        values: NDArray[Any],
        factors: NDArray[np.float64],
        out: NDArray[Any],
    ) -> bool:
        """Write the entries of each row times its factor, in float64, rounded once."""
        function = self._scale.get((values.dtype, out.dtype))
        fits = values.shape == out.shape and factors.shape == counts.shape
        fits = fits and factors.dtype == np.float64 and _are_plain(factors)
        if function is None or not fits or not _are_rows(counts, values, out):
            return super().scale(counts, values, factors, out)
        arrays = _address(values), _address(factors), _address(out)
        return bool(function(_address(counts), len(counts), *arrays))

    def select(
        self,
        counts: NDArray[np.int64],
        columns: NDArray[Any],
        values: NDArray[Any],
        places: NDArray[np.int32],
    ) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]:
        """The entries in some columns: their number in each row, their places, and their values."""
        by_numpy = super().select
        function = self._select.get((columns.dtype.itemsize, values.dtype.itemsize))
        fits = columns.dtype.kind in "iu" and values.dtype.kind in "biuf"
        fits = fits and places.dtype == np.int32 and _are_plain(places)
        if function is None or not fits or not _are_rows(counts, columns, values):
            return by_numpy(counts, columns, values, places)
        n_kept, at = np.empty(len(counts), np.int64), np.empty(len(columns), np.uint32)
        kept = np.empty(len(values), values.dtype)
        read = _address(counts), len(counts), _address(columns), _address(values)
        written = _address(n_kept), _address(at), _address(kept)
        n = function(*read, _address(places), len(places), *written)
        if n < 0:
            return by_numpy(counts, columns, values, places)
        return n_kept, at[:n], kept[:n]

    def gather(
        self,
        arrays: Sequence[NDArray[Any]],
        array: NDArray[np.int64],
        starts: NDArray[np.int64],
        stops: NDArray[np.int64],
    ) -> Gather:
        """A function that writes some of many rows one after the other."""
        by_numpy = super().gather(arrays, array, starts, stops)
        lengths = np.array([len(one) for one in arrays], np.int64)
        if not _are_plain(*arrays) or not len(array):
            return by_numpy
        if not ((starts >= 0) & (starts <= stops) & (stops <= lengths[array])).all():
            return by_numpy
        dtype, counts = arrays[0].dtype, stops - starts
        begins = np.array([_address(one) for one in arrays], np.int64)[array]
        begins += starts * dtype.itemsize

        def write(rows: NDArray[np.int64], out: NDArray[Any]) -> None:
            function, of_rows = self._gather.get((dtype, out.dtype)), counts[rows]
            if function is None or int(of_rows.sum()) != len(out) or not _are_plain(out):
                by_numpy(rows, out)
                return
            places = begins[rows]
            function(_address(places), _address(of_rows), len(rows), _address(out))

        return write

    def dense(
        self,
        indptr: NDArray[np.int64],
        genes: NDArray[np.int32],
        values: NDArray[Any],
        out: NDArray[np.float32],
    ) -> None:
        """Write rows of entries as whole rows, zero elsewhere."""
        types = indptr.dtype == np.int64 and genes.dtype == np.int32
        types = types and values.dtype == out.dtype == np.float32
        ends = int(indptr[0]), int(indptr[-1])
        fits = ends == (0, len(genes)) and len(genes) == len(values) and len(indptr) == len(out) + 1
        ascends = bool((indptr[1:] >= indptr[:-1]).all())
        done = False
        if types and fits and ascends and _are_plain(indptr, genes, values, out):
            arrays = _address(indptr), _address(genes), _address(values)
            done = bool(self._whole_rows(*arrays, *out.shape, _address(out)))
        if not done:
            super().dense(indptr, genes, values, out)

    def unshuffle(self, raw: bytes | memoryview, itemsize: int) -> NDArray[np.uint8]:
        """The bytes of elements whose first bytes are together, then their second ones."""
        function = self._unshuffle.get(itemsize)
        if function is None:
            return super().unshuffle(raw, itemsize)
        planes = np.frombuffer(raw, np.uint8)
        elements = np.empty(len(planes), np.uint8)
        function(_address(planes), _address(elements), len(planes) // itemsize)
        return elements

    def inflate(
        self,
        file: int,
        starts: NDArray[np.uint64],
        sizes: NDArray[np.uint64],
        out: NDArray[np.uint8],
        windows: Windows,
    ) -> int:
        """Read chunks from a file and inflate them, in order, as far as that goes."""
        fits = len(starts) == len(sizes) == len(out) and starts.dtype == sizes.dtype == np.uint64
        if not fits or not len(windows.data) or not _are_plain(starts, sizes, out):
            return super().inflate(file, starts, sizes, out, windows)
        where = _address(starts), _address(sizes), len(starts)
        read = _address(windows.spans), _address(windows.data), *windows.data.shape
        return int(self._inflate(file, *where, *read, _address(out), out.shape[1]))

    def dense_cells(self, tiles: Tiles) -> DenseCells:
        """Whole cells of a dense matrix, of which the nonzero elements are read."""
        values = tiles.values
        size = values.dtype.itemsize
        steps = (stride % size for stride in values.strides)
        is_number = values.dtype.kind in "biuf" and size in self._dense
        if not is_number or not values.flags.aligned or any(steps):
            return super().dense_cells(tiles)
        return _CompiledCells(tiles, *self._dense[size])

    def entries(
        self, text: bytes, shape: tuple[int, int], dtype: np.dtype[Any] | None
    ) -> Entries | None:
        """The entries in whole lines of an MTX file; None if these hold anything else."""
        n_lines = text.count(b"\n")
        rows, columns = (np.empty(n_lines, np.uint32) for _ in range(2))
        values = None if dtype is None else np.empty(n_lines, dtype)
        found = self._entries["f" if dtype is not None and dtype.kind == "f" else "i"](
            text,
            len(text),
            *(min(size, _LARGEST_UINT32) for size in shape),
            _address(rows),
            _address(columns),
            None if values is None else _address(values),
        )
        return (rows, columns, values) if found == n_lines else None

    def distribute(
        self,
        cells: NDArray[np.uint32],
        genes: NDArray[np.uint32],
        values: NDArray[Any],
        *,
        width: int,
        out: NDArray[Any],
        bounds: NDArray[np.int64],
    ) -> None:
        """Write entries as records, by bucket of so many cells, those of one in their order."""
        functions = self._records.get(_sizes(out))
        columns = (cells, genes, values)
        fits = all(len(each) == len(out) for each in columns) and values.dtype == out.dtype["value"]
        fits = fits and cells.dtype == genes.dtype == np.uint32 and bounds.dtype == np.int64
        fits = fits and 0 < width <= _LARGEST_UINT32 and len(bounds) > 0
        if functions is None or not fits or not _are_plain(*columns, bounds):
            super().distribute(*columns, width=width, out=out, bounds=bounds)
            return
        places = np.empty(len(bounds) - 1, np.int64)
        bounds[:] = 0
        done = functions[0](
            *map(_address, columns),
            *(len(out), width, len(places)),
            *(_address(bounds), _address(places), _address(out)),
        )
        if not done:
            super().distribute(*columns, width=width, out=out, bounds=bounds)

    def count_cells(self, records: NDArray[Any], counts: NDArray[np.int64]) -> None:
        """Add how many records each cell has."""
        is_compiled = _sizes(records) in self._records and counts.dtype == np.int64
        where = _address(records), len(records), records.itemsize, len(counts)
        counted = counts.copy()
        if is_compiled and self._count_cells(*where, _address(counted)):
            counts[:] = counted
        else:
            super().count_cells(records, counts)

    def place(
        self,
        records: NDArray[Any],
        ends: NDArray[np.int64],
        genes: NDArray[Any],
        values: NDArray[Any],
    ) -> None:
        """Write genes and values of records to the next places of their cells."""
        functions = self._records.get(_sizes(records))
        fits = len(genes) == len(values) and ends.dtype == np.int64
        types = (genes.dtype, values.dtype) == (records.dtype["gene"], records.dtype["value"])
        if functions is None or not fits or not types or not _are_plain(ends, genes, values):
            super().place(records, ends, genes, values)
            return
        where = _address(records), len(records), len(ends)
        after = ends.copy()
        if functions[1](*where, _address(after), _address(genes), _address(values), len(genes)):
            ends[:] = after
        else:
            super().place(records, ends, genes, values)


class _CompiledCells(DenseCells):
    """The same, by the two functions for elements of this size."""

    def __init__(self, tiles: Tiles, count: Callable[..., None], fill: Callable[..., None]) -> None:
        self._tiles = tiles  # whose memory is read
        self._fill = fill
        places = _places(tiles)
        self._where = _address(places), len(places), _mask(tiles.values.dtype)
        self._places = places
        counts = np.zeros(tiles.shape[0], np.uint32)
        count(*self._where, _address(counts))
        self.counts = counts.astype(np.int64)

    def write(self, first: int, stop: int, genes: NDArray[np.uint32], values: NDArray[Any]) -> None:
        """Write genes and values of the nonzero elements of these cells, by cell and gene."""
        counts = self.counts[first:stop]
        at = np.cumsum(counts) - counts
        fits = len(genes) == len(values) == int(counts.sum())
        # Of values of the other order of bytes only the places matter.
        is_plain = _are_plain(genes) and values.flags.c_contiguous and values.flags.aligned
        if not fits or values.dtype != self._tiles.values.dtype or not is_plain:
            super().write(first, stop, genes, values)
            return
        out = _address(at), _address(genes), _address(values), len(genes)
        self._fill(*self._where, first, stop, *out)


def _places(tiles: Tiles) -> NDArray[np.int64]:
    """Tiles as the C functions take them: those within the cells and genes."""
    values, cells, genes, (n_cells, n_genes) = tiles
    to_tile, to_cell, to_gene = values.strides
    rows, columns = np.maximum(-cells, 0), np.maximum(-genes, 0)
    places = np.empty((len(values), 7), np.int64)
    places[:, 0] = _address(values) + np.arange(len(values)) * to_tile
    places[:, 0] += rows * to_cell + columns * to_gene
    places[:, 1], places[:, 2] = cells + rows, genes + columns
    places[:, 3] = np.minimum(values.shape[1], n_cells - cells) - rows
    places[:, 4] = np.minimum(values.shape[2], n_genes - genes) - columns
    places[:, 5], places[:, 6] = to_cell // values.itemsize, to_gene // values.itemsize
    return places[(places[:, 3] > 0) & (places[:, 4] > 0)]


def _mask(dtype: np.dtype[Any]) -> int:
    """The bits of an element that are not all zero if it is not: those of a float but its sign."""
    bits = 8 * dtype.itemsize - (dtype.kind == "f")
    unsigned = np.array(2**bits - 1, f"{dtype.byteorder}u{dtype.itemsize}")
    return int(unsigned.view(f"=u{dtype.itemsize}"))


def _typed(types: tuple[Any, ...], size: int) -> tuple[Any, ...]:
    """Types of arguments, with the mask as an unsigned number of this size."""
    unsigned = {1: ctypes.c_uint8, 2: ctypes.c_uint16, 4: ctypes.c_uint32, 8: ctypes.c_uint64}
    return tuple(unsigned[size] if each is ctypes.c_uint64 else each for each in types)


def _sizes(records: NDArray[Any]) -> tuple[int, int]:
    """The bytes of gene and value of records as C reads them; no bytes for others."""
    if not records.flags.c_contiguous or not all(t.isnative for t, *_ in _fields(records)):
        return 0, 0
    (cell, _), (gene, of_gene), (value, of_value) = _fields(records)
    offsets = (of_gene, of_value, records.itemsize)
    packed = (2, 2 + gene.itemsize, 2 + gene.itemsize + value.itemsize)
    is_packed = cell.itemsize == 2 and offsets == packed  # noqa: PLR2004 - bytes of uint16
    return (gene.itemsize, value.itemsize) if is_packed else (0, 0)


def _fields(records: NDArray[Any]) -> list[tuple[np.dtype[Any], int]]:
    fields: Any = records.dtype.fields
    return [fields[name][:2] for name in ("cell", "gene", "value")]


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _are_rows(counts: NDArray[Any], *entries: NDArray[Any]) -> bool:
    """True for arrays with an entry for each of the rows of these lengths."""
    if counts.dtype != np.int64 or not _are_plain(counts, *entries):
        return False
    size = int(counts.sum())
    return int(counts.min(initial=0)) >= 0 and all(one.shape == (size,) for one in entries)


def _are_plain(*arrays: NDArray[Any]) -> bool:
    return all(
        array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative
        for array in arrays
    )
