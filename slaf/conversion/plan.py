"""What a run will do, decided before it begins: inputs, options, types, parts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from slaf.arrays import RowRange, exact_cast, is_whole
from slaf.conversion.companions import Companion, companions_of
from slaf.errors import InexactValue
from slaf.manifest import SourceRecord
from slaf.schema import VALUE_TYPES, Compression, expression_schema, value_type_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from slaf.sources.base import Source

__all__ = ["Options", "Plan", "counts_elsewhere", "likely_type", "make_plan"]

# A part is about this many nonzeros: about one second of work, and one fragment.
_PART_NONZEROS = 32 << 20
# Cells that one digest covers, unless the caller says how many make a part.
_BLOCK_CELLS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user may choose about the dataset; all of it changes bytes on disk.

    Attributes
    ----------
    matrix
        "X", "raw" or "layer:NAME".
    compression
        Bytes against time.
    chunk_size
        Cells in a part: how much is written, digested and checkpointed at a time. None cuts
        parts of about 32 million nonzeros, digested in blocks of 4,096 cells.
    compact
        Gather chunks into parts of about 32 million nonzeros, however small `chunk_size` is.
    create_indices
        Also index ids by BTREE, for look-ups by a gene or an id.
    string_ids
        Also store `cell_id` and `gene_id` as strings in `expression`.
    plain_types
        Store int32 ids and float32 values (float64 where that alone is exact).
    layers
        Which further matrices of the same genes go along: "all", "none", or their names.
    raw
        Whether raw goes along.
    """

    matrix: str = "X"
    compression: Compression = Compression.BALANCED
    chunk_size: int | None = None
    compact: bool = False
    create_indices: bool = False
    string_ids: bool = False
    plain_types: bool = False
    layers: str | tuple[str, ...] = "all"
    raw: bool = True

    def __post_init__(self) -> None:
        if self.chunk_size is not None and self.chunk_size < 1:
            msg = f"chunk_size is {self.chunk_size}, but a part needs at least one cell"
            raise ValueError(msg)

    @property
    def value_types(self) -> tuple[np.dtype[Any], ...]:
        """The types that the values may be stored in, the preferred one first."""
        if self.plain_types:
            return tuple(t for t in VALUE_TYPES if t.kind == "f")
        return VALUE_TYPES

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Options:
        """As `asdict` wrote it."""
        layers = data.get("layers", "none")
        return cls(
            **data
            | {
                "compression": Compression(data["compression"]),
                "layers": layers if isinstance(layers, str) else tuple(layers),
                "raw": data.get("raw", False),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run, immutable and JSON.

    Attributes
    ----------
    run_id
        Tells this run from another of the same input.
    source
        The input and its identity.
    options
        What the user chose.
    value_type
        The type that the values are stored in.
    block_cells
        Cells that one digest covers.
    parts
        The cells in runs of whole blocks, in order: the units of work and of resuming.
    companions
        The tables of further matrices, which are written in the same parts.
    """

    source: SourceRecord
    options: Options
    value_type: str
    block_cells: int
    parts: tuple[RowRange, ...]
    companions: tuple[Companion, ...] = ()
    operation: str = "convert"
    run_id: str = field(default_factory=lambda: uuid4().hex)

    @property
    def schema(self) -> pa.Schema:
        """The columns of `expression`."""
        return expression_schema(
            np.dtype(self.value_type),
            self.source.n_genes,
            self.options.compression,
            integer_ids=self.options.plain_types,
            string_ids=self.options.string_ids,
        )

    def widened(self, values: NDArray[Any]) -> Plan:
        """The plan of a new run, with the next type that holds these values too.

        Raises
        ------
        InexactValue
            If there is none.
        """
        allowed = self.options.value_types
        wider = allowed[allowed.index(np.dtype(self.value_type)) + 1 :]
        if not wider:
            exact_cast(values, np.dtype(self.value_type))
        value_type = value_type_for(values, wider)
        return replace(self, value_type=str(value_type), run_id=uuid4().hex)

    def with_companion(self, wider: Companion) -> Plan:
        """The plan of a new run, with this companion in place of the one of its table."""
        companions = tuple(wider if c.table == wider.table else c for c in self.companions)
        return replace(self, companions=companions, run_id=uuid4().hex)

    def differences(self, other: Plan) -> Iterator[str]:
        """In words, what makes this another run than `other`, the one that is unfinished."""
        yield from _differing("", {"operation": other.operation}, {"operation": self.operation})
        theirs, ours = asdict(other.options), asdict(self.options)
        yield from _differing("option ", theirs, ours)
        theirs, ours = _described(other.source), _described(self.source)
        yield from _differing("input ", theirs, ours)

    def to_json(self) -> dict[str, Any]:
        """As the checkpoint has it."""
        data: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        return data | {
            "source": self.source.to_json(),
            "options": asdict(self.options),
            "parts": [[part.start, part.stop] for part in self.parts],
            "companions": [companion.to_json() for companion in self.companions],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Plan:
        """As `to_json` wrote it."""
        return cls(
            **data
            | {
                "source": SourceRecord.from_json(data["source"]),
                "options": Options.from_json(data["options"]),
                "parts": tuple(RowRange(start, stop) for start, stop in data["parts"]),
                "companions": tuple(map(Companion.from_json, data.get("companions", []))),
            }
        )


def make_plan(source: Source, options: Options, choice: Mapping[str, str]) -> Plan:
    """Plan the conversion of a source; reads its offsets.

    Parameters
    ----------
    source
        What is to be converted.
    options
        How the dataset is to be.
    choice
        What was chosen of the input, beside its matrix.

    Raises
    ------
    InputError
        If it cannot be converted.
    """
    block_cells = options.chunk_size or _BLOCK_CELLS
    target = 1 if options.chunk_size and not options.compact else _PART_NONZEROS
    return Plan(
        source=SourceRecord(
            uri=source.uri,
            format=source.format,
            matrix=source.matrix,
            dtype=str(source.dtype),
            n_cells=source.n_cells,
            n_genes=source.n_genes,
            offset=0,
            identity=source.identity(),
            choice=choice,
        ),
        options=options,
        # No sample decides: the first batch that this type does not hold asks for the next one.
        value_type=str(options.value_types[0]),
        block_cells=block_cells,
        parts=tuple(_cut(source, block_cells, target)),
        companions=companions_of(source, options),
    )


def likely_type(first: NDArray[Any], options: Options) -> np.dtype[Any]:
    """The type that the first stored values ask for: a guess, for estimates only."""
    try:
        return value_type_for(first, options.value_types)
    except InexactValue:
        return options.value_types[-1]


def counts_elsewhere(source: Source) -> tuple[str, ...]:
    """Matrices that begin with whole numbers, where the chosen one does not: probably counts."""
    if is_whole(source.peek()):
        return ()
    others = [name for name in source.matrices() if name != source.matrix]
    return tuple(name for name in others if is_whole(source.peek(name)))


def _cut(source: Source, block_cells: int, target: int) -> Iterator[RowRange]:
    """Parts of whole blocks: the fewest blocks that reach the target."""
    before = source.nonzeros_before(block_cells)
    first = 0
    for last in range(1, len(before)):
        full = before[last] - before[first] >= target
        if full or last == len(before) - 1:
            yield RowRange(first * block_cells, min(last * block_cells, source.n_cells))
            first = last


def _described(source: SourceRecord) -> dict[str, Any]:
    # Where the input lies may change between two runs; what it is may not.
    described = source.to_json() | dict(source.identity)
    return {key: described[key] for key in described if key not in {"identity", "uri", "offset"}}


def _differing(what: str, theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    for key in sorted(theirs | ours):
        if theirs.get(key) != ours.get(key):
            yield f"{what}{key} was {theirs.get(key)} and is {ours.get(key)}"
