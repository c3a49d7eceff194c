"""Check that the annotations can be read: obsm, varm, obsp, varp, uns and the genes of raw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

from slaf.annotations.dataframes import has_ids, is_frame
from slaf.format.schema import CELLS, GENES, RAW_GENES, TABLES
from slaf.options import ALIGNED_SLOTS, RAW_VARM

if TYPE_CHECKING:
    from slaf.dataset.dataset import Dataset
    from slaf.verification.report import DifferenceLog

__all__ = ["check_annotations_readable", "check_indexes"]

_AXES = {"obsm": CELLS, "varm": GENES, RAW_VARM: RAW_GENES}


def check_annotations_readable(dataset: Dataset, differences: DifferenceLog) -> None:
    """Read every element of obsm, varm, obsp, varp and uns, and check files against digests."""
    for record in dataset.annotations.record.files:
        content = dataset.location.read(record.file)
        if content is None:
            differences.note("unreadable", record.file, "a file", "nothing")
        else:
            digest = xxhash.xxh3_128(content).hexdigest()
            differences.compare("digest", record.file, record.digest, digest)
    if differences.has("unreadable", "digest"):
        return
    for slot in ALIGNED_SLOTS:
        elements = dataset.annotations.slot(slot)
        for key in elements:
            with differences.catching(f"{slot} {key!r}"):
                elements[key]
    if dataset.stored_raw is not None:
        with differences.catching(RAW_GENES):
            _ = dataset.stored_raw.var, dict(dataset.stored_raw.varm)
    check_indexes(dataset, differences)
    with differences.catching("uns"):
        _ = dataset.uns


def check_indexes(dataset: Dataset, differences: DifferenceLog) -> None:
    """Check that tables of obsm, varm and raw's varm have the ids of their axis as index."""
    annotations = dataset.annotations
    for slot, axis in _AXES.items():
        for key, element in annotations.elements.get(slot, {}).items():
            label = f"{slot}[{key!r}]"
            with differences.catching(label):
                if is_frame(element) and not has_ids(
                    element, annotations.read_columns(axis, [TABLES[axis].ids[0]]).column(0)
                ):
                    differences.note(slot, f"index of {label}", f"the ids of {axis}", "others")
