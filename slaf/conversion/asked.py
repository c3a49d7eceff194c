"""What is asked of a conversion or an append, whether it is done or only foreseen."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

__all__ = ["ToAppend", "ToConvert", "ToRead"]


class ToRead(TypedDict):
    """How inputs are read; the keys are arguments of `slaf.convert`."""

    genome: str | None
    feature_type: str | None
    measurement: str | None
    format: str | None
    cell_id_prefix: bool
    workers: int
    memory: int | None
    scratch: str | os.PathLike[str] | None
    storage_options: Mapping[str, str] | None
    input_storage_options: Mapping[str, str] | None
    stage: str | os.PathLike[str] | None


class ToConvert(ToRead):
    """What becomes of them as a dataset; the keys are arguments of `slaf.convert`."""

    matrix: str
    genes: str
    compression: str
    chunk_size: int | None
    compact: bool
    create_indices: bool
    string_ids: bool
    by_gene: bool
    plain_types: bool
    layers: str | Sequence[str]
    raw: bool
    without: str | Sequence[str]
    uns_merge: str


class ToAppend(ToRead):
    """What becomes of them in a dataset; the keys are arguments of `slaf.append`."""

    matrix: str | None
    genes: str
    without: str | Sequence[str]
    by_gene: bool | None
    chunk_size: int | None
    compact: bool
