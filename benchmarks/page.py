"""The page of figures, docs/benchmarks.md, from the figures and `page.md`."""

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

__all__ = ["conversion_rows", "page", "reading_rows"]

_TEMPLATE = Path(__file__).with_name("page.md")
_MB = 1e6
_FLOOR = "floor"
_NOTHING = "Not measured yet."
# A figure is ahead of ours if it is smaller by more than what two runs differ in.
_AHEAD = 0.97
_COLUMNS: dict[str, Callable[[Conversions], float]] = {
    "wall": lambda one: one.median("seconds"),
    "CPU": lambda one: one.median("cpu_seconds"),
    "peak memory": lambda one: one.median("peak_bytes"),
    "bytes": lambda one: one.median("stored_bytes"),
}


def page(results: Results, sizes: Sizes) -> str:
    """The whole page."""
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
    """Each program with each input, for a terminal."""
    return [
        {
            "input": case.name,
            "program": name,
            "seconds": round(found.median("seconds"), 2),
            "cpu_seconds": round(found.median("cpu_seconds"), 2),
            "peak_MB": round(found.median("peak_bytes") / _MB),
            "bytes_per_nonzero": round(found.median("stored_bytes") / found.nonzeros, 2),
        }
        for case, programs in _measured(results, sizes)
        for name, found in programs.items()
        if found.runs
    ]


def reading_rows(results: Results, sizes: Sizes) -> list[Row]:
    """Each read by each program, for a terminal."""
    return [
        {
            "read": read,
            "program": name,
            "first_ms": round(median(one[read]["ms"][0] for one in processes), 1),
            "then_ms": round(warm(processes, read) or 0.0, 1),
        }
        for name, processes in results.reads.get(reading(sizes).name, {}).items()
        for read in _names_of_reads([processes])
        if warm(processes, read) is not None
    ]


def _measured(results: Results, sizes: Sizes) -> Iterable[tuple[Case, Mapping[str, Conversions]]]:
    for case in cases(sizes):
        found = results.conversions.get(case.name, {})
        programs = {name: found[name] for name in case.programs if name in found}
        if programs:
            yield case, programs


def _missing(results: Results, sizes: Sizes) -> str:
    """What of the inputs above was not measured, in words."""
    measured = {case.name for case, _ in _measured(results, sizes)}
    names = [case.name for case in cases(sizes) if case.name not in measured]
    return f"Not measured in this run: {'; '.join(names)}." if measured and names else ""


def _machine(results: Results) -> str:
    about = results.about
    return (
        f"{about['cores']} cores of {about['processor']}, {about['memory']} of memory, "
        f"{about['system']}, Python {about['python']}; revision `{about['revision']}`"
    )


def _versions(results: Results) -> str:
    rows = [
        [name, ", ".join(f"{package} {release}" for package, release in found.items())]
        for name, found in results.versions.items()
        if not name.startswith((f"{OURS},", "slafdb,"))
    ]
    return _table(["program", "releases"], rows) if rows else _NOTHING


def _modes() -> str:
    return "\n".join(f"- **{name}**: {program.mode}" for name, program in PROGRAMS.items())


def _conversions(results: Results, sizes: Sizes) -> Iterable[str]:
    for case, programs in _measured(results, sizes):
        nonzeros = max(one.nonzeros for one in programs.values())
        head = ["program", "wall, s", "× ours", "CPU, s", "peak, MB", "bytes a nonzero", "runs"]
        ours = programs.get(OURS)
        rows = [_row(name, found, ours) for name, found in programs.items()]
        yield "\n\n".join(
            [
                f"### {case.name}",
                f"{nonzeros / 1e6:,.1f} million nonzeros.",
                _table(head, rows, numbers_from=1),
                *_remarks(case, programs),
            ]
        )


def _row(name: str, found: Conversions, ours: Conversions | None) -> list[str]:
    if not found.runs:
        return [name, "fails", *[""] * 5]
    wall = found.median("seconds")
    times = f"{wall / ours.median('seconds'):.2f}" if ours and ours.runs else "–"
    return [
        name,
        f"{wall:.2f}",
        times,
        f"{found.median('cpu_seconds'):.2f}",
        f"{found.median('peak_bytes') / _MB:,.0f}",
        f"{found.median('stored_bytes') / found.nonzeros:.2f}",
        str(len(found.runs)),
    ]


def _remarks(case: Case, programs: Mapping[str, Conversions]) -> Iterable[str]:
    lines = []
    ours = programs.get(OURS)
    for name, found in programs.items():
        if found.failure:
            lines.append(f"- {name} fails: {_code(found.failure)}")
        ahead = _ahead(name, found, ours)
        if ahead:
            lines.append(f"- **{name} is ahead of ours** in {ahead}.")
        if found.losses:
            lines.append(f"- {name}: {_code_free('; '.join(found.losses))}.")
    kept = [name for name, found in programs.items() if found.losses == []]
    if kept:
        lines.append(f"- Read back and found the same as the input: {', '.join(kept)}.")
    if case.checked and not kept:
        lines.append("- Nothing was found the same as the input when it was read back.")
    if lines:
        yield "\n".join(lines)


def _ahead(name: str, found: Conversions, ours: Conversions | None) -> str:
    """In what a peer took less than we did."""
    if name.startswith((OURS, _FLOOR)) and not name.startswith("slafdb"):
        return ""
    if not (ours and ours.runs and found.runs):
        return ""
    smaller = [
        f"{words} ({of(found) / of(ours):.2f} ×)"
        for words, of in _COLUMNS.items()
        if of(found) < _AHEAD * of(ours)
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
        f"- {name}, {read}: {_code(one[read]['failed'])}"
        for name, processes in programs.items()
        for one in processes[:1]
        for read in one
        if "failed" in one[read]
    ]
    winners = [
        f"- **{name} is ahead of ours** in {read}."
        for read in names
        for name, processes in programs.items()
        if name != OURS and _is_faster(processes, expected, read)
    ]
    return "\n\n".join(
        part
        for part in (
            _table(["program", *names], rows, numbers_from=1),
            "\n".join(winners + remarks),
        )
        if part
    )


def _names_of_reads(programs: Iterable[Sequence[Mapping[str, Any]]]) -> list[str]:
    names = (read for processes in programs for one in processes for read in one if read)
    return list(dict.fromkeys(names))


def _cell(processes: list[dict[str, Any]], read: str, expected: list[dict[str, Any]]) -> str:
    if all(read not in one for one in processes):
        return "fails" if any("" in one for one in processes) else "–"
    then = warm(processes, read)
    if then is None:
        return "fails"
    first = median(one[read]["ms"][0] for one in processes if "ms" in one.get(read, {}))
    wrong = "" if _is_same(processes, expected, read) else " **(other values)**"
    return f"{then:,.1f} ({first:,.1f}){wrong}"


def _is_same(processes: list[dict[str, Any]], expected: list[dict[str, Any]], read: str) -> bool:
    found = [(one[read]["nonzeros"], one[read]["totals"]) for one in (*processes, *expected)]
    return all(one == found[-1] for one in found)


def _is_faster(processes: list[dict[str, Any]], expected: list[dict[str, Any]], read: str) -> bool:
    theirs, ours = warm(processes, read), warm(expected, read)
    return theirs is not None and ours is not None and theirs < _AHEAD * ours


def _targets(results: Results, sizes: Sizes) -> str:
    rows = [list(target.row().values()) for target in targets(results, sizes)]
    return _table(["", "target", "measured", ""], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 99) -> str:
    rule = ["---:" if number >= numbers_from else "---" for number in range(len(head))]
    lines = [head, rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`"


def _code_free(text: str) -> str:
    return text.replace("`", "'").replace("_", r"\_")
