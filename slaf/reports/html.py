"""The report as one HTML page: no script, nothing from elsewhere, at most 300 kB."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from slaf.reports.svg import Axis, bar, box, knee
from slaf.reports.text import SENTENCE, number, shown, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from slaf.format.records import StepRecord
    from slaf.reports.contents import DatasetReport, SourceQuality

__all__ = ["MOST_BYTES", "SOURCES_DRAWN", "START", "as_html"]

START = "<!doctype html>\n"
MOST_BYTES = 300_000

# Limits that keep the page small; `--json` has the rest.
SOURCES_DRAWN = 20
_MOST_ROWS = 20
_MOST_COLUMNS = 40
_MOST_SENTENCES = 12
_MOST_OF_COMMANDS = 3000

# From here on an axis, of 1000, labels end at their tick.
_NEAR_THE_END = 950

_METRICS = {
    "total_counts": "Counts of a cell",
    "n_genes_by_counts": "Genes of a cell",
    "pct_counts_mt": "Mitochondrial counts of a cell, %",
}
_FIVE = ("min", "q25", "median", "q75", "max")

_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """\
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#59626d;--line:#d5dae0;--fill:#f4f6f8;
--blue:#2a6db0;--pale:#9cc2e8;--warn:#9a5b00;--bad:#b3261e;--good:#1d7a3e}
@media(prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e6e9ed;--soft:#a5afba;--line:#3a424b;
--fill:#1d2227;--blue:#7db7f0;--pale:#3b6ea3;--warn:#f0b35a;--bad:#ff8f85;--good:#6fd08c}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}
main{max-width:1240px;margin:auto;padding:16px}
h1{font-size:1.6rem;margin:.3em 0;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2em 0 .5em;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.2em 0 .3em;overflow-wrap:anywhere}
h4,p,li,dd,td,pre{overflow-wrap:anywhere}td+td{overflow-wrap:normal}
.soft{color:var(--soft)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2em 1em;margin:0}
dt{color:var(--soft)}dd{margin:0}
ul{padding-left:1.2em}
.w{list-style:none;padding:0}
.w li{border-left:4px solid var(--warn);background:var(--fill);padding:.5em .8em;margin:.4em 0}
.w .bad{border-color:var(--bad)}.w b{color:var(--warn)}.w .bad b{color:var(--bad)}
.good{color:var(--good)}
.s{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding:.3em 0}
th,td{text-align:right;padding:.15em .7em;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600}
th:first-child,td:first-child{text-align:left;padding-left:0;min-width:9em}
details{margin:.4em 0}summary{cursor:pointer;color:var(--blue)}
pre{background:var(--fill);padding:.8em;white-space:pre-wrap;font-size:.85rem}
.kk{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(280px,100%),1fr));gap:0 1.2em}
.k{width:100%;max-width:420px;height:auto;display:block}
.k text{font-size:11px;fill:var(--soft)}
.r{display:grid;grid-template-columns:minmax(8em,16em) 1fr 9em;gap:0 .8em;align-items:center;
font-size:.9rem}
.r>*{min-width:0}.r svg{width:100%;height:20px;display:block}
.r .n{overflow-wrap:anywhere}.r .v{color:var(--soft);font-variant-numeric:tabular-nums}
.x{position:relative;height:1.4em;color:var(--soft);font-size:.8rem}
.x span{position:absolute;transform:translateX(-50%)}
.x span:first-child{transform:none}.x .e{transform:translateX(-100%)}
.g{stroke:var(--line)}.c{fill:none;stroke:var(--blue);stroke-width:2}
.b{fill:var(--pale)}.l,.m{fill:none;stroke:var(--blue);vector-effect:non-scaling-stroke}
.m{stroke-width:3}
@media(max-width:600px){dl,.r{grid-template-columns:1fr}.r .v{margin-bottom:.5em}
dd{margin-bottom:.4em}}
@media print{:root{color-scheme:light;--bg:#fff;--fg:#000;--soft:#444;--line:#bbb;--fill:#fff;
--blue:#1d5590;--pale:#a9c8e8;--warn:#7a4700;--bad:#8f1d17;--good:#155c2e}
main{max-width:none;padding:0}summary{display:none}.kk>div,.r,tr{break-inside:avoid}
h2,h3{break-after:avoid}.s{overflow:visible}}
"""


def as_html(report: DatasetReport) -> str:
    """The page; the same report gives the same bytes."""
    title = f"Report of {shown(report.location.rstrip('/').rpartition('/')[2])}"
    sections = (
        ("Warnings", _warnings(report)),
        ("Sources", _sources(report)),
        ("Quality of cells", _quality(report)),
        ("Genes", _genes(report)),
        ("Bytes", _bytes(report)),
        ("Left behind", _left_behind(report)),
        ("Provenance", _provenance(report)),
    )
    body = "".join(f"<section><h2>{name}</h2>{''.join(of)}</section>\n" for name, of in sections)
    return (
        f'{START}<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_CSP}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{title}</h1>\n{_summary(report)}\n{body}</main>\n</body>\n</html>\n"
    )


# ----------------------------------------------------------------------------------------- sections


def _summary(report: DatasetReport) -> str:
    total = report.n_cells * report.n_genes
    density = f" ({number(100 * report.nonzeros / total)}% of all)" if total else ""
    types = f", read as {report.dtype}, stored as {report.value_type}"
    rows = [
        ("Dataset", shown(report.location, SENTENCE)),
        ("Shape", f"{report.n_cells:,} cells × {report.n_genes:,} genes"),
        ("Values", f"{shown(report.matrix)}: {report.nonzeros:,} nonzeros{density}{types}"),
        ("Also", "; ".join(shown(each, SENTENCE) for each in _some(report.annotations)) or "none"),
        ("Bytes", f"{size(report.bytes)} on disk{_of_a_nonzero(report)}"),
        ("Digest", shown(report.digest) or "none recorded"),
        ("Verified", _verified(report)),
    ]  # fmt: skip
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{value}</dd>' for name, value in rows)}</dl>"


def _of_a_nonzero(report: DatasetReport) -> str:
    """The bytes of a nonzero, where the matrix has a table of its own."""
    table = {"X": "expression"}.get(report.matrix, report.matrix)
    found = next((each.bytes for each in report.tables if each.name == table), 0)
    if not found or not report.nonzeros:
        return ""
    return f"; {number(found / report.nonzeros)} a nonzero in {shown(table)}"


def _verified(report: DatasetReport) -> str:
    checks = "; ".join(shown(check, SENTENCE) for check in report.verification.checks)
    if report.verification.state == "failed":
        return f"failed: {checks}"
    if report.verification.state == "none":
        return "not for this report"
    return f"no difference in {checks}; slaf verify reads the values too"


def _warnings(report: DatasetReport) -> Iterator[str]:
    if not report.warnings:
        yield '<p class="good">None.</p>'
        return
    yield '<ul class="w">'
    for warning in report.warnings[:_MOST_SENTENCES]:
        mark = ' class="bad"' if warning.kind == "damaged" else ""
        yield f"<li{mark}><b>{shown(warning.kind)}</b>: {shown(warning.text, 2 * SENTENCE)}</li>"
    yield "</ul>"
    if report.verification.differences:
        texts = report.verification.differences[:_MOST_SENTENCES]
        yield _details("Differences", _list(texts))


def _sources(report: DatasetReport) -> Iterator[str]:
    rows = [
        (
            shown(source.name),
            shown(source.record.format),
            shown(source.record.matrix),
            f"{source.record.n_cells:,}",
            f"{source.n_genes:,}",
            number(source.nonzeros),
            shown(source.record.dtype),
        )
        for source in report.sources[:SOURCES_DRAWN]
    ]
    header = ("Source", "Format", "Matrix", "Cells", "Genes measured", "Nonzeros", "Type")
    yield _table("Sources, in the order of their cells", header, rows)
    others = report.sources[SOURCES_DRAWN:]
    if others:
        cells = sum(source.record.n_cells for source in others)
        yield f"<p>And {len(others):,} more with {cells:,} cells, in --json.</p>"
    if any(step.before for step in report.steps):
        yield f"<h3>Before and after each step</h3>{_before_and_after(report.steps)}"


def _before_and_after(steps: Sequence[StepRecord]) -> str:
    rows = []
    for step in steps[:_MOST_ROWS]:
        (cells, genes), (cells_left, genes_left) = step.before or (0, 0), step.after or (0, 0)
        left = (_left(cells, cells_left), _left(genes, genes_left))
        rows.append((step.name, f"{cells:,}", left[0], f"{genes:,}", left[1]))
    header = ("Step", "Cells before", "Cells after", "Genes before", "Genes after")
    return _table("The inputs of the first run, step by step", header, rows)


def _left(before: int, after: int) -> str:
    """A number, and its share of the number before, where it is smaller."""
    return f"{after:,}" if after == before else f"{after:,} ({number(100 * after / before)}%)"


def _quality(report: DatasetReport) -> Iterator[str]:
    drawn = report.sources[:SOURCES_DRAWN]
    curves = "".join(_knee(at, source) for at, source in enumerate(drawn) if len(source.knee) > 1)
    yield "<h3>Counts of a cell by rank</h3>"
    yield (
        f'<div class="kk">{curves}</div>'
        if curves
        else "<p>No source has two cells with counts.</p>"
    )
    for metric, title in _METRICS.items():
        if any(source.metrics.get(metric, {}).get("median") is not None for source in drawn):
            yield f"<h3>{title}</h3>{_boxes(drawn, metric, title)}"
    if report.mt_genes:
        yield f'<p class="soft">Mitochondrial genes: {report.mt_genes:,}.</p>'
    else:
        yield '<p class="soft">No gene is known as mitochondrial; --mt names a pattern.</p>'


def _knee(at: int, source: SourceQuality) -> str:
    name, (last, low), (_, high) = shown(source.name), source.knee[-1], source.knee[0]
    title = f"Counts of {last:,} cells by rank, from {number(high)} to {number(low)}"
    rows = [(str(rank), f"{total:.6g}") for rank, total in source.knee]
    table = _details("Numbers", _table("Counts of the cell of a rank", ("Rank", "Counts"), rows))
    return f"<div><h4>{name}</h4>{knee(source.knee, title, f'k{at}')}{table}</div>"


def _boxes(sources: Sequence[SourceQuality], metric: str, title: str) -> str:
    found = [(source.name, source.metrics.get(metric, {})) for source in sources]
    drawn = [
        (name, [each for key in _FIVE if (each := of.get(key)) is not None]) for name, of in found
    ]
    values = [value for _, five in drawn for value in five]
    axis = Axis.of(values, is_log=not metric.startswith("pct"))
    lines = "".join(
        f'<div class="r"><span class="n">{shown(name)}</span>{box(axis, five)}'
        f'<span class="v">median {number(five[2])}</span></div>'
        for name, five in drawn
        if len(five) == len(_FIVE)
    )
    header = ("Source", "Cells", "Least", "Quarter", "Median", "Three quarters", "Greatest", "Mean")
    keys = ("n_cells", *_FIVE, "mean")
    rows = [(shown(name), *(number(of.get(key)) for key in keys)) for name, of in found]
    return lines + _ticks(axis) + _details("Numbers", _table(title, header, rows))


def _genes(report: DatasetReport) -> Iterator[str]:
    if not report.genes:
        yield "<p>No gene has values above zero.</p>"
        return
    yield "<h3>The greatest sums of all cells</h3>"
    axis = Axis.of([gene.total for gene in report.genes], is_log=False)
    for gene in report.genes:
        yield (
            f'<div class="r"><span class="n">{shown(gene.symbol or gene.id)}</span>'
            f'{bar(axis, gene.total)}<span class="v">{number(gene.total)}</span></div>'
        )
    cells = max(report.n_cells, 1)
    rows = [
        (
            shown(gene.id),
            shown(gene.symbol),
            number(gene.total),
            f"{gene.n_cells:,}",
            f"{100 * gene.n_cells / cells:.1f}",
        )
        for gene in report.genes
    ]
    header = ("Gene", "Symbol", "Sum", "Cells", "% of cells")
    yield _details("Numbers", _table("Genes with the greatest sums", header, rows))


def _bytes(report: DatasetReport) -> Iterator[str]:
    axis = Axis.of([table.bytes for table in report.tables], is_log=False)
    for table in report.tables:
        yield (
            f'<div class="r"><span class="n">{shown(table.name)}</span>{bar(axis, table.bytes)}'
            f'<span class="v">{size(table.bytes)}</span></div>'
        )
    yield _details("Tables", _table("Bytes of tables", ("Table", "Version", "Files", "Bytes"), [
        (shown(each.name), str(each.version), f"{len(each.fragments):,}", f"{each.bytes:,}")
        for each in report.tables
    ]))  # fmt: skip
    columns = [(each.name, column) for each in report.tables for column in each.columns]
    columns.sort(key=lambda each: (-each[1].bytes, each[0], each[1].name))
    yield _details("Columns", _table(_first(len(columns), _MOST_COLUMNS, "columns"),
        ("Table", "Column", "Bytes"),
        [(shown(t), shown(c.name), f"{c.bytes:,}") for t, c in columns[:_MOST_COLUMNS]],
    ))  # fmt: skip
    parts = [(each.name, part) for each in report.tables for part in each.fragments]
    parts.sort(key=lambda each: (-each[1].bytes, each[1].file))
    yield _details("Fragments", _table(_first(len(parts), _MOST_ROWS, "fragments"),
        ("Table", "File", "Rows", "Bytes"),
        [
            (shown(t), shown(p.file.rpartition("/")[2]), "" if p.rows is None else f"{p.rows:,}",
             f"{p.bytes:,}")
            for t, p in parts[:_MOST_ROWS]
        ],
    ))  # fmt: skip


def _left_behind(report: DatasetReport) -> Iterator[str]:
    if report.left_behind:
        yield _list(report.left_behind)
    else:
        yield "<p>Nothing that is recorded.</p>"
    yield '<p class="soft">slaf info INPUT lists what the format of an input cannot hand over.</p>'


def _provenance(report: DatasetReport) -> Iterator[str]:
    rows = [
        ("Made", shown(report.created_at)),
        ("Last written", shown(report.last_updated)),
        ("Program", shown(report.writer)),
    ]
    yield f"<dl>{''.join(f'<dt>{name}</dt><dd>{value}</dd>' for name, value in rows)}</dl>"
    if report.steps:
        texts = [f"{step.name} {json.dumps(dict(step.options))}" for step in report.steps]
        yield f"<h3>Steps</h3>{_list(texts)}"
    if report.commands:
        yield f"<h3>Made again by</h3><pre>{_commands(report.commands)}</pre>"
    yield _details("Versions", _table("Versions, the newest last",
        ("Version", "Time", "Operation", "Cells", "Genes"),
        [
            (str(one.version), shown(one.published_at), shown(one.operation), f"{one.n_cells:,}",
             f"{one.n_genes:,}")
            for one in report.history[-_MOST_ROWS:]
        ],
    ))  # fmt: skip
    files = [
        (shown(one.name), shown(one.record.uri, SENTENCE), _identity(one))
        for one in report.sources[:SOURCES_DRAWN]
    ]
    table = _table("Sources", ("Source", "Path", "Bytes, digest of a sample"), files)
    yield _details("Files", table)


# ------------------------------------------------------------------------------------------- pieces


def _identity(source: SourceQuality) -> str:
    identity = source.record.identity
    words = (str(identity[key]) for key in ("size", "sample") if key in identity)
    return shown(" ".join(words))


def _commands(commands: Sequence[str]) -> str:
    text = "\n".join(commands)
    if len(text) > _MOST_OF_COMMANDS:
        text = f"{text[:_MOST_OF_COMMANDS]}\n… --json has all {len(text):,} characters"
    return "\n".join(shown(line, _MOST_OF_COMMANDS) for line in text.split("\n"))


def _some(texts: Sequence[str]) -> list[str]:
    more = len(texts) - _MOST_SENTENCES
    return [*texts[:_MOST_SENTENCES], *([f"and {more:,} more"] if more > 0 else [])]


def _first(n: int, most: int, what: str) -> str:
    return f"The {most} largest of {n:,} {what}" if n > most else f"All {what}, the largest first"


def _list(texts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{shown(text, SENTENCE)}</li>' for text in _some(texts))}</ul>"


def _details(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>{content}</details>"


def _table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are escaped already; it scrolls by itself where it is too wide."""
    head = "".join(f'<th scope="col">{name}' for name in header)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}" for cell in row) for row in rows)
    return (
        f'<div class="s" tabindex="0"><table><caption>{caption}</caption>'
        f"<thead><tr>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _ticks(axis: Axis) -> str:
    """The labels of an axis below its rows."""
    spans = "".join(
        f"<span{' class=e' if axis.place(tick) > _NEAR_THE_END else ''} "
        f'style="left:{axis.place(tick) / 10:g}%">{number(tick)}</span>'
        for tick in axis.ticks()
    )
    return f'<div class="r" aria-hidden="true"><span></span><div class="x">{spans}</div></div>'
