"""SLAF: single-cell matrices as Lance tables, exactly.

The names below are all there is to learn; each is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slaf.compaction import Compacted, compact
    from slaf.conversion import Preview, append, convert, preview, preview_append
    from slaf.converter import SLAFConverter
    from slaf.dataset import Dataset
    from slaf.dataset import open_dataset as open
    from slaf.errors import (
        ConflictError,
        DatasetError,
        InputError,
        QueryError,
        SelectionError,
        SlafError,
        StorageError,
        TargetError,
        VerificationFailed,
    )
    from slaf.inspection import DatasetInfo, InputInfo, RunStatus, info, status
    from slaf.mending import Repaired, repair
    from slaf.targets import Exported, export
    from slaf.verification import Comparison, Report, diff, verify

__all__ = [
    "Compacted",
    "Comparison",
    "ConflictError",
    "Dataset",
    "DatasetError",
    "DatasetInfo",
    "Exported",
    "InputError",
    "InputInfo",
    "Preview",
    "QueryError",
    "Repaired",
    "Report",
    "RunStatus",
    "SLAFConverter",
    "SelectionError",
    "SlafError",
    "StorageError",
    "TargetError",
    "VerificationFailed",
    "append",
    "compact",
    "convert",
    "diff",
    "export",
    "info",
    "open",
    "preview",
    "preview_append",
    "repair",
    "status",
    "verify",
]

_ERRORS = "slaf.errors"
_HOMES = {
    "Comparison": ("slaf.verification", "Comparison"),
    "Compacted": ("slaf.compaction", "Compacted"),
    "ConflictError": (_ERRORS, "ConflictError"),
    "Dataset": ("slaf.dataset", "Dataset"),
    "DatasetError": (_ERRORS, "DatasetError"),
    "DatasetInfo": ("slaf.inspection", "DatasetInfo"),
    "Exported": ("slaf.targets", "Exported"),
    "InputError": (_ERRORS, "InputError"),
    "InputInfo": ("slaf.inspection", "InputInfo"),
    "Preview": ("slaf.conversion", "Preview"),
    "QueryError": (_ERRORS, "QueryError"),
    "Repaired": ("slaf.mending", "Repaired"),
    "Report": ("slaf.verification", "Report"),
    "RunStatus": ("slaf.inspection", "RunStatus"),
    "SLAFConverter": ("slaf.converter", "SLAFConverter"),
    "SelectionError": (_ERRORS, "SelectionError"),
    "SlafError": (_ERRORS, "SlafError"),
    "StorageError": (_ERRORS, "StorageError"),
    "TargetError": (_ERRORS, "TargetError"),
    "VerificationFailed": (_ERRORS, "VerificationFailed"),
    "append": ("slaf.conversion", "append"),
    "compact": ("slaf.compaction", "compact"),
    "convert": ("slaf.conversion", "convert"),
    "diff": ("slaf.verification", "diff"),
    "export": ("slaf.targets", "export"),
    "info": ("slaf.inspection", "info"),
    "open": ("slaf.dataset", "open_dataset"),
    "preview": ("slaf.conversion", "preview"),
    "preview_append": ("slaf.conversion", "preview_append"),
    "repair": ("slaf.mending", "repair"),
    "status": ("slaf.inspection", "status"),
    "verify": ("slaf.verification", "verify"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
