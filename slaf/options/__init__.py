"""The options of the verbs, each declared once: name, type, default, and documentation below it.

The records are what functions pass on, what `slaf.convert` and `slaf.append` take as keywords, and
what the command line makes its own options from. So the package imports no library of arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slaf.options.choices import (
    ALIGNED_SLOTS,
    COLUMNS,
    LAYER,
    RAW_VARM,
    SLOTS,
    VALUE_STEPS,
    ArrayCompression,
    Compression,
    Join,
    Layout,
    Normalization,
    Strand,
    Strandedness,
    UnsMerge,
)
from slaf.options.declare import (
    Option,
    Options,
    docs_of,
    one_of,
    option,
    options_of,
)
from slaf.options.inputs import (
    INPUT_CHOICES,
    READS_CHOICES,
    InputOptions,
    ReadOptions,
    SampleOptions,
    parse_bytes,
)
from slaf.options.steps import (
    StepOptions,
)
from slaf.options.store import (
    PartOptions,
    SlotSelection,
    StoreOptions,
)
from slaf.runtime.imports import imported_from

if TYPE_CHECKING:
    from slaf.options.verbs import (
        AppendDryRun,
        AppendOptions,
        AppendRun,
        ConvertDryRun,
        ConvertOptions,
        ConvertRun,
        PlanDryRun,
        PlanOptions,
        PlanRun,
        ReadingOptions,
        RunOptions,
        ScanOptions,
        TransformOptions,
    )

__all__ = [
    "ALIGNED_SLOTS",
    "COLUMNS",
    "INPUT_CHOICES",
    "LAYER",
    "RAW_VARM",
    "READS_CHOICES",
    "SLOTS",
    "VALUE_STEPS",
    "AppendDryRun",
    "AppendOptions",
    "AppendRun",
    "ArrayCompression",
    "Compression",
    "ConvertDryRun",
    "ConvertOptions",
    "ConvertRun",
    "InputOptions",
    "Join",
    "Layout",
    "Normalization",
    "Option",
    "Options",
    "PartOptions",
    "PlanDryRun",
    "PlanOptions",
    "PlanRun",
    "ReadOptions",
    "ReadingOptions",
    "RunOptions",
    "SampleOptions",
    "ScanOptions",
    "SlotSelection",
    "StepOptions",
    "StoreOptions",
    "Strand",
    "Strandedness",
    "TransformOptions",
    "UnsMerge",
    "docs_of",
    "one_of",
    "option",
    "options_of",
    "parse_bytes",
]

if not TYPE_CHECKING:  # else every name would be one of this module
    # Reading takes none of these records, which take as long to make as all others.
    __getattr__ = imported_from("slaf.options.verbs", __name__, __all__)
