"""A config.json that somebody edited, cut or damaged is refused with the rule that it breaks."""

from __future__ import annotations

import copy
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import slaf
from slaf.errors import DamagedDataset, DatasetError, UnsupportedFormat, VerificationFailed
from slaf.format.config import load
from slaf.format.validation import CHECKSUM_KEY
from slaf.storage.location import Location
from tests.builders import counts, write_h5ad

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What people and other programs read, and what says nothing that could be contradicted.
FREE = {
    *("created_at", "last_updated", "writer", "multi_file", "uri", "identity", "choice"),
    *("format", "matrix", "index_name", "sparsity", "density", "total_possible_elements"),
    *("expression_stats", "optimizations", "measured", "prefix", "taken"),
    *("published_at", "operation"),
    # What a column was in the user's frame: nothing else says it.
    *("dtype", "original", "ordered", "categories", "missing"),
}
# An input may have had other genes than the dataset.
INPUT_GENES = ("sources", 0, "n_genes")
WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    1.5,
    "x",
    "../..",
    [],
    [None],
    {},
    {"a": 1},
    2**70,
    float("nan"),
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, not to be changed."""
    folder = tmp_path_factory.mktemp("config")
    slaf.convert(write_h5ad(folder / "in.h5ad", counts(9, 5)), folder / "out.slaf", chunk_size=4)
    return folder / "out.slaf"


@pytest.fixture
def place(dataset: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(dataset, tmp_path / "out.slaf")


def leaves(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each key and each element, objects and lists themselves among them."""
    children: Any = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        yield (*way, key)
        yield from leaves(child, (*way, key))


def is_free(way: tuple[Any, ...]) -> bool:
    """Whether a value is one that nothing else depends on."""
    # A dataset without a history is one of an earlier release.
    return bool(FREE & set(way)) or way in {INPUT_GENES, ("sources", 0, "genes"), ("history",)}


def edited(config: Any, way: tuple[Any, ...], value: Any) -> Any:
    """The config with another value at this place."""
    config = copy.deepcopy(config)
    at = config
    for key in way[:-1]:
        at = at[key]
    at[way[-1]] = value
    return config


def unsealed(file: Path) -> Any:
    """A config.json without the digest of itself, as somebody leaves it who edits it on purpose."""
    config = json.loads(file.read_bytes())
    del config[CHECKSUM_KEY]
    return config


def judged(place: Path) -> str:
    """What becomes of a dataset: it is refused, fails its proof, or is as good as it was."""
    try:
        slaf.verify(place)
    except DatasetError as error:
        assert str(place) in str(error)  # noqa: PT017 - it may be good as well
        return f"refused: {error}"
    except VerificationFailed as error:
        return f"failed: {error}"
    return "good"


def test_every_value_of_another_kind(place: Path) -> None:
    """Whatever stands in the place of whichever value, it is refused or fails its proof, or it is
    one that nothing else depends on.
    """
    file = place / "config.json"
    config = unsealed(file)
    tried = 0
    for way in leaves(config):
        for value in WRONG:
            at: Any = config
            for key in way:
                at = at[key]
            if at == value:
                continue
            file.write_text(json.dumps(edited(config, way, value)))
            tried += 1
            found = judged(place)
            assert found != "good" or is_free(way) or not at, (way, value)
    assert tried > 1000


def test_every_number_that_is_another(place: Path) -> None:
    """A number that was changed by one is found, wherever it is."""
    file = place / "config.json"
    config = unsealed(file)
    for way in leaves(config):
        at: Any = config
        for key in way:
            at = at[key]
        if isinstance(at, int) and not isinstance(at, bool):
            file.write_text(json.dumps(edited(config, way, at + 1)))
            found = judged(place)
            assert found != "good" or is_free(way), (way, at)


def test_every_edit(place: Path) -> None:
    """Whatever is edited, and be it a name that nothing else knows, the dataset is refused, and
    what to do is said.
    """
    file = place / "config.json"
    config = json.loads(file.read_bytes())
    for way in leaves(config):
        for value in (None, "x", 1):
            changed = edited(config, way, value)
            if changed == config:
                continue
            file.write_bytes(json.dumps(changed, indent=1).encode())
            with pytest.raises(DatasetError):
                slaf.open(place)
    file.write_bytes(json.dumps(edited(config, ("writer",), "me"), indent=1).encode())
    with pytest.raises(DamagedDataset, match="if it was edited on purpose, take the key digest"):
        slaf.open(place)
    del config[CHECKSUM_KEY]
    file.write_bytes(json.dumps(edited(config, ("writer",), "me")).encode())
    assert slaf.open(place).published.writer == "me"
    # What is written next has one again.
    slaf.append(write_h5ad(place.parent / "more.h5ad", counts(4, 5)), place)
    assert CHECKSUM_KEY in json.loads(file.read_bytes())


@pytest.mark.parametrize(
    ("way", "value", "rule"),
    [
        (("tables", "cells"), "../cells.lance", "tables.cells is '../cells.lance', but must be"),
        (("tables", "cells"), "/etc", "must be the name of a folder"),
        (("tables", "cells"), "..", "must be the name of a folder"),
        (("versions", "genes"), 0, "versions.genes is '0', but must be a whole number from 1"),
        (("versions", "genes"), True, "versions.genes is 'True', but must be"),
        (("n_cells",), 9.0, "n_cells is '9.0', but must be a whole number"),
        (("n_genes",), -1, "n_genes is '-1', but must be a whole number from 0"),
        (
            ("n_genes",),
            2**63,
            f"n_genes is '{2**63}', but must be a whole number up to {2**63 - 1}",
        ),
        (("n_genes",), "5", "n_genes is '5', but must be a whole number"),
        (("blocks", 0, "digest"), "x" * 32, "must be 32 hexadecimal digits"),
        (("blocks", 0, "digest"), "0" * 32 + "\n", "blocks[0].digest is '0000"),
        (("blocks", 1, "cells"), [8, 4], "blocks[1]: cells 8 to 4 is no range"),
        (("blocks", 0, "cells"), [0], "blocks[0].cells is '[0]', but must be a list of length 2"),
        (("blocks", 0, "cells", 1), -4, "blocks[0].cells[1] is '-4', but must be a whole number"),
        (("blocks", 0, "rows"), -1, "blocks[0].rows is '-1', but must be"),
        (("columns", "cells", "columns", 1, "dtype"), 3, "columns.cells.columns[1].dtype is '3'"),
        (
            ("columns", "cells", "columns", 0, "colour"),
            1,
            "columns.cells.columns[0]: unknown key 'colour'",
        ),
        (
            ("columns", "genes", "columns", 0, "ordered"),
            1,
            "columns.genes.columns[0].ordered is '1'",
        ),
        (
            ("columns", "genes", "index_name"),
            1,
            "columns.genes.index_name is '1', but must be text or",
        ),
        (("sources", 0, "uri"), None, "sources[0].uri is 'None', but must be text"),
        (
            ("sources", 0, "dtype"),
            "int7",
            "sources[0].dtype is 'int7', but must be a type of numbers",
        ),
        (("sources", 0, "dtype"), "object", "must be a type of numbers"),
        (("sources", 0, "genes"), "all", "genes is 'all', but must be one of strict, union"),
        (("sources", 0, "measured"), [[3, 3]], "sources[0]: measured is '((3, 3),)', but must be"),
        (("sources", 0, "holds"), "raw", "sources[0].holds is 'raw', but must be a list or null"),
        (("sources", 0, "taken", "without"), ["X"], "sources[0].taken: 'X' is nothing that"),
        (("taken", "uns_merge"), "last", "taken.uns_merge is 'last', which is none of its values"),
        (("taken", "layers"), None, "taken.layers is 'None', but must be text or a list"),
        (("proof", "files", 0, "file"), "../x", "proof.files[0]: {'file': '../x'"),
        (("proof", "files", 0, "digest"), "x", "proof.files[0].digest is 'x', but must be 32"),
        (("proof", "files", 0, "rows"), -1, "proof.files[0].rows is '-1', but must be"),
        (("proof", "files"), [], "proof.files is '[]', but must be a list of length from 1"),
        (
            ("proof", "tables", "genes"),
            "y",
            "proof.tables.genes is 'y', but must be 32 hexadecimal",
        ),
        (
            ("proof", "stored", "plain_types"),
            0,
            "proof.stored.plain_types is '0', but must be true",
        ),
        (("metadata", "expression_stats", "max_value"), "1", "expression_stats.max_value is '1'"),
        (("optimizations", "use_integer_keys"), "yes", "must be true or false"),
        (("metadata", "expression_count"), 1e3, "metadata.expression_count is '1000.0'"),
    ],
)
def test_the_rule_is_named(way: tuple[Any, ...], value: Any, rule: str, place: Path) -> None:
    """The refusal names the key, what it is and what it must be."""
    file = place / "config.json"
    file.write_text(json.dumps(edited(json.loads(file.read_bytes()), way, value)))
    with pytest.raises(DamagedDataset) as caught:
        slaf.open(place)
    assert rule in str(caught.value)


def test_cut_anywhere(place: Path) -> None:
    """A config.json that ends anywhere but at its end is refused."""
    file = place / "config.json"
    whole = file.read_bytes()
    for length in range(0, len(whole) - 1, 37):
        file.write_bytes(whole[:length])
        assert judged(place).startswith("refused"), length


@pytest.mark.parametrize("version", ["1.2", "2.0", "1.1.1", "99"])
def test_a_newer_one(version: str, place: Path) -> None:
    """A newer format is refused whatever else the file holds, with what to do."""
    file = place / "config.json"
    config = json.loads(file.read_bytes()) | {"format_version": version, "blocks": "elsewhere"}
    file.write_text(json.dumps(config))
    with pytest.raises(UnsupportedFormat, match="upgrade slaf"):
        slaf.open(place)


@pytest.mark.parametrize("content", [b"[" * 1_000_000, b'{"a":' * 100_000, b"9" * 1_000_000, b""])
def test_nested_without_end(content: bytes, place: Path) -> None:
    """What no parser takes is refused as damaged."""
    (place / "config.json").write_bytes(content)
    with pytest.raises(DamagedDataset):
        slaf.open(place)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link to nothing"])
def test_no_file(kind: str, place: Path) -> None:
    """A config.json that is no file is none: nobody waits for a pipe or reads a device."""
    file = place / "config.json"
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to("/dev/zero" if kind == "device" else "nowhere")
    assert judged(place).startswith("refused")


@given(seed=st.integers(0, 2**32), flips=st.integers(1, 5))
def test_any_bytes_changed(dataset: Path, seed: int, flips: int) -> None:
    """With any bytes changed it is what it was, or refused by an error of ours."""
    rng = np.random.default_rng(seed)
    content = bytearray((dataset / "config.json").read_bytes())
    for at in rng.integers(0, len(content), flips):
        content[at] = int(rng.integers(256))
    location = _Memory(dataset, bytes(content))
    try:
        assert load(location) == load(Location(dataset))
    except DatasetError as error:
        assert str(dataset) in str(error)  # noqa: PT017 - it may be loaded as well


class _Memory(Location):
    """A location whose config.json is another than that on disk."""

    def __init__(self, path: Path, content: bytes) -> None:
        super().__init__(path)
        self._content = content

    def read(self, name: str) -> bytes | None:  # noqa: ARG002 - it holds one file
        """The file."""
        return self._content
