"""Read what was mended back from the tables, before readers see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slaf.errors import VerificationFailed
from slaf.progress import Unwatched
from slaf.schema import EXPRESSION
from slaf.table_digest import table_digest
from slaf.tables.read import read_table
from slaf.verification.beside import check_beside_digests
from slaf.verification.digests import check_digests
from slaf.verification.report import Findings, Report

if TYPE_CHECKING:
    from slaf.dataset import Dataset
    from slaf.mending.survey import Survey

__all__ = ["read_back"]


def read_back(dataset: Dataset, survey: Survey) -> None:
    """Hold the tables of a dataset that was mended against the digests of what was converted.

    Parameters
    ----------
    dataset
        As it will be published.
    survey
        What of it was damaged.

    Raises
    ------
    VerificationFailed
        If anything differs: the disk gives back other bytes than it was given.
    """
    findings = Findings()
    published = dataset.published
    for name in sorted(survey.tables & published.proof.tables.keys()):
        with findings.reading(name):
            found = table_digest(read_table(dataset.table(name)))
            findings.compare("digest", name, published.proof.tables[name], found)
    inside = [
        at
        for at, block in enumerate(published.blocks)
        if any(rows.start <= block.start and block.stop <= rows.stop for rows in survey.parts)
    ]
    # By offsets that are wrong nothing could be read.
    if not findings and inside:
        if any(EXPRESSION in tables for tables in survey.parts.values()):
            check_digests(dataset, findings, Unwatched(), inside)
        check_beside_digests(dataset, findings, Unwatched(), inside)
    if findings:
        where = str(dataset.location)
        checks = ("what was mended",)
        report = Report(where, checks, tuple(findings.shown), tuple(findings.counts.items()))
        msg = f"{where}: what was mended does not come back: {report.differences[0]}"
        raise VerificationFailed(msg, report)
