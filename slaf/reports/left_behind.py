"""The content of the inputs that is not in a dataset, as far as config.json records it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slaf.format.config import DatasetConfig, SourceRecord
    from slaf.options import SlotSelection

__all__ = ["left_behind"]

# Choices of an input by which features of other kinds are left out.
_PARTS = ("genome", "feature_type", "measurement", "modality", "regions", "chroms")


def left_behind(config: DatasetConfig) -> Iterator[str]:
    """Slots, features, genes and inputs that are not in the dataset, in words."""
    counts = Counter(what for source in config.sources for what in _of_source(source))
    for what, n in counts.items():
        yield what if n == len(config.sources) else f"{what} (of {n:,} inputs)"
    if config.removed:
        cells = sum(source.n_cells for source in config.removed)
        yield f"{len(config.removed):,} inputs with {cells:,} cells, which were removed again"
    for step in config.transforms:
        if step.name in {"select", "filter_cells", "filter_genes", "sample", "downsample_counts"}:
            yield f"cells, genes or counts by the step {step.name}"


def _of_source(source: SourceRecord) -> Iterator[str]:
    if source.matrix != "X":
        yield f"matrices other than {source.matrix}, where they are no layers"
    for name in _PARTS:
        if name in source.choice:
            yield f"features outside of {name} {source.choice[name]}"
    if source.genes == "intersection":
        yield "genes that not all inputs have"
    if source.selection is not None:
        yield from _of_selection(source.selection)


def _of_selection(selection: SlotSelection) -> Iterator[str]:
    if selection.layers == "none":
        yield "layers"
    elif selection.wanted:
        yield f"layers other than {', '.join(selection.wanted)}"
    if not selection.raw:
        yield "raw"
    yield from selection.without
