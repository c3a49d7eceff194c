"""The figures of a report as custom content of MultiQC."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from slaf.reports.html import SOURCES_DRAWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slaf.reports.contents import DatasetReport, SourceQuality
    from slaf.storage.location import Location

__all__ = ["write_multiqc"]

_COLUMNS = {
    "cells": {"title": "Cells", "format": "{:,.0f}"},
    "genes_measured": {"title": "Genes measured", "format": "{:,.0f}"},
    "nonzeros": {"title": "Nonzeros", "format": "{:,.0f}"},
    "median_counts": {"title": "Median counts", "format": "{:,.1f}"},
    "median_genes": {"title": "Median genes", "format": "{:,.1f}"},
    "median_pct_mt": {"title": "Median % mt", "format": "{:,.2f}", "max": 100, "suffix": "%"},
}
_MEDIANS = {
    "median_counts": "total_counts",
    "median_genes": "n_genes_by_counts",
    "median_pct_mt": "pct_counts_mt",
}


def write_multiqc(report: DatasetReport, location: Location) -> list[str]:
    """Write files that MultiQC finds by their names, and return these; older ones are replaced.

    Parameters
    ----------
    report
        The report.
    location
        A directory that MultiQC searches; it is made. Datasets of different names may share it,
        whose sources are then in the same sections.
    """
    location.mkdir()
    names = []
    for section in _sections(report):
        names.append(f"{_name(report)}_{section['id']}_mqc.json")
        text = json.dumps(section, indent=1, ensure_ascii=True, allow_nan=False)
        location.put(names[-1], f"{text}\n".encode())
    return names


def _sections(report: DatasetReport) -> Iterator[dict[str, Any]]:
    sources = dict(zip(_samples(report), report.sources, strict=True))
    yield {
        "id": "slaf_sources",
        "section_name": "SLAF: sources",
        "description": "Inputs of datasets, and the medians of the metrics of their cells.",
        "plot_type": "table",
        "pconfig": {"id": "slaf_sources_table", "title": "SLAF: sources"},
        "headers": _COLUMNS,
        "data": {name: _row(source) for name, source in sources.items()},
    }
    # Pairs: MultiQC sorts the keys of an object as text, so that 10 comes before 2.
    curves = {name: one.knee for name, one in sources.items() if one.knee}
    if curves:
        yield {
            "id": "slaf_knee",
            "section_name": "SLAF: counts by rank",
            "description": f"The sums of cells by rank, of at most {SOURCES_DRAWN} sources.",
            "plot_type": "linegraph",
            "pconfig": {
                "id": "slaf_knee_plot",
                "title": "SLAF: counts by rank",
                "xlab": "Rank",
                "ylab": "Counts",
                "xlog": True,
                "ylog": True,
            },
            "data": dict(list(curves.items())[:SOURCES_DRAWN]),
        }


def _row(source: SourceQuality) -> dict[str, float]:
    row: dict[str, float | None] = {
        "cells": source.record.n_cells,
        "genes_measured": source.n_genes,
        "nonzeros": source.nonzeros,
    }
    for name, metric in _MEDIANS.items():
        row[name] = source.metrics.get(metric, {}).get("median")
    return {name: value for name, value in row.items() if value is not None}


def _samples(report: DatasetReport) -> list[str]:
    """A name for each source, which begins with that of the dataset, or is that of the only one."""
    dataset = _plain(_name(report).removesuffix(".slaf"))
    if len(report.sources) == 1:
        return [dataset]
    names = [f"{dataset} {_plain(source.name)}" for source in report.sources]
    return [
        f"{name} ({names[:at].count(name) + 1})" if name in names[:at] else name
        for at, name in enumerate(names)
    ]


def _name(report: DatasetReport) -> str:
    return report.location.rstrip("/").rpartition("/")[2]


def _plain(name: str) -> str:
    """A name without markup, which MultiQC would show as such."""
    return "".join(c if c.isprintable() and c not in "<>&\"'" else "_" for c in name)
