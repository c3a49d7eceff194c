"""The section of the page about loaders."""

from __future__ import annotations

from benchmarks.loading_page import SECTION, loading_section
from benchmarks.page import PAGE

_MB = 10**6


def _round(cells_a_second: float, peak: float) -> dict[str, float]:
    return {"cells": 1e3 * cells_a_second, "cpu_seconds": 1.0, "peak_bytes": peak * _MB}


def test_the_section_tells_medians_peaks_and_targets() -> None:
    """The median of rounds, their range, the largest peak, and whether a target is met."""
    epochs = {
        "slaf, tables, fast, CSR": [_round(40, 300), _round(60, 420), _round(50, 300)],
        "slaf, cache, CSR": [_round(200, 100)],
        "slaf, cache, dense, 2,000 genes": [_round(500, 100)],
        "annbatch, CSR": [_round(25, 600)],
        "annbatch, dense, copy of 2,000 genes": [_round(400, 140)],
    }
    first = {"slaf, tables, fast": [_round(1, 400)], "annbatch": [_round(1, 4_000)]}
    section = loading_section(epochs, first)
    assert "| slaf, tables, fast, CSR | 50.0 | 40.0 | 60.0 | 420 | 3 |" in section
    assert "slaf, cache, CSR / annbatch, CSR | ≥ 3 | 8 | met |" in section
    assert "slaf, cache, CSR / SCDL, CSR | ≥ 10 | not measured |  |" in section
    assert "/ annbatch, dense, copy of 2,000 genes | ≥ 1.5 | 1.25 | NOT met |" in section
    assert "peak of anonymous memory | ≤ 0.125 | 0.1 | met |" in section


def test_the_page_has_the_section() -> None:
    """The benchmark of loaders writes a part of the page, which the other benchmark keeps."""
    text = PAGE.read_text(encoding="utf-8")
    found = SECTION.search(text)
    assert found is not None
    assert SECTION.sub(lambda _: found[0], text) == text
