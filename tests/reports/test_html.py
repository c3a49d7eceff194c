"""The page of any report: small, safe, and the same twice."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaf.format.config import SourceRecord
from slaf.format.records import HistoryRecord, StepRecord
from slaf.reports.contents import (
    ColumnBytes,
    DatasetReport,
    FragmentBytes,
    GeneCounts,
    ReportWarning,
    SourceQuality,
    TableBytes,
    Verification,
)
from slaf.reports.html import MOST_BYTES, as_html
from slaf.reports.svg import Axis
from slaf.reports.text import number, power_of_ten, shown

# The tags of the page, and their attributes.
_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "section", "h1", "h2", "h3", "h4"),
    *("p", "ul", "li", "b", "dl", "dt", "dd", "div", "span", "details", "summary", "pre"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td"),
    *("svg", "path", "rect", "polyline", "text"),
}
_ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "role", "id", "style", "scope"),
    *("aria-labelledby", "aria-hidden", "tabindex", "viewbox", "preserveaspectratio", "d", "x"),
    *("y", "width", "height", "points", "text-anchor"),
}
_MANY = 60


def report_of(text: str, *, many: int = _MANY) -> DatasetReport:
    """A report in which everything is long, much, and called by a text."""
    names = ("total_counts", "n_genes_by_counts", "total_counts_mt", "pct_counts_mt")
    metrics = {
        name: {"n_cells": 1e9, "min": 0.0, "q25": 123.456789, "median": 1e7 / 3, "q75": 1e8 / 3,
         "max": 1e9 / 3, "mean": 1e8 / 7}
        for name in names
    }  # fmt: skip
    record = SourceRecord(
        text, text, text, "float32", 10**9, 10**6, 0, {"size": text, "sample": text}
    )
    knee = tuple((10**7 + at, 123456.7 - at) for at in range(200))
    source = SourceQuality(text, record, 10**6, 10**12, metrics, knee)
    table = TableBytes(
        text,
        10**6,
        10**12,
        (ColumnBytes(text, 10**12),) * many,
        (FragmentBytes(text, 10**9, 10**12),) * many,
    )
    return DatasetReport(
        location=text, digest=text, matrix=text, n_cells=10**9, n_genes=10**6, nonzeros=10**12,
        dtype="float64", value_type="float64", bytes=10**13,
        warnings=(ReportWarning(text, text),) * many,
        verification=Verification("failed", (text,) * many, (text,) * many),
        sources=(source,) * many, mt_genes=9, genes=(GeneCounts(text, text, 1e15 / 3, 10**9),) * 20,
        tables=(table,) * 12, annotations=(text,) * many, left_behind=(text,) * many,
        steps=(StepRecord("select", {"cells": text}, (10**9, 10**6), (10**8, 10**5)),) * many,
        history=(HistoryRecord(1, text, text, 10**9, 10**6),) * many,
        created_at=text, last_updated=text, writer=text, commands=(text,) * many,
    )  # fmt: skip


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag not in {"meta", "td", "th", "tr"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag without content."""
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        """Check that it ends the tag that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect text."""
        self.text += data


@settings(max_examples=5)
@given(
    st.one_of(
        st.sampled_from(
            [
                "",
                "<script>alert(1)</script>",
                "&",
                "\U0001f9ec",
                "\u202e",
                '"><img src=x>',
                "\ud800",
            ]
        ),
        st.text(min_size=1, max_size=9),
    ),
    st.sampled_from([1, 400]),
)
def test_any_report_is_small_and_safe(text: str, repeated: int) -> None:
    """Whatever the names are, the page is at most 300 kB and has no script, link or open tag."""
    made = as_html(report_of(text * repeated))
    assert len(made.encode()) <= MOST_BYTES
    page = Page(made)
    assert page.tags <= _TAGS
    assert page.attributes <= _ATTRIBUTES
    assert page.open == []
    assert all(c.isprintable() or c == "\n" for c in made)


def test_nothing_is_fetched() -> None:
    """The page forbids all but its own styles, and names no address."""
    made = as_html(report_of("x"))
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in made
    assert not re.search(r"https?:|url\(|@import|\bon\w+=", made)


def test_every_figure_has_a_table() -> None:
    """Each figure is followed by its numbers, and each knee plot has an alternative text."""
    made = as_html(report_of("x"))
    assert made.count("<summary>Numbers</summary>") == 20 + 3 + 1
    assert made.count('role="img"') == made.count("<title id=") == 20
    assert made.count("<summary>Columns</summary>") == 1
    assert "And 40 more with 40,000,000,000 cells" in made


def test_a_source_of_one_cell_has_no_curve() -> None:
    """A knee plot needs two cells with counts; samples of one cell, as of BAM, have none."""
    made = report_of("x")
    one = replace(made.sources[0], knee=((1, 5.0),))
    page = as_html(replace(made, sources=(one,)))
    assert 'role="img"' not in page
    assert "No source has two cells with counts." in page


def test_bytes_of_a_nonzero_are_those_of_its_table() -> None:
    """The bytes of a nonzero are those of the table of the matrix, not of the whole dataset."""
    made = replace(report_of("x"), matrix="X", nonzeros=400)
    table = TableBytes("expression", 1, 1000, (), ())
    assert "; 2.5 a nonzero in expression<" in as_html(replace(made, tables=(table,)))
    assert "a nonzero" not in as_html(replace(made, tables=(), nonzeros=0))


def test_json_of_any_report() -> None:
    """All of a report is JSON, also what the page leaves out."""
    made = report_of("x")
    found = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert len(found["sources"]) == _MANY
    assert found["sources"][0]["record"]["uri"] == "x"


def test_a_report_of_nothing() -> None:
    """A dataset without sources, cells, values and warnings has a page too."""
    empty: dict[str, Any] = dict.fromkeys(
        ("warnings", "sources", "genes", "tables", "history", "commands", "steps"), ()
    )
    made = as_html(replace(report_of(""), n_cells=0, nonzeros=0, mt_genes=0, **empty))
    assert Page(made).open == []
    assert "None." in made


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "unknown"),
        (3.0, "3"),
        (1234567.0, "1,234,567"),
        (1234.56, "1,234.6"),
        (0.12345, "0.1235"),
    ],
)
def test_numbers(value: float | None, expected: str) -> None:
    """A number has few digits, and a missing one is said so."""
    assert number(value) == expected


def test_labels_and_axes() -> None:
    """Axes have their ends and decades; one of negative values is not logarithmic."""
    assert [power_of_ten(power) for power in (-3, -1, 0, 3, 5, 9)] == [
        "1e-3", "0.1", "1", "1,000", "100k", "1e9",
    ]  # fmt: skip
    axis = Axis.of([5, 200], is_log=True)
    assert list(axis.ticks()) == [0, 10, 100]
    assert list(Axis.of([8], is_log=True).ticks()) == [0, 8]
    assert (axis.place(0), axis.place(200)) == (0, 1000)
    negative = Axis.of([-4, 4], is_log=True)
    assert (list(negative.ticks()), negative.place(0)) == ([-4, 0, 4], 500)


def test_long_names() -> None:
    """The middle of a long name is left out."""
    assert shown("a" * 60 + "b" * 60, 20) == f"{'a' * 10}…{'b' * 9}"
    assert len(shown("<" * 20, 20).encode()) <= 40
