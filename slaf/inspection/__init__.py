"""What is at a place: a dataset, an input, or a conversion on its way."""

from __future__ import annotations

from slaf.inspection.described import (
    DatasetInfo,
    InputInfo,
    TableInfo,
    dataset_info,
    info,
    input_info,
)
from slaf.inspection.runs import RunStatus, State, status

__all__ = [
    "DatasetInfo",
    "InputInfo",
    "RunStatus",
    "State",
    "TableInfo",
    "dataset_info",
    "info",
    "input_info",
    "status",
]
