"""Check that the annotations can be read: obsm, varm, obsp, varp, uns and the genes of raw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

from slaf.format.schema import RAW_GENES
from slaf.options import ALIGNED_SLOTS

if TYPE_CHECKING:
    from slaf.dataset.dataset import Dataset
    from slaf.verification.report import DifferenceLog

__all__ = ["check_annotations_readable"]


def check_annotations_readable(dataset: Dataset, findings: DifferenceLog) -> None:
    """Read every element of the slots, and hold the files against their digests."""
    for record in dataset.annotations.beside.files:
        content = dataset.location.read(record.file)
        if content is None:
            findings.note("unreadable", record.file, "a file", "nothing")
        else:
            found = xxhash.xxh3_128(content).hexdigest()
            findings.compare("digest", record.file, record.digest, found)
    if findings.of("unreadable", "digest"):
        return
    for slot in ALIGNED_SLOTS:
        elements = dataset.annotations.slot(slot)
        for key in elements:
            with findings.reading(f"{slot} {key!r}"):
                elements[key]
    if dataset.raw is not None:
        with findings.reading(RAW_GENES):
            _ = dataset.raw.var, dict(dataset.raw.varm)
    with findings.reading("uns"):
        _ = dataset.uns
