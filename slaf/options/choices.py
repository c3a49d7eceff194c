"""The choices of options, and the names of what an AnnData holds."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

__all__ = [
    "ALIGNED_SLOTS",
    "COLUMNS",
    "LAYER",
    "RAW_VARM",
    "SLOTS",
    "VALUE_STEPS",
    "ArrayCompression",
    "Compression",
    "Join",
    "Layout",
    "Normalization",
    "Strand",
    "Strandedness",
    "UnsMerge",
]

Compression: TypeAlias = Literal["fast", "balanced", "small"]
Join: TypeAlias = Literal["strict", "union", "intersection"]
UnsMerge: TypeAlias = Literal["same", "unique", "first", "only"]
Layout: TypeAlias = Literal["csr", "csc"]
Strand: TypeAlias = Literal["+", "-"]
Strandedness: TypeAlias = Literal["R", "F", "U"]
Normalization: TypeAlias = Literal["cpm", "rpkm"]
ArrayCompression: TypeAlias = Literal["gzip", "zstd", "lzf", "none"]

LAYER: Final = "layer"
RAW_VARM: Final = "raw_varm"
ALIGNED_SLOTS: Final = ("obsm", "varm", "obsp", "varp")
SLOTS: Final = (*ALIGNED_SLOTS, "uns")
COLUMNS: Final = ("obs", "var")
# The steps that change values.
VALUE_STEPS: Final = ("downsample_counts", "normalize_total", "log1p")
