"""config.json: what is written is what is read, and what is damaged is refused by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

import slaf
from slaf.annotations.columns import Column, ColumnSet
from slaf.errors import ConversionInProgress, DamagedDataset, NotADataset, UnsupportedFormat
from slaf.format.config import (
    DatasetConfig,
    Manifest,
    Metadata,
    SourceRecord,
    load,
    load_published,
    save,
)
from slaf.format.records import AnnotationsRecord, Block
from slaf.format.schema import FORMAT_VERSION
from slaf.options import SlotSelection
from slaf.storage.location import Location

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = SourceRecord(
    uri="/data/Größe/pbmc.h5ad",
    format="h5ad",
    matrix="layer:ячейка",
    dtype="float32",
    n_cells=5,
    n_genes=3,
    offset=0,
    identity={"size": 17, "mtime_ns": 3, "sample": "ab"},
    choice={"genome": "GRCh38"},
)
CELLS = ColumnSet(
    (
        Column("cell_id", None, "string[python]", missing="NA"),
        Column("n_genes", "n.genes", "Int64"),
        Column("kind", "kind", "category", ordered=True, categories="object"),
    ),
    index_name="barcode",
)
DIRECTORIES = {name: f"{name}.lance" for name in ("expression", "cells", "genes")}
PUBLISHED = DatasetConfig(
    n_cells=5,
    n_genes=3,
    tables=DIRECTORIES,
    versions={"expression": 2, "cells": 1, "genes": 4},
    value_type="uint16",
    dtype="float32",
    metadata=Metadata(
        6, {"min_value": 1.0, "max_value": 3.0, "mean_value": 1.5, "std_value": None}
    ),
    columns={"cells": CELLS, "genes": ColumnSet((Column("gene_id", None, "object"),))},
    sources=(SOURCE,),
    blocks=(Block((0, 3), 4, "0" * 32), Block((3, 5), 2, "1" * 32)),
    optimizations={"use_integer_keys": True, "optimize_storage": True},
    created_at="2024-02-29T23:59:59+00:00",
    last_updated="2025-01-01T00:00:00+00:00",
    writer="slaf 0.1.0",
)
CHECKPOINT = {"plan": {"parts": [[0, 3], [3, 5]]}, "journal": "ab" * 16, "published": False}


@pytest.fixture
def location(tmp_path: Path) -> Location:
    """A directory for a config.json."""
    return Location(tmp_path)


def write(location: Location, data: Any) -> None:
    """Write a config.json by hand."""
    (location.path / "config.json").write_text(json.dumps(data))


def read(location: Location) -> Any:
    """What config.json holds, as any program reads it."""
    return json.loads((location.path / "config.json").read_bytes())


def valid() -> dict[str, Any]:
    """A config.json of a published dataset."""
    head = {"format_version": FORMAT_VERSION, "status": "published"}
    return json.loads(json.dumps(head | PUBLISHED.to_json()))  # type: ignore[no-any-return]


# --------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("published", [None, PUBLISHED])
@pytest.mark.parametrize("checkpoint", [None, CHECKPOINT])
def test_round_trip(
    published: DatasetConfig | None, checkpoint: dict[str, Any] | None, location: Location
) -> None:
    """What is saved is what is loaded, published or not, with an unfinished run or without."""
    manifest = Manifest(published, checkpoint)
    save(location, manifest)
    assert load(location) == manifest
    assert read(location)["status"] == ("converting" if published is None else "published")


def test_round_trip_of_a_dataset(tmp_path: Path) -> None:
    """What a conversion published comes out of its config.json as it went in."""
    import anndata
    import numpy as np

    slaf.convert(anndata.AnnData(np.eye(4)), tmp_path / "out.slaf", chunk_size=3)
    location = Location(tmp_path / "out.slaf")
    before = read(location)
    manifest = load(location)
    assert manifest is not None
    save(location, manifest)
    assert read(location) == before


def test_it_is_readable(location: Location) -> None:
    """The file is UTF-8 that a person reads: one key a line, no escapes."""
    save(location, Manifest(PUBLISHED))
    text = (location.path / "config.json").read_text(encoding="utf-8")
    assert "/data/Größe/pbmc.h5ad" in text
    assert "layer:ячейка" in text
    assert text.count("\n") > len(valid())


def test_what_other_programs_know(location: Location) -> None:
    """The keys that slafdb reads are there, and follow from ours."""
    save(location, Manifest(PUBLISHED))
    config = read(location)
    assert config["array_shape"] == [config["n_cells"], config["n_genes"]] == [5, 3]
    assert config["tables"] == DIRECTORIES
    metadata = config["metadata"]
    assert metadata["expression_count"] == 6
    assert metadata["total_possible_elements"] == 15
    assert metadata["density"] == 0.4
    assert metadata["sparsity"] == 0.6
    assert config["multi_file"] == {
        "source_files": [
            {
                "file_path": SOURCE.uri,
                "file_name": "pbmc.h5ad",
                "n_cells": 5,
                "cell_offset": 0,
            }
        ],
        "total_files": 1,
        "total_cells_from_files": 5,
    }


def test_without_cells_or_genes(location: Location) -> None:
    """A matrix without a place for a nonzero has the density 0."""
    source = replace(SOURCE, n_cells=0)
    empty = replace(PUBLISHED, n_cells=0, metadata=Metadata(0, {}), blocks=(), sources=(source,))
    save(location, Manifest(empty))
    assert read(location)["metadata"]["density"] == 0
    assert load_published(location) == empty


def test_unknown_keys_are_ignored(location: Location) -> None:
    """A key at the top level that this release does not know changes nothing."""
    write(location, valid() | {"colour": {"of": "the sky"}})
    assert load_published(location) == PUBLISHED


# ---------------------------------------------------------------------------------- what is refused


def test_nothing_there(location: Location) -> None:
    """Without a config.json there is nothing to load, and no dataset."""
    assert load(location) is None
    with pytest.raises(NotADataset, match=r"has no config\.json"):
        load_published(location)


def test_in_progress(location: Location) -> None:
    """An unfinished first run is no dataset yet; its parts are counted."""
    save(location, Manifest(None, CHECKPOINT))
    for name in ("part-000001.json", "part-000000.expression.counts", "genes-000000.json"):
        location.put(f".parts/abababababababab/{name}", b"")
    manifest = load(location)
    assert manifest is not None
    assert manifest.progress(location) == (1, 2)
    assert (manifest.published, manifest.checkpoint) == (None, CHECKPOINT)
    with pytest.raises(ConversionInProgress, match="conversion in progress, 1 of 2 parts"):
        load_published(location)


@pytest.mark.parametrize("version", ["1.1.1", "1.2", "2", "10.0", "2.0-beta", "99"])
def test_a_newer_format(version: str, location: Location) -> None:
    """A newer format is refused before anything else of it is looked at."""
    write(location, {"format_version": version})
    upgrade = "upgrade slaf" if version != "2.0-beta" else "which another program wrote"
    with pytest.raises(UnsupportedFormat, match=rf"format {version}.*{upgrade}"):
        load(location)


@pytest.mark.parametrize(
    "version", ["0.4", "0", "0.9.9", "", "one", None, 1, 0.4, [1, 0]], ids=repr
)
def test_another_format(version: Any, location: Location) -> None:
    """A format that is older, or that this program never had, is another program's."""
    write(location, valid() | {"format_version": version})
    with pytest.raises(
        UnsupportedFormat, match=r"which another program wrote.*convert the original"
    ):
        load(location)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[]", "has no format_version"),
        (b"null", "has no format_version"),
        (b'"1.0"', "has no format_version"),
        (b'{"status": "published"}', "has no format_version"),
    ],
)
def test_not_a_config(content: bytes, message: str, location: Location) -> None:
    """What is no JSON object with a format is refused, and says where it is."""
    (location.path / "config.json").write_bytes(content)
    with pytest.raises(DamagedDataset, match=rf"config\.json {message}") as caught:
        load(location)
    assert str(location) in str(caught.value)


# Keys of config.json that are for other programs, or for people.
DERIVED = {"multi_file"}


@pytest.mark.parametrize("key", sorted(valid().keys() - DERIVED - {"format_version"}))
def test_a_key_less(key: str, location: Location) -> None:
    """A key that readers need and that is missing is named."""
    data = valid()
    del data[key]
    write(location, data)
    with pytest.raises(DamagedDataset, match=f"key '{key}' is missing"):
        load(location)


@pytest.mark.parametrize("key", sorted(valid().keys() - DERIVED - {"format_version", "status"}))
@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [None], {"a": 1}], ids=repr)
def test_a_value_of_another_kind(key: str, value: Any, location: Location) -> None:
    """Any value of another kind is damage that is named, or one that fits."""
    write(location, valid() | {key: value})
    try:
        published = load_published(location)
    except DamagedDataset:
        return
    # What got past is of a kind that it may have.
    save(location, Manifest(published))
    assert type(read(location)[key]) is type(valid()[key])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"array_shape": [5, 4]}, "array_shape and n_cells, n_genes do not agree"),
        ({"n_cells": 6}, "array_shape and n_cells, n_genes do not agree"),
        ({"array_shape": [5]}, "is damaged"),
        ({"array_shape": [-5, 3], "n_cells": -5}, "is damaged"),
        ({"status": "finished"}, "status"),
        ({"value_type": "int7"}, "value_type is 'int7'"),
        ({"value_type": "complex64"}, "value_type is 'complex64'"),
        ({"dtype": "int7"}, "int7"),
        ({"versions": {"expression": 1, "cells": 1}}, "key 'genes' is missing"),
        ({"tables": {"cells": "cells.lance"}}, "key 'expression' is missing"),
        ({"columns": {"cells": valid()["columns"]["cells"]}}, "key 'genes' is missing"),
        ({"columns": {"cells": {"index_name": None, "columns": []}}}, "columns.cells.columns is"),
        (
            {"versions": valid()["versions"] | {"genes": "4"}},
            "versions.genes is '4', but must be a whole number",
        ),
        ({"blocks": [{"cells": [0], "rows": 1, "digest": ""}]}, "is damaged"),
        ({"sources": [{"uri": "x"}]}, "key 'format' is missing"),
        ({"checkpoint": {}}, "key 'plan' is missing"),
        ({"checkpoint": {"journal": "ab" * 16, "plan": {}}}, "key 'parts' is missing"),
        ({"checkpoint": {"plan": {"parts": []}}}, "key 'journal' is missing"),
        ({"checkpoint": {"journal": "../..", "plan": {"parts": []}}}, "checkpoint.journal is"),
        ({"epoch": -1}, "epoch is '-1', but must be a whole number"),
        ({"epoch": True}, "epoch is 'True', but must be a whole number"),
    ],
)
def test_damage(data: dict[str, Any], message: str, location: Location) -> None:
    """What contradicts itself, or lacks a part, is refused with the reason."""
    write(location, valid() | data)
    with pytest.raises(DamagedDataset, match=message) as caught:
        load(location)
    assert "restore it from a copy, or remove the dataset and convert again" in str(caught.value)


def test_layers_raw_and_annotations(location: Location) -> None:
    """The records of layers, raw and annotations are written as the keys that were read, with the
    defaults of a selection, and other keys are ignored.
    """
    name = f"uns-{'0' * 32}.h5"
    file: dict[str, Any] = {
        "file": name,
        "bytes": 1,
        "digest": "0" * 32,
        "notes": [{"path": ["a"], "kind": "int"}],
    }
    blocks: list[dict[str, Any]] = [{"cells": [0, 5], "rows": 2, "digest": "0" * 32}]
    matrix: dict[str, Any] = {
        "name": "a_b",
        "original": "a.b",
        "dtype": "int8",
        "source_dtype": ">i8",
    }
    matrix |= {"value_type": "uint16", "blocks": blocks}
    listed = {"available": ["a_b"], "immutable": ["a_b"], "mutable": []}
    spec = {"key": "a.b", "name": "a_b", "kind": "array", "dtype": "float32", "width": None}
    left = {"key": "c", "name": None, "kind": "", "dtype": "", "width": None}
    keys: dict[str, Any] = {
        "taken": {"layers": "all", "raw": True},
        "layers": {"rows": 2, "columns": [matrix], **listed},
        "raw": {"rows": 2, "n_genes": 3, "matrix": matrix, "varm": [spec, left]}
        | {"columns": valid()["columns"]["genes"], "measured": [[[0, 2]]]},
        "obsm": {"forms": [spec, left], "dimensions": {"a_b": 1}, **listed},
        "uns": file,
        "unses": [file],
        "by_gene": {"fingerprint": "0" * 16, "blocks": [{**blocks[0], "genes": [0, 3]}]},
    }
    write(location, valid() | keys | {"another": 1, "annotations": 3})
    published = load_published(location)
    assert published.annotations.selection == SlotSelection()
    del keys["by_gene"]["blocks"][0]["cells"]
    keys["taken"] |= {"without": [], "uns_merge": "unique"}
    save(location, Manifest(published))
    assert {key: read(location).get(key) for key in keys} == keys
    assert published.annotations.files[0].file == name
    assert load_published(location) == published != PUBLISHED
    assert replace(published, annotations=AnnotationsRecord(), by_gene=None) == PUBLISHED


@pytest.mark.parametrize(
    "number", ["1", "-0.5", "NaN", "-Infinity", "1e400", "9" * 400, str(2**63)], ids=len
)
def test_any_number_among_the_statistics(number: str, location: Location) -> None:
    """Whatever number of JSON stands among the statistics, it is read and written as it is."""
    text = json.dumps(valid()).replace('"min_value": 1.0', f'"min_value": {number}')
    (location.path / "config.json").write_text(text)
    published = load_published(location)
    expected = json.loads(number)
    assert repr(published.expression_stats["min_value"]) == repr(expected)
    save(location, Manifest(published))
    assert repr(read(location)["metadata"]["expression_stats"]["min_value"]) == repr(expected)


@pytest.mark.parametrize("depth", [100, 900, 100_000])
def test_nested_values(depth: int, location: Location) -> None:
    """A value that is nested deeply is kept, or refused as damage, at any place."""
    nested = "[" * depth + "]" * depth
    for key in ('"another": 0', '"size": 17', '"n_cells": 5', '"prefix": ""'):
        text = json.dumps(valid() | {"another": 0})
        assert key in text
        name = key.partition(":")[0]
        (location.path / "config.json").write_text(text.replace(key, f"{name}: {nested}"))
        try:
            published = load_published(location)
        except DamagedDataset:
            continue
        assert name in {'"another"', '"size"'}
        assert DatasetConfig.from_json(json.loads(json.dumps(published.to_json()))) == published


def test_the_last_of_equal_keys(location: Location) -> None:
    """Of a key that stands twice the last counts, as everywhere in JSON for Python."""
    text = json.dumps(valid()).replace('"n_genes": 3', '"n_genes": 4, "n_genes": 3')
    (location.path / "config.json").write_text(text)
    assert load_published(location) == PUBLISHED


def test_a_source_without_the_newer_keys(location: Location) -> None:
    """A source that lacks the keys of later releases has all genes and no prefix."""
    data = valid()
    for key in ("genes", "measured", "prefix", "holds", "taken"):
        del data["sources"][0][key]
    write(location, data)
    assert load_published(location).sources == (SOURCE,)
    assert SOURCE.genes_present == ((0, 3),)


def test_a_table_that_is_not_ours_has_a_version_too(location: Location) -> None:
    """Of every table that is listed there is a version."""
    data = valid()
    data["tables"]["layers"] = "layers.lance"
    write(location, data)
    with pytest.raises(DamagedDataset, match="key 'layers' is missing"):
        load(location)
