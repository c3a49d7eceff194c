"""Files that lie, point elsewhere or go in circles are refused in good time; nothing is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import slaf
from slaf.errors import (
    DamagedInput,
    InputError,
    MissingMatrix,
    NoSuchInput,
    StorageError,
    UnknownFormat,
)
from slaf.testing.strategies import Stored
from tests.builders import names, write_elements, write_stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Edit = Callable[[h5py.File], None]

pytestmark = pytest.mark.timeout(60)

STORED = Stored(
    (5, 4),
    np.array([0, 0, 2, 3, 3, 4]),
    np.array([3, 1, 0, 0, 2, 3]),
    np.array([1, 2, 3, 4, 5, 6], np.float32),
)


def write(path: Path, layout: str = "csr") -> Path:
    """A good file, with a column of each kind in obs."""
    obs = names("cell", 5)
    obs["n"] = np.arange(5)
    obs["kind"] = np.array(["a", "b", "a", "b", "a"], object)
    obs["category"] = obs["kind"].astype("category")
    return write_stored(path, STORED, layout, obs=obs)


def refusal(path: Path, matrix: str = "X") -> InputError:
    """The error of a conversion that is refused and leaves nothing behind."""
    output = path.with_name("out.slaf")
    before = set(path.parent.iterdir())
    with pytest.raises(InputError) as caught:
        slaf.convert(path, output, matrix=matrix)
    assert str(path) in str(caught.value)
    assert set(path.parent.iterdir()) == before
    return caught.value


def replaced(name: str, values: Any) -> Edit:
    """Exchange a dataset, keeping its attributes."""

    def edit(file: h5py.File) -> None:
        kept = dict(file[name].attrs)
        del file[name]
        file[name] = values
        file[name].attrs.update(kept)

    return edit


def entry(name: str, at: int, value: float) -> Edit:
    """Change one number of a dataset."""

    def edit(file: h5py.File) -> None:
        file[name][at] = value

    return edit


def attribute(name: str, key: str, value: Any) -> Edit:
    """Change an attribute; None removes it."""

    def edit(file: h5py.File) -> None:
        if value is None:
            del file[name].attrs[key]
        else:
            file[name].attrs[key] = value

    return edit


def without(name: str) -> Edit:
    """Remove a member."""

    def edit(file: h5py.File) -> None:
        del file[name]

    return edit


# ------------------------------------------------------------------------ what contradicts itself

INDPTR = np.array([0, 2, 2, 3, 5, 6])

CONTRADICTIONS: dict[str, tuple[str, Edit, str]] = {
    "more cells than offsets": ("csr", attribute("X", "shape", (6, 4)), "indptr has 6 offsets"),
    "fewer cells than offsets": ("csr", attribute("X", "shape", (4, 4)), "indptr has 6 offsets"),
    "more cells than can be": ("csr", attribute("X", "shape", (2**62, 4)), "indptr has 6 offsets"),
    "fewer genes than entries": ("csr", attribute("X", "shape", (5, 3)), "var has 4 rows"),
    "more genes than var": ("csr", attribute("X", "shape", (5, 2**40)), "var has 4 rows"),
    "a negative shape": ("csr", attribute("X", "shape", (-5, 4)), "shape"),
    "a shape of one number": ("csr", attribute("X", "shape", 5), "shape"),
    "a shape of three": ("csr", attribute("X", "shape", (5, 4, 3)), "shape"),
    "a shape of fractions": ("csr", attribute("X", "shape", (5.5, 4.0)), "shape"),
    "a shape of text": ("csr", attribute("X", "shape", "5 x 4"), "shape"),
    "no shape": ("csr", attribute("X", "shape", None), "neither a dense array nor a sparse"),
    "no encoding": ("csr", attribute("X", "encoding-type", None), "neither a dense array nor"),
    "an encoding of the future": (
        "csr",
        attribute("X", "encoding-type", "coo_matrix"),
        "encoding 'coo_matrix'; dense, CSR and CSC are known",
    ),
    "offsets that are too few": ("csr", replaced("X/indptr", INDPTR[:-1]), "indptr has 5 offsets"),
    "offsets that decrease": (
        "csr",
        replaced("X/indptr", np.array([0, 3, 2, 3, 5, 6])),
        "indptr goes from 3 to 2 at position 1",
    ),
    "offsets past the end": (
        "csr",
        replaced("X/indptr", np.array([0, 2, 7, 7, 7, 6])),
        "indptr goes from 2 to 7 at position 1",
    ),
    "an end that is past the end": (
        "csr",
        entry("X/indptr", 5, 700),
        "indptr goes from 0 to 700, but there are 6 values",
    ),
    "offsets that do not begin at 0": ("csr", entry("X/indptr", 0, 1), "indptr goes from 1 to 6"),
    "negative offsets": (
        "csr",
        replaced("X/indptr", np.array([0, -2, 2, 3, 5, 6])),
        "indptr goes from 0 to -2",
    ),
    "offsets that are no numbers": (
        "csr",
        replaced("X/indptr", np.array([0, 2, np.nan, 3, 5, 6])),
        "an offset is not a whole number: nan",
    ),
    "offsets that are fractions": (
        "csr",
        replaced("X/indptr", np.array([0, 1.5, 2, 3, 5, 6])),
        "an offset is not a whole number: 1.5",
    ),
    "offsets that wrap": (
        "csr",
        replaced("X/indptr", np.array([0, 2**63 + 2, 2, 3, 5, 6], np.uint64)),
        "an offset is not a whole number",
    ),
    "offsets in two dimensions": ("csr", replaced("X/indptr", INDPTR.reshape(6, 1)), "indptr"),
    "offsets of the columns": (
        "csc",
        replaced("X/indptr", np.array([0, 2, 1, 4, 6])),
        "indptr goes from 2 to 1 at position 1",
    ),
    "a gene that is not there": (
        "csr",
        entry("X/indices", 2, 4),
        "cell 2 has an entry for gene 4, but the matrix has 4 genes",
    ),
    "a negative gene": ("csr", entry("X/indices", 5, -1), "cell 4 has an entry for gene -1"),
    "a cell that is not there": ("csc", entry("X/indices", 0, 5), "gene 0 has an entry for cell 5"),
    "genes that are fractions": (
        "csr",
        replaced("X/indices", np.zeros(6)),
        "gene positions are of type float64",
    ),
    "cells that are fractions": (
        "csc",
        replaced("X/indices", np.zeros(6)),
        "cell positions are of type float64",
    ),
    "fewer indices than values": (
        "csr",
        replaced("X/indices", np.zeros(5, int)),
        "there are 5 indices but 6 values",
    ),
    "values in two dimensions": ("csr", replaced("X/data", np.ones((6, 2), "f4")), "X/data"),
    "one value for all": ("csr", replaced("X/data", np.float32(1)), "X/data"),
    "no values": ("csr", without("X/data"), "X/data is missing"),
    "no offsets": ("csc", without("X/indptr"), "X/indptr is missing"),
    "values that are a group": (
        "csr",
        lambda file: (file.__delitem__("X/data"), file.create_group("X/data"))[0],
        "X/data",
    ),
    "one dimension": ("dense", replaced("X", np.ones(5)), r"X has the shape \(5,\)"),
    "three dimensions": ("dense", replaced("X", np.ones((5, 4, 1))), "not cells × genes"),
    "no dimension": ("dense", replaced("X", 1.0), r"X has the shape \(\)"),
    "no space": ("dense", replaced("X", h5py.Empty("f4")), "X has the shape ()"),
    "strings": ("dense", replaced("X", np.full((5, 4), b"1")), "values of type"),
    "text": ("csr", replaced("X/data", [str(i) for i in range(6)]), "values of type object"),
    "complex numbers": ("dense", replaced("X", np.ones((5, 4), complex)), "type complex128"),
    "records": ("dense", replaced("X", np.ones((5, 4), [("a", "f4")])), "values of type"),
    "fewer cells in obs": (
        "dense",
        replaced("X", np.ones((6, 4))),
        "obs has 5 rows, but X needs 6",
    ),
    "fewer genes in var": (
        "dense",
        replaced("X", np.ones((5, 5))),
        "var has 4 rows, but X needs 5",
    ),
    "a column that is short": ("csr", replaced("obs/n", np.arange(4)), "obs cannot be read"),
    "a column of two dimensions": ("csr", replaced("obs/n", np.ones((5, 2))), "obs"),
    "codes past the categories": ("csr", entry("obs/category/codes", 1, 9), "obs cannot be read"),
    "codes below -1": ("csr", entry("obs/category/codes", 1, -7), "obs cannot be read"),
    "no categories": ("csr", without("obs/category/categories"), "obs cannot be read"),
    "a column that is listed only": ("csr", without("obs/n"), "obs cannot be read"),
    "no index": ("csr", without("obs/_index"), "no index '_index'"),
    "an index that is listed only": ("csr", attribute("obs", "_index", "ids"), "no index 'ids'"),
    "an index of two dimensions": (
        "csr",
        replaced("var/_index", np.full((4, 2), "x", h5py.string_dtype())),
        "var",
    ),
    "an index that is no name": ("csr", attribute("obs", "_index", 3), "index"),
    "no obs": ("csr", without("obs"), "no known format"),
    "an encoding of obs of the future": (
        "csr",
        attribute("obs", "encoding-version", "9.0.0"),
        "obs cannot be read",
    ),
    "an unknown encoding of a column": (
        "csr",
        attribute("obs/n", "encoding-type", "quantum"),
        "obs cannot be read",
    ),
    "text that is no unicode": (
        "csr",
        replaced("obs/kind", np.array([b"\xff", b"a", b"a", b"a", b"a"], h5py.string_dtype())),
        "obs",
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_what_contradicts_itself(name: str, tmp_path: Path) -> None:
    """What cannot be right is refused with the place in the file and what is wrong there."""
    layout, edit, message = CONTRADICTIONS[name]
    path = write(tmp_path / "in.h5ad", layout)
    with h5py.File(path, "r+") as file:
        edit(file)
    error = refusal(path)
    assert message_found(message, error), str(error)


def message_found(message: str, error: InputError) -> bool:
    """Whether an error says so."""
    import re

    return re.search(message, str(error)) is not None


# ------------------------------------------------------------------------------ what is elsewhere


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Another file, with what would fit."""
    (tmp_path / "other").mkdir()
    return write(tmp_path / "other/in.h5ad")


PARTS = ["X", "X/data", "X/indices", "obs", "obs/n", "obs/_index", "obs/category/codes", "var"]


@pytest.mark.parametrize("name", PARTS)
def test_links_to_other_files(name: str, elsewhere: Path, tmp_path: Path) -> None:
    """A file cannot make the program read another, be it a whole table or one column."""
    path = write(tmp_path / "in.h5ad")
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = h5py.ExternalLink(str(elsewhere), f"/{name}")
    error = refusal(path)
    assert isinstance(error, DamagedInput)
    assert f"/{name} is a link to another file" in str(error)


@pytest.mark.parametrize("name", ["X", "X/data", "obs/n", "var"])
def test_links_to_links_to_other_files(name: str, elsewhere: Path, tmp_path: Path) -> None:
    """A soft link does not hide a link to another file."""
    path = write(tmp_path / "in.h5ad")
    with h5py.File(path, "r+") as file:
        del file[name]
        file["hidden"] = h5py.ExternalLink(str(elsewhere), f"/{name}")
        file[name] = h5py.SoftLink("/hidden")
    assert "another file" in str(refusal(path))


@pytest.mark.parametrize("name", ["X", "obs"])
def test_links_through_other_files(name: str, elsewhere: Path, tmp_path: Path) -> None:
    """Nor does a soft link that leads through a group of another file."""
    path = write(tmp_path / "in.h5ad")
    with h5py.File(path, "r+") as file:
        del file[name]
        file["door"] = h5py.ExternalLink(str(elsewhere), "/")
        file[name] = h5py.SoftLink(f"/door/{name}")
    assert "another file" in str(refusal(path))


@pytest.mark.parametrize("name", ["X/data", "obs/n", "obs/category/codes"])
def test_data_in_other_files(name: str, elsewhere: Path, tmp_path: Path) -> None:
    """Datasets that HDF5 puts together of other files are refused, empty pieces too."""
    path = write(tmp_path / "in.h5ad")
    with h5py.File(path, "r+") as file:
        dtype, shape, kept = file[name].dtype, file[name].shape, dict(file[name].attrs)
        del file[name]
        layout = h5py.VirtualLayout(shape, dtype)
        layout[:] = h5py.VirtualSource(str(elsewhere), f"/{name}", shape)
        file.create_virtual_dataset(name, layout)
        file[name].attrs.update(kept)
    assert f"/{name} keeps its data in other files" in str(refusal(path))


@pytest.mark.parametrize("name", ["X/data", "obs/n"])
def test_data_in_plain_files(name: str, tmp_path: Path) -> None:
    """Datasets whose bytes are those of any file of the machine are refused."""
    path = write(tmp_path / "in.h5ad")
    (tmp_path / "secret").write_bytes(bytes(range(48)))
    with h5py.File(path, "r+") as file:
        dtype, shape, kept = file[name].dtype, file[name].shape, dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, shape, dtype, external=[(str(tmp_path / "secret"), 0, 48)])
        file[name].attrs.update(kept)
    assert f"/{name} keeps its data in other files" in str(refusal(path))


@pytest.mark.parametrize("name", ["X", "X/data", "obs", "obs/n", "obs/category", "var"])
def test_links_to_nothing(name: str, tmp_path: Path) -> None:
    """A link that leads nowhere is refused where it stands."""
    path = write(tmp_path / "in.h5ad")
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = h5py.SoftLink("/nowhere")
    refusal(path)


@pytest.mark.parametrize("name", ["X", "X/data", "obs", "obs/n", "var"])
def test_links_in_circles(name: str, tmp_path: Path) -> None:
    """Links that lead to each other are refused, not followed for ever."""
    path = write(tmp_path / "in.h5ad")
    with h5py.File(path, "r+") as file:
        del file[name]
        file["ring"] = h5py.SoftLink(f"/{name}")
        file[name] = h5py.SoftLink("/ring")
    refusal(path)


@pytest.mark.parametrize("target", ["/", "/obs", "/X"])
@pytest.mark.parametrize("name", ["obs/n", "obs/up", "X/up"])
def test_groups_in_themselves(name: str, target: str, tmp_path: Path) -> None:
    """A group that holds itself, or the whole file, ends the search, not the program."""
    path = write(tmp_path / "in.h5ad")
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        file[name] = file[target]
    try:
        dataset = slaf.convert(path, tmp_path / "out.slaf")
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017 - it may be converted as well
        assert not (tmp_path / "out.slaf").exists()
    else:
        np.testing.assert_array_equal(dataset.X.to_memory().toarray(), STORED.dense())


def test_old_tables_in_other_files(elsewhere: Path, tmp_path: Path) -> None:
    """The categories of a table of records may not come from another file either."""
    path = write(tmp_path / "in.h5ad", "dense")
    with h5py.File(path, "r+") as file:
        del file["obs"]
        table = np.zeros(5, [("index", "S4"), ("kind", "i1")])
        file["obs"] = table
        file["uns/kind_categories"] = h5py.ExternalLink(str(elsewhere), "/obs/kind")
    assert "uns/kind_categories is a link to another file" in str(refusal(path))


# --------------------------------------------------------------------------- what cannot be opened


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("layout", ["csr", "csc", "dense"])
def test_a_file_that_was_cut_short(layout: str, share: float, tmp_path: Path) -> None:
    """A file that was not copied to its end is refused, wherever it ends."""
    path = write(tmp_path / "in.h5ad", layout)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert isinstance(refusal(path), DamagedInput | UnknownFormat)


def test_bytes_that_changed(tmp_path: Path) -> None:
    """Whichever bytes of a file are wrong, there is a dataset or an error of ours."""
    original = write(tmp_path / "good.h5ad").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "in.h5ad"
    for number in range(60):
        damaged = bytearray(original)
        at = int(rng.integers(len(damaged) - 64))
        damaged[at : at + 64] = rng.bytes(64)
        path.write_bytes(damaged)
        try:
            slaf.convert(path, tmp_path / f"{number}.slaf")
        except (InputError, StorageError):
            assert not (tmp_path / f"{number}.slaf").exists()


def test_a_file_that_is_no_hdf5(tmp_path: Path) -> None:
    """Anything else is of no known format, and the error says what was looked for."""
    path = tmp_path / "in.h5ad"
    for content in (b"", b"cell,gene\n", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04" + bytes(5000)):
        path.write_bytes(content)
        refusal(path)


def test_hdf5_without_an_anndata(tmp_path: Path) -> None:
    """HDF5 that holds something else is of no known format."""
    path = tmp_path / "in.h5ad"
    with h5py.File(path, "w") as file:
        file["matrix"] = np.ones(3)
    assert isinstance(refusal(path), UnknownFormat)


def test_what_is_not_there(tmp_path: Path) -> None:
    """An input that does not exist is said not to, and is a FileNotFoundError as well."""
    with pytest.raises(NoSuchInput, match=r"nowhere\.h5ad: there is no such file"):
        slaf.convert(tmp_path / "nowhere.h5ad", tmp_path / "out.slaf")
    assert not (tmp_path / "out.slaf").exists()


# which matrix is there


def test_a_file_without_x(tmp_path: Path) -> None:
    """A file without X says which matrices it has, and converts when one of them is named."""
    path = tmp_path / "in.h5ad"
    with h5py.File(path, "w") as file:
        obs, var = names("cell", 5), names("gene", 4)
        write_elements(file, obs=obs, var=var, layers={"counts": STORED.dense()})
    error = refusal(path)
    assert isinstance(error, MissingMatrix)
    assert "there is no matrix 'X'; choose one with --matrix: layer:counts" in str(error)
    dataset = slaf.convert(path, tmp_path / "counts.slaf", matrix="layer:counts")
    np.testing.assert_array_equal(dataset.X.to_memory().toarray(), STORED.dense())


@pytest.mark.parametrize("matrix", ["raw", "layer:", "layer:x", "obs", "layers/x", "", "../X", "x"])
def test_a_matrix_that_is_not_there(matrix: str, tmp_path: Path) -> None:
    """A name that is none of the file's matrices is refused with those that are."""
    error = refusal(write(tmp_path / "in.h5ad"), matrix)
    assert isinstance(error, MissingMatrix)
    assert "choose one with --matrix: X" in str(error)


def test_a_file_without_any_matrix(tmp_path: Path) -> None:
    """Tables alone are no matrix: there is nothing to choose."""
    path = tmp_path / "in.h5ad"
    with h5py.File(path, "w") as file:
        write_elements(file, obs=names("cell", 5), var=names("gene", 4))
    said = str(refusal(path))
    assert "there is no matrix 'X'; there is none to choose: write one" in said
    assert said.count(str(path)) == 1
