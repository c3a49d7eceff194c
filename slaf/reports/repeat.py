"""The commands that make a dataset again from its inputs, as far as they are recorded."""

from __future__ import annotations

import shlex
from itertools import groupby
from typing import TYPE_CHECKING, Any

from slaf.format.schema import BY_GENE
from slaf.options import SlotSelection, StoreOptions, options_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slaf.format.config import DatasetConfig, SourceRecord

__all__ = ["repeat"]

_OUTPUT = "again.slaf"

# How a run is divided changes no value.
_WITHOUT_VALUE = ("chunk_size", "compact")
_OF_A_SCAN = ("cell_id_prefix", "samples", "join")


def repeat(config: DatasetConfig) -> tuple[str, ...]:
    """The commands: of a shell; or of Python, if steps were recorded.

    Later annotations are in none of them, nor are inputs that were removed.
    """
    if not config.sources:
        return ()
    groups = [list(group) for _, group in groupby(config.sources, key=_choices)]
    if config.transforms:
        return tuple(_python(config, groups))
    first, *others = groups
    commands = [_shell("convert", first, _store_options(config, first) | _choices(first[0]))]
    commands += [_shell("append", group, _choices(group[0])) for group in others]
    return tuple(commands)


def _choices(record: SourceRecord) -> dict[str, Any]:
    """How an input was read, as keywords."""
    matrix = {} if record.matrix == "X" else {"matrix": record.matrix}
    return matrix | dict(record.choice)


def _store_options(config: DatasetConfig, sources: list[SourceRecord]) -> dict[str, Any]:
    """The options that differ from the defaults, as keywords."""
    stored = config.store_options
    selection = sources[0].selection or config.annotations.selection or SlotSelection()
    found = {name: getattr(stored, name) for name in options_of(StoreOptions)}
    found |= {name: getattr(selection, name) for name in options_of(SlotSelection)}
    found |= {"by_gene": BY_GENE in config.tables}
    found |= {"join": next((s.genes for s in config.sources if s.genes != "strict"), "strict")}
    defaults = StoreOptions()
    chosen = {
        name: value
        for name, value in found.items()
        if value != getattr(defaults, name) and name not in _WITHOUT_VALUE
    }
    return chosen | _sample_options(sources)


def _sample_options(sources: list[SourceRecord]) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    if any(source.prefix for source in sources):
        chosen["cell_id_prefix"] = True
    if sheet := next((source.sheet for source in sources if source.sheet), ""):
        chosen["samples"] = sheet
    uris = [source.uri for source in sources]
    if len(set(uris)) < len(uris):
        chosen["allow_duplicate"] = True
    return chosen


def _shell(verb: str, sources: list[SourceRecord], chosen: dict[str, Any]) -> str:
    words = ["slaf", verb, *(source.uri for source in sources), _OUTPUT]
    return shlex.join([*words, *_flags(chosen)])


def _flags(chosen: dict[str, Any]) -> Iterator[str]:
    """Options of the command line."""
    for name, value in chosen.items():
        flag = _FLAGS.get(name) or f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            yield flag if value else f"--no-{flag[2:]}"
        elif name == "without":
            yield from (word for each in value for word in (flag, str(each)))
        else:
            yield from (flag, value if isinstance(value, str) else _listed(value))


def _listed(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple | list) else str(value)


_FLAGS = {name: option.flag for name, option in options_of(StoreOptions).items() if option.flag}


def _python(config: DatasetConfig, groups: list[list[SourceRecord]]) -> Iterator[str]:
    """Lines of Python; the steps are methods of a view by their names and keywords."""
    chosen = _store_options(config, [source for group in groups for source in group])
    # A view has its samples and genes before it is converted.
    of_inputs = {name: chosen.pop(name) for name in _OF_A_SCAN if name in chosen}
    chosen.pop("allow_duplicate", None)
    yield "import slaf"
    for at, group in enumerate(groups):
        uris: Any = [source.uri for source in group]
        keywords = of_inputs | _choices(group[0])
        yield f"part_{at} = slaf.scan({_arguments(uris, keywords)})"
    parts = ", ".join(f"part_{at}" for at in range(len(groups)))
    yield f"view = {parts if len(groups) == 1 else f'slaf.concat([{parts}])'}"
    for step in config.transforms:
        yield f"view = view.{step.name}({_arguments(None, dict(step.options))})"
    yield f"slaf.convert(view, {_arguments(_OUTPUT, chosen)})"


def _arguments(first: Any, keywords: dict[str, Any]) -> str:
    words = [] if first is None else [repr(first)]
    return ", ".join([*words, *(f"{name}={value!r}" for name, value in keywords.items())])
