"""SLAF: single-cell matrices as Lance tables, exactly.

The names below are all there is to learn; each is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
        VerificationFailed,
    )
    from slaf.inspection import DatasetInfo, InputInfo, RunStatus, info, status
    from slaf.verification import Report, verify

__all__ = [
    "ConflictError",
    "Dataset",
    "DatasetError",
    "DatasetInfo",
    "InputError",
    "InputInfo",
    "Preview",
    "QueryError",
    "Report",
    "RunStatus",
    "SLAFConverter",
    "SelectionError",
    "SlafError",
    "StorageError",
    "VerificationFailed",
    "append",
    "convert",
    "info",
    "open",
    "preview",
    "preview_append",
    "status",
    "verify",
]

_ERRORS = "slaf.errors"
_HOMES = {
    "ConflictError": (_ERRORS, "ConflictError"),
    "Dataset": ("slaf.dataset", "Dataset"),
    "DatasetError": (_ERRORS, "DatasetError"),
    "DatasetInfo": ("slaf.inspection", "DatasetInfo"),
    "InputError": (_ERRORS, "InputError"),
    "InputInfo": ("slaf.inspection", "InputInfo"),
    "Preview": ("slaf.conversion", "Preview"),
    "QueryError": (_ERRORS, "QueryError"),
    "Report": ("slaf.verification", "Report"),
    "RunStatus": ("slaf.inspection", "RunStatus"),
    "SLAFConverter": ("slaf.converter", "SLAFConverter"),
    "SelectionError": (_ERRORS, "SelectionError"),
    "SlafError": (_ERRORS, "SlafError"),
    "StorageError": (_ERRORS, "StorageError"),
    "VerificationFailed": (_ERRORS, "VerificationFailed"),
    "append": ("slaf.conversion", "append"),
    "convert": ("slaf.conversion", "convert"),
    "info": ("slaf.inspection", "info"),
    "open": ("slaf.dataset", "open_dataset"),
    "preview": ("slaf.conversion", "preview"),
    "preview_append": ("slaf.conversion", "preview_append"),
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
