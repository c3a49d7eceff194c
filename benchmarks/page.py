"""Write docs/benchmarks.md from the figures and the template `page.md`."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.cases import cases, reading
from benchmarks.programs import OURS, PROGRAMS
from benchmarks.rounds import BUDGET_SECONDS
from benchmarks.targets import targets, warm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from benchmarks.cases import Case, Sizes
    from benchmarks.results import Conversions, Results
    from benchmarks.table import Row

__all__ = ["PAGE", "conversion_rows", "page", "reading_rows", "table"]

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_TEMPLATE = Path(__file__).with_name("page.md")
_MB = 1e6
_FLOOR = "floor"
_NOTHING = "Not measured yet."
# Smaller ratios count as better: two conversions of a program differ by up to 3 %.
_BETTER = 0.97
_COLUMNS: dict[str, Callable[[Conversions], float]] = {
    "wall": lambda conversions: conversions.median("seconds"),
    "CPU": lambda conversions: conversions.median("cpu_seconds"),
    "peak memory": lambda conversions: conversions.median("peak_bytes"),
    "bytes": lambda conversions: conversions.median("stored_bytes"),
}


def page(results: Results, sizes: Sizes) -> str:
    """The page as Markdown."""
    parts = {
        "machine": _machine(results),
        "versions": _versions(results),
        "modes": _modes(),
        "conversions": "\n\n".join(_conversions(results, sizes)) or _NOTHING,
        "missing": _missing(results, sizes),
        "reads": _reads(results, sizes),
        "targets": _targets(results, sizes),
        "budget": f"{BUDGET_SECONDS:.0f}",
    }
    text = _TEMPLATE.read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace(f"<!-- {name} -->", part)
    return text


def conversion_rows(results: Results, sizes: Sizes) -> list[Row]:
    """A row for each program and input, for the terminal."""
    return [
        {
            "input": case.name,
            "program": name,
            "seconds": round(conversions.median("seconds"), 2),
            "cpu_seconds": round(conversions.median("cpu_seconds"), 2),
            "peak_MB": round(conversions.median("peak_bytes") / _MB),
            "bytes_per_nonzero": round(
                conversions.median("stored_bytes") / conversions.nonzeros, 2
            ),
        }
        for case, programs in _measured(results, sizes)
        for name, conversions in programs.items()
        if conversions.runs
    ]


def reading_rows(results: Results, sizes: Sizes) -> list[Row]:
    """A row for each read and program, for the terminal."""
    return [
        {
            "read": read,
            "program": name,
            "first_ms": round(median(each[read]["ms"][0] for each in processes), 1),
            "then_ms": round(warm(processes, read) or 0.0, 1),
        }
        for name, processes in results.reads.get(reading(sizes).name, {}).items()
        for read in _names_of_reads([processes])
        if warm(processes, read) is not None
    ]


def _measured(results: Results, sizes: Sizes) -> Iterable[tuple[Case, Mapping[str, Conversions]]]:
    for case in cases(sizes):
        by_program = results.conversions.get(case.name, {})
        programs = {name: by_program[name] for name in case.programs if name in by_program}
        if programs:
            yield case, programs


def _missing(results: Results, sizes: Sizes) -> str:
    """A sentence about the cases that were not measured."""
    measured = {case.name for case, _ in _measured(results, sizes)}
    names = [case.name for case in cases(sizes) if case.name not in measured]
    return f"Not measured in this run: {'; '.join(names)}." if measured and names else ""


def _machine(results: Results) -> str:
    about = results.about
    return (
        f"{about['cores']} cores of {about['processor']}, {about['memory']} of memory, "
        f"{about['system']}, Python {about['python']}; "
        f"revision `{about['revision']}` of {about['date']}"
    )


def _versions(results: Results) -> str:
    rows = [
        [name, ", ".join(f"{package} {release}" for package, release in packages.items())]
        for name, packages in results.versions.items()
        if not name.startswith((f"{OURS},", "slafdb,"))
    ]
    return table(["program", "releases"], rows) if rows else _NOTHING


def _modes() -> str:
    return "\n".join(f"- **{name}**: {program.mode}" for name, program in PROGRAMS.items())


def _conversions(results: Results, sizes: Sizes) -> Iterable[str]:
    for case, programs in _measured(results, sizes):
        nonzeros = max(conversions.nonzeros for conversions in programs.values())
        head = ["program", "wall, s", "× ours", "CPU, s", "peak, MB", "bytes per nonzero", "runs"]
        ours = programs.get(OURS)
        rows = [_row(name, conversions, ours) for name, conversions in programs.items()]
        yield "\n\n".join(
            [
                f"### {case.name}",
                f"{nonzeros / 1e6:,.1f} million nonzeros.",
                # The build of the site draws it.
                "<!-- chart: wall, s -->",
                table(head, rows, numbers_from=1),
                *_remarks(case, programs),
            ]
        )


def _row(name: str, conversions: Conversions, ours: Conversions | None) -> list[str]:
    if not conversions.runs:
        return [name, "fails", *[""] * 5]
    wall = conversions.median("seconds")
    times = f"{wall / ours.median('seconds'):.2f}" if ours and ours.runs else "–"
    return [
        name,
        f"{wall:.2f}",
        times,
        f"{conversions.median('cpu_seconds'):.2f}",
        f"{conversions.median('peak_bytes') / _MB:,.0f}",
        f"{conversions.median('stored_bytes') / conversions.nonzeros:.2f}",
        str(len(conversions.runs)),
    ]


def _remarks(case: Case, programs: Mapping[str, Conversions]) -> Iterable[str]:
    lines = []
    ours = programs.get(OURS)
    for name, conversions in programs.items():
        if conversions.failure:
            lines.append(f"- {name} fails: {_code(conversions.failure)}")
        better = _better_figures(name, conversions, ours)
        if better:
            lines.append(f"- **{name} is better than slaf** in {better}.")
        if conversions.losses:
            lines.append(f"- {name}: {_escaped('; '.join(conversions.losses))}.")
    lossless = [name for name, conversions in programs.items() if conversions.losses == []]
    if lossless:
        lines.append(f"- Output equal to the input: {', '.join(lossless)}.")
    if case.checked and not lossless:
        lines.append("- No output equals the input.")
    if lines:
        yield "\n".join(lines)


def _better_figures(name: str, peer: Conversions, ours: Conversions | None) -> str:
    """The figures in which a peer is better than this program."""
    if name.startswith((OURS, _FLOOR)) and not name.startswith("slafdb"):
        return ""
    if not (ours and ours.runs and peer.runs):
        return ""
    smaller = [
        f"{label} ({figure(peer) / figure(ours):.2f} ×)"
        for label, figure in _COLUMNS.items()
        if figure(peer) < _BETTER * figure(ours)
    ]
    return ", ".join(smaller)


def _reads(results: Results, sizes: Sizes) -> str:
    programs = results.reads.get(reading(sizes).name, {})
    names = _names_of_reads(programs.values())
    if not names:
        return _NOTHING
    expected = programs.get(OURS, [])
    rows = [
        [name, *(_cell(processes, read, expected) for read in names)]
        for name, processes in programs.items()
    ]
    remarks = [
        f"- {name}, {read}: {_code(first[read]['failed'])}"
        for name, processes in programs.items()
        for first in processes[:1]
        for read in first
        if "failed" in first[read]
    ]
    winners = [
        f"- **{name} is better than slaf** in {read}."
        for read in names
        for name, processes in programs.items()
        if name != OURS and _is_faster(processes, expected, read)
    ]
    return "\n\n".join(
        part
        for part in (
            table(["program", *names], rows, numbers_from=1),
            "\n".join(winners + remarks),
        )
        if part
    )


def _names_of_reads(programs: Iterable[Sequence[Mapping[str, Any]]]) -> list[str]:
    names = (read for processes in programs for each in processes for read in each if read)
    return list(dict.fromkeys(names))


def _cell(processes: list[dict[str, Any]], read: str, expected: list[dict[str, Any]]) -> str:
    if all(read not in each for each in processes):
        return "fails" if any("" in each for each in processes) else "–"
    later = warm(processes, read)
    if later is None:
        return "fails"
    first = median(each[read]["ms"][0] for each in processes if "ms" in each.get(read, {}))
    wrong = "" if _is_same(processes, expected, read) else " **(different values)**"
    return f"{later:,.1f} ({first:,.1f}){wrong}"


def _is_same(processes: list[dict[str, Any]], expected: list[dict[str, Any]], read: str) -> bool:
    values = [(each[read]["nonzeros"], each[read]["totals"]) for each in (*processes, *expected)]
    return all(value == values[-1] for value in values)


def _is_faster(processes: list[dict[str, Any]], expected: list[dict[str, Any]], read: str) -> bool:
    peer, ours = warm(processes, read), warm(expected, read)
    return peer is not None and ours is not None and peer < _BETTER * ours


def _targets(results: Results, sizes: Sizes) -> str:
    rows = [list(target.row().values()) for target in targets(results, sizes)]
    return table(["", "target", "measured", ""], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 99) -> str:
    """A table in Markdown, with the columns from `numbers_from` on to the right."""
    rule = ["---:" if number >= numbers_from else "---" for number in range(len(head))]
    lines = [head, rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`"


def _escaped(text: str) -> str:
    return text.replace("`", "'").replace("_", r"\_")
