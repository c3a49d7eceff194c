"""Files as AnnData, Julia and R have written them over the years are read as what they mean."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import hdf5plugin
import numpy as np
import pandas as pd
import pytest

import slaf
from slaf.sources.hdf5.arrays import DeflatedArray, open_1d
from slaf.sparse.external_sort import ExternalSort
from slaf.testing.strategies import Stored
from tests.builders import as_matrix, counts, names, write_elements, write_stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slaf.dataset.dataset import Dataset

STORED = Stored(
    (5, 4),
    np.array([0, 0, 2, 3, 3, 4]),
    np.array([3, 1, 0, 0, 2, 3]),
    np.array([1, 2, 70_000, 4, 0.5, 6], np.float32),
)
CELLS, GENES = names("cell", 5), names("gene", 4)


def convert(path: Path, matrix: str = "X") -> Dataset:
    """The dataset of a file, which verifies against it."""
    dataset = slaf.convert(path, path.with_suffix(f".{matrix}.slaf"), matrix=matrix)
    assert slaf.verify(dataset, path).ok
    return dataset


def assert_as_anndata_reads(path: Path) -> anndata.AnnData:
    """The dataset of a file is what anndata reads of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = anndata.read_h5ad(path)
    found = convert(path).to_anndata()
    np.testing.assert_array_equal(found.X.toarray(), as_matrix(expected.X))
    assert found.X.dtype == expected.X.dtype
    pd.testing.assert_frame_equal(found.obs, expected.obs)
    pd.testing.assert_frame_equal(found.var, expected.var)
    return found


# ----------------------------------------------------------------------------------------------- X

FILTERS: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": True},
    "gzip": {"compression": "gzip"},
    "gzip, shuffled": {"compression": "gzip", "shuffle": True},
    "gzip, checked": {"compression": "gzip", "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "lzf, shuffled": {"compression": "lzf", "shuffle": True},
    "Blosc": dict(hdf5plugin.Blosc()),
    "Blosc2": dict(hdf5plugin.Blosc2()),
    "zstd": dict(hdf5plugin.Zstd()),
    "LZ4": dict(hdf5plugin.LZ4()),
    "bitshuffle": dict(hdf5plugin.Bitshuffle()),
}


@pytest.mark.parametrize("layout", ["csr", "csc", "dense"])
@pytest.mark.parametrize("filters", FILTERS)
def test_every_filter(filters: str, layout: str, tmp_path: Path) -> None:
    """However HDF5 packs X, the values are the same."""
    packing = FILTERS[filters] | ({"chunks": True} if filters != "contiguous" else {})
    path = write_stored(tmp_path / "in.h5ad", STORED, layout, **packing)
    assert_as_anndata_reads(path)


@pytest.mark.parametrize("dtype", ["i4", "i8", "u4", "u8", ">i4", "f8"])
@pytest.mark.parametrize("layout", ["csr", "csc"])
def test_every_type_of_offsets_and_indices(layout: str, dtype: str, tmp_path: Path) -> None:
    """Offsets of any width and order of bytes, floats too, as R writes them; indices of any."""
    path = write_stored(tmp_path / "in.h5ad", STORED, layout, offsets=dtype)
    if not dtype.startswith("f"):
        with h5py.File(path, "r+") as file:
            indices = file["X/indices"][:]
            del file["X/indices"]
            file["X/indices"] = indices.astype(dtype)
    np.testing.assert_array_equal(convert(path).X.to_memory().toarray(), STORED.dense())


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "f2", "f4", "f8", ">f8", ">i2", "u8"])
@pytest.mark.parametrize("layout", ["csr", "csc", "dense"])
def test_every_type_of_values(layout: str, dtype: str, tmp_path: Path) -> None:
    """Values of any type come back in that type, in the machine's order of bytes."""
    values = np.array([1, 1, 0, 1, 1, 1], dtype)
    stored = Stored(STORED.shape, STORED.cells, STORED.genes, values)
    found = convert(write_stored(tmp_path / "in.h5ad", stored, layout)).X.to_memory()
    # scipy has no matrices of half floats.
    assert found.dtype == ("f4" if dtype == "f2" else np.dtype(dtype).newbyteorder("="))
    np.testing.assert_array_equal(found.toarray(), stored.dense())


@pytest.mark.parametrize(
    ("dtype", "values", "read_dtype"),
    [
        ("?", [True, True], "uint16"),
        ("i1", [100, 100], "uint16"),
        ("i1", [-100, -100], "int32"),
        ("u1", [200, 50], "uint8"),
        ("i4", [2**30, 2**30], "uint32"),
        ("f2", [60_000, 60_000], "uint32"),
        ("f2", [2, 0.5], "float32"),
        ("f4", [2**24, 1], "uint32"),
        ("f4", [2**24, 2], "float32"),
        ("f4", [1, 2.0**-30], "float64"),
        ("f4", [0.5, 0.25], "float32"),
        ("f4", [np.nan, 0.25], "float32"),
        ("f8", [2.0**52, 1], "float64"),
    ],
)
def test_sums_that_outgrow_the_type_come_back_wider(
    dtype: str, values: list[float], read_dtype: str, tmp_path: Path
) -> None:
    """Sums of repeated entries are given back in the type of X only if it holds them."""
    stored = Stored((1, 1), np.zeros(2, int), np.zeros(2, int), np.array(values, dtype))
    found = convert(write_stored(tmp_path / "in.h5ad", stored)).X.to_memory()
    np.testing.assert_array_equal(found.toarray(), [[values[0] + values[1]]])
    assert found.dtype == read_dtype


def test_attributes_of_one(tmp_path: Path) -> None:
    """As R may write them, attributes of X are arrays of one."""
    path = write_stored(tmp_path / "in.h5ad", STORED)
    with h5py.File(path, "r+") as file:
        kept = file["X"].attrs["encoding-type"]
        file["X"].attrs["encoding-type"] = np.array([kept], dtype=h5py.string_dtype())
    np.testing.assert_array_equal(convert(path).X.to_memory().toarray(), STORED.dense())


@pytest.mark.parametrize("layout", ["csr", "csc", "dense"])
def test_chunks_that_were_never_written_hold_their_fill_value(layout: str, tmp_path: Path) -> None:
    """HDF5 gives zeros for what nobody wrote, or what the file says instead."""
    path = write_stored(tmp_path / "in.h5ad", STORED, layout)
    with h5py.File(path, "r+") as file:
        name = "X" if layout == "dense" else "X/data"
        kept = dict(file[name].attrs)
        shape = file[name].shape
        del file[name]
        options = {"chunks": (2,) * len(shape), "compression": "gzip", "shuffle": True}
        file.create_dataset(name, shape, "f4", fillvalue=1.5, **options)
        file[name].attrs.update(kept)
    found = assert_as_anndata_reads(path)
    assert set(found.X.data) == {1.5}


def test_x_may_be_a_soft_link_within_the_file(tmp_path: Path) -> None:
    """A link to another place of the same file is as good as the place."""
    path = write_stored(tmp_path / "in.h5ad", STORED)
    with h5py.File(path, "r+") as file:
        file.move("X", "elsewhere")
        file["X"] = h5py.SoftLink("/elsewhere")
    np.testing.assert_array_equal(convert(path).X.to_memory().toarray(), STORED.dense())


def test_a_user_block_before_the_file(tmp_path: Path) -> None:
    """HDF5 may begin after 512 bytes that are the user's."""
    with h5py.File(tmp_path / "in.h5ad", "w", userblock_size=512) as file:
        write_elements(file, X=STORED.dense(), obs=CELLS, var=GENES)
    assert_as_anndata_reads(tmp_path / "in.h5ad")


def test_the_suffix_says_nothing(tmp_path: Path) -> None:
    """An AnnData file is one by what it holds, whatever it is called."""
    for number, name in enumerate(("matrix.h5", "matrix", "matrix.mtx")):
        path = write_stored(tmp_path / name, STORED)
        dataset = slaf.convert(path, tmp_path / f"{number}.slaf")
        assert dataset.sources[0].format == "h5ad"


# ------------------------------------------------------------------------------------ obs and var


def compound(columns: dict[str, Any]) -> np.ndarray[Any, Any]:
    """A table as AnnData 0.6 kept it: an array of records."""
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    fields = [(name, array.dtype) for name, array in arrays.items()]
    table = np.empty(len(next(iter(arrays.values()))), fields)
    for name, array in arrays.items():
        table[name] = array
    return table


def write_legacy(path: Path, index: str = "index") -> Path:
    """A file of the time before groups: records, categories in uns, raw under names with a dot."""
    ids = np.array([f"cell-{i}" for i in range(5)], "S8")
    with h5py.File(path, "w") as file:
        for name, fill in (("X", 1.0), ("raw.X", 2.0)):
            indptr, indices, data = STORED.rows()
            file[f"{name}/indptr"] = indptr.astype("i4")
            file[f"{name}/indices"] = indices.astype("i4")
            file[f"{name}/data"] = data * np.float32(fill)
            file[name].attrs.update({"h5sparse_format": b"csr", "h5sparse_shape": STORED.shape})
        kinds = np.array([1, 0, -1, 1, 1], "i1")
        columns = {index: ids, "kind": kinds, "share": np.arange(5, dtype="f4"), "n": np.arange(5)}
        file["obs"] = compound(columns)
        file["var"] = compound({index: np.array(["a", "b", "c", "d"], "S1")})
        file["raw.var"] = compound({index: np.array(["e", "f", "g", "h"], "S1"), "n": np.arange(4)})
        file["uns/kind_categories"] = np.array([b"T cell", b"B cell", b"unused"])
    return path


@pytest.mark.filterwarnings("ignore:Element .* was written without encoding metadata")
def test_tables_of_records(tmp_path: Path) -> None:
    """Before 0.7 obs was an array of records, with codes whose categories are in uns."""
    path = write_legacy(tmp_path / "in.h5ad")
    found = assert_as_anndata_reads(path)
    assert found.obs_names.tolist() == [f"cell-{i}" for i in range(5)]
    assert found.obs["kind"].cat.categories.tolist() == ["T cell", "B cell", "unused"]
    assert found.obs["kind"].cat.codes.tolist() == [1, 0, -1, 1, 1]
    assert [str(dtype) for dtype in found.obs.dtypes] == ["category", "float32", "int64"]


def test_raw_under_its_old_name(tmp_path: Path) -> None:
    """Before 0.7 raw lay in `raw.X` and `raw.var`; it brings its own genes."""
    dataset = convert(write_legacy(tmp_path / "in.h5ad"), "raw")
    np.testing.assert_array_equal(dataset.X.to_memory().toarray(), STORED.dense() * 2)
    assert dataset.var.index.tolist() == ["e", "f", "g", "h"]
    assert dataset.var["n"].tolist() == [0, 1, 2, 3]
    assert dataset.obs["kind"].cat.categories.tolist() == ["T cell", "B cell", "unused"]


def write_groups(path: Path, edit: Callable[[h5py.File], None]) -> Path:
    """A file whose obs has two columns, edited into what another program writes."""
    obs = pd.DataFrame({"kind": ["a", "b", "a", "é", ""], "n": np.arange(5)}, index=CELLS.index)
    write_stored(path, STORED, obs=obs)
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def referenced_categories(file: h5py.File) -> None:
    """As 0.7 wrote them: codes, and a reference to the categories in a group beside them."""
    obs = file["obs"]
    del obs["kind"]
    obs.create_dataset("__categories/kind", data=["b", "unused", "a"], dtype=h5py.string_dtype())
    obs["__categories/kind"].attrs["ordered"] = True
    obs["kind"] = np.array([2, 0, -1, 0, 0], "i1")
    obs["kind"].attrs["categories"] = obs["__categories/kind"].ref
    obs.attrs["encoding-version"] = "0.1.0"
    for name in ("kind", "n", "_index"):
        obs[name].attrs.pop("encoding-type", None)
        obs[name].attrs.pop("encoding-version", None)


def attributes_of_bytes(file: h5py.File) -> None:
    """As Julia writes them: fixed-length bytes instead of text."""

    def to_bytes(_: str, element: h5py.HLObject) -> None:
        for name, value in element.attrs.items():
            if isinstance(value, str):
                element.attrs[name] = np.bytes_(value)

    to_bytes("/", file)
    file.visititems(to_bytes)


def nullable_strings(file: h5py.File) -> None:
    """As pandas 3 writes text: a group of values and a mask, the index too."""
    for name, masked in (("_index", []), ("kind", [1, 3])):
        text = file["obs"][name][:]
        del file["obs"][name]
        group = file["obs"].create_group(name)
        group.attrs.update({"encoding-type": "nullable-string-array", "encoding-version": "0.1.0"})
        group.attrs["na-value"] = "NaN"
        group.create_dataset("values", data=text, dtype=h5py.string_dtype())
        group["values"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
        group["mask"] = np.isin(np.arange(5), masked)
        group["mask"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def fixed_length_strings(file: h5py.File) -> None:
    """As PyTables writes text: bytes of one length, without what says it is text."""
    del file["obs/kind"]
    file["obs/kind"] = np.array([b"a", b"bb", b"", b"c", b"a"], "S2")


def big_endian_columns(file: h5py.File) -> None:
    """As a machine of the other order of bytes writes numbers."""
    for name in ("n",):
        values = file["obs"][name][:]
        kept = dict(file["obs"][name].attrs)
        del file["obs"][name]
        file["obs"][name] = values.astype(">i4")
        file["obs"][name].attrs.update(kept)


def no_column_order(file: h5py.File) -> None:
    """As AnnData writes a table of no columns: an empty list of floats."""
    for name in ("kind", "n"):
        del file["obs"][name]
    file["obs"].attrs["column-order"] = np.array([], "f8")


def a_column_named_by_a_path(file: h5py.File) -> None:
    """A slash in a name is a group in a group."""
    file["obs/a/b"] = np.arange(5)
    order = [*file["obs"].attrs["column-order"], "a/b"]
    file["obs"].attrs.create("column-order", order, dtype=h5py.string_dtype())


EDITS = [
    referenced_categories,
    attributes_of_bytes,
    nullable_strings,
    fixed_length_strings,
    no_column_order,
    a_column_named_by_a_path,
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
@pytest.mark.filterwarnings("ignore:Element .* was written without encoding metadata")
def test_tables_of_other_programs(edit: Callable[[h5py.File], None], tmp_path: Path) -> None:
    """What anndata reads of such a file is what the dataset holds."""
    assert_as_anndata_reads(write_groups(tmp_path / "in.h5ad", edit))


def test_columns_of_the_other_order_of_bytes(tmp_path: Path) -> None:
    """Numbers of obs are read as numbers, and come back in the machine's order of bytes."""
    path = write_groups(tmp_path / "in.h5ad", big_endian_columns)
    found = convert(path).obs["n"]
    assert found.tolist() == [0, 1, 2, 3, 4]
    assert str(found.dtype) == "int32"


def test_strings_that_are_missing(tmp_path: Path) -> None:
    """A masked string is missing, and the index that pandas 3 writes is an index."""
    found = convert(write_groups(tmp_path / "in.h5ad", nullable_strings))
    assert found.obs["kind"].isna().tolist() == [False, True, False, True, False]
    assert found.obs.index.tolist() == CELLS.index.tolist()


def test_categories_by_reference(tmp_path: Path) -> None:
    """The order of the categories and those that no cell has are read."""
    kinds = convert(write_groups(tmp_path / "in.h5ad", referenced_categories)).obs["kind"]
    assert kinds.cat.ordered
    assert kinds.cat.categories.tolist() == ["b", "unused", "a"]
    assert kinds.tolist() == ["a", "b", np.nan, "b", "b"]


# ------------------------------------------------------------------------- numbers stored otherwise


def of_another_kind(path: Path, kind: h5py.h5t.TypeID, values: Any, **stored: Any) -> None:
    """Put these numbers in the place of those of X, stored as HDF5 knows to and numpy does not."""
    with h5py.File(path, "r+") as file:
        del file["X/data"]
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        if stored.get("packed"):
            properties.set_chunk((4,))
            properties.set_deflate(4)
        space = h5py.h5s.create_simple((len(values),))
        data = h5py.h5d.create(file["X"].id, b"data", kind, space, properties)
        data.write(h5py.h5s.ALL, h5py.h5s.ALL, np.asarray(values))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["some bits of an integer", "a float of another bias"])
def test_numbers_that_are_stored_otherwise(kind: str, packed: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """What numpy has no type for is what HDF5 makes of it, and never its bytes."""
    path = write_stored(tmp_path / "in.h5ad", STORED)
    values = np.array([5, 300, 7, 9, 11, 13])
    if kind == "some bits of an integer":
        stored = h5py.h5t.STD_I32LE.copy()
        stored.set_precision(16)
        stored.set_offset(8)
        given = values.astype(np.int32)
    else:
        stored = h5py.h5t.IEEE_F32LE.copy()
        stored.set_ebias(120)
        given = values.astype(np.float32)
    of_another_kind(path, stored, given, packed=packed)
    with h5py.File(path) as file:
        assert file["X/data"][:].tolist() == values.tolist()
    assert sorted(convert(path).X.to_memory().data.tolist()) == sorted(values.tolist())


@pytest.mark.parametrize(
    "filters", [("checksum", "gzip"), ("gzip", "shuffle"), ("shuffle", "checksum", "gzip")]
)
def test_filters_in_any_order(filters: tuple[str, ...], tmp_path: Path) -> None:
    """A chunk is unpacked in the reverse of the order in which it was packed."""
    path = write_stored(tmp_path / "in.h5ad", STORED)
    with h5py.File(path, "r+") as file:
        for name in ("X/data", "X/indices"):
            values = file[name][:]
            del file[name]
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_chunk((4,))
            for one in filters:
                if one == "gzip":
                    properties.set_deflate(4)
                elif one == "shuffle":
                    properties.set_shuffle()
                else:
                    properties.set_fletcher32()
            space = h5py.h5s.create_simple(values.shape)
            kind = h5py.h5t.py_create(values.dtype)
            data = h5py.h5d.create(file.id, name.encode(), kind, space, properties)
            data.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    assert_as_anndata_reads(path)


def test_a_dense_matrix_of_hardly_anything(tmp_path: Path) -> None:
    """Zeros that gzip packs as far as it can are no bomb."""
    whole = np.zeros((1500, 6000))
    whole[3, 7] = 2
    adata = anndata.AnnData(whole)
    adata.write_h5ad(tmp_path / "in.h5ad", compression="gzip")
    assert (tmp_path / "in.h5ad").stat().st_size * 200 < whole.nbytes
    assert slaf.convert(tmp_path / "in.h5ad", tmp_path / "out.slaf").nnz == 1


def test_bool_beside_numbers(tmp_path: Path) -> None:
    """A matrix of booleans is one of zeros and ones, with whatever it is brought together."""
    paths: list[Path] = []
    for dtype in (np.bool_, np.float32, np.float64):
        matrix = counts(6, 5, seed=len(paths))
        matrix.data = (matrix.data % 2 + 1 if dtype != np.bool_ else matrix.data > 0).astype(dtype)
        adata = anndata.AnnData(matrix, pd.DataFrame(index=[f"{len(paths)}-{n}" for n in range(6)]))
        paths.append(tmp_path / f"{dtype.__name__}.h5ad")
        adata.write_h5ad(paths[-1])
    slaf.convert(paths[:2], tmp_path / "out.slaf")
    slaf.append(paths[2], tmp_path / "out.slaf")
    assert slaf.verify(tmp_path / "out.slaf", against=paths).ok
    plain = slaf.convert(paths[0], tmp_path / "plain.slaf", plain_types=True)
    assert slaf.verify(plain, against=paths[0]).ok


@pytest.mark.parametrize("n_inputs", [1, 2])
def test_layers_by_columns_are_sorted_once(
    n_inputs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many parts there are, what is not in the order of cells is brought into it once."""
    sorted_once: list[ExternalSort] = []
    fill = ExternalSort.fill

    def noted(self: ExternalSort, *given: Any, **named: Any) -> None:
        if self not in sorted_once:
            sorted_once.append(self)
        fill(self, *given, **named)

    monkeypatch.setattr(ExternalSort, "fill", noted)
    paths = []
    for seed in range(n_inputs):
        adata = anndata.AnnData(counts(30, 8, seed=seed))
        adata.obs_names = [f"{seed}-{cell}" for cell in range(30)]
        adata.layers["columns"] = counts(30, 8, seed=seed + 5).tocsc()
        adata.raw = anndata.AnnData(counts(30, 8, seed=seed + 7).tocsc(), var=adata.var)
        paths.append(tmp_path / f"{seed}.h5ad")
        adata.write_h5ad(paths[-1])
    slaf.convert(paths, tmp_path / "out.slaf", chunk_size=5)
    assert len(sorted_once) == 2 * n_inputs
    slaf.verify(tmp_path / "out.slaf", against=paths)
    assert len(sorted_once) == 4 * n_inputs


@pytest.mark.slow
def test_a_chunk_larger_than_one_read(tmp_path: Path) -> None:
    """A chunk of more than 2 GiB, which Linux does not read at once, is read to its end."""
    n, path = 2**28 + 1, tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk((n,))
        # Nothing is written, so that the file is sparse.
        how.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        how.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple((n,))
        made = h5py.h5d.create(file.id, b"x", h5py.h5t.STD_I64LE, space, dcpl=how)
        chunk = made.get_chunk_info(0)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset + chunk.size - 8)
        raw.write((7).to_bytes(8, "little"))
    with h5py.File(path) as file:
        array = open_1d(file["x"])
        assert isinstance(array, DeflatedArray)
        assert array[n - 2 : n].tolist() == [0, 7]
