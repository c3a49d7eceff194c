"""What an input comes to: a dataset that holds the truth, or a refusal that leaves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slaf
from slaf_cli.report import ExitCode
from tests.builders import totals
from tests.cli.terminal import run

if TYPE_CHECKING:
    from pathlib import Path

    from slaf.dataset.dataset import Dataset
    from slaf.testing.strategies import Stored

__all__ = ["converted", "refused"]


def converted(path: Path, stored: Stored, **options: Any) -> Dataset:
    """The dataset of an input, which is proven against it and holds these entries."""
    dataset: Dataset = slaf.convert(path, _free(path), **options)
    assert slaf.verify(dataset, path, format=options.get("format")).ok
    assert dataset.shape == stored.shape
    table = dataset.expression.to_table().to_pydict()
    places = zip(table["cell_integer_id"], table["gene_integer_id"], strict=True)
    found, expected = dict(zip(places, table["value"], strict=True)), totals(stored)
    assert list(found) == sorted(expected)
    for place, value in expected.items():
        assert found[place] == value or (found[place] != found[place] and value != value)  # noqa: PLR0124
    return dataset


def refused(path: Path, *options: str) -> str:
    """What the command says that refuses an input, and leaves nothing behind."""
    before = set(path.parent.iterdir())
    said = run("convert", path, _free(path), *options).failed(ExitCode.BAD_INPUT)
    assert set(path.parent.iterdir()) == before
    return said


def _free(path: Path) -> Path:
    """A place beside the input where nothing is."""
    places = (path.parent / f"out-{number}.slaf" for number in range(1000))
    return next(place for place in places if not place.exists())
