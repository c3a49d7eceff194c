"""SLAF: single-cell matrices as Lance tables, exactly.

The names below are all there is to learn; each is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slaf.runtime.imports import import_at_once

if TYPE_CHECKING:
    __version__: str
    from slaf.conversion.aggregate import AggregateReport, aggregate
    from slaf.conversion.annotate import annotate
    from slaf.conversion.append import append
    from slaf.conversion.compact import CompactReport, compact
    from slaf.conversion.convert import convert
    from slaf.conversion.copy import copy
    from slaf.conversion.distributed import (
        PartReport,
        PlanReport,
        discard_plan,
        part,
        plan,
        publish,
    )
    from slaf.conversion.preview import Preview
    from slaf.conversion.remove import remove
    from slaf.conversion.transform import RuleEffect, TransformPreview, transform
    from slaf.converter import SLAFConverter
    from slaf.dataset.dataset import Dataset, View
    from slaf.dataset.dataset import open_dataset as open
    from slaf.dataset.gene_overlap import GeneOverlap, gene_overlap
    from slaf.dataset.head import head, schema
    from slaf.dataset.history import DatasetVersion, history
    from slaf.dataset.inference import Inference, infer
    from slaf.dataset.info import DatasetInfo, FolderInfo, InputInfo, info
    from slaf.dataset.scan import Scan, concat, scan
    from slaf.errors import (
        ConflictError,
        DatasetError,
        ForkedProcess,
        InputError,
        QueryError,
        ReadOnlyError,
        SelectionError,
        SlafError,
        StorageError,
        TargetError,
        VerificationFailed,
    )
    from slaf.repairs.repair import RepairReport, repair
    from slaf.reports.contents import DatasetReport
    from slaf.reports.report import report
    from slaf.runs.status import ConversionStatus, status
    from slaf.targets.export import ExportReport, export
    from slaf.targets.formats import FormatInfo, formats
    from slaf.transforms.gene_ids import gene_symbols, standard_gene_ids
    from slaf.transforms.labels import standard_labels
    from slaf.verification.diff import diff
    from slaf.verification.report import Comparison, Report
    from slaf.verification.verify import verify

__all__ = [
    "AggregateReport",
    "CompactReport",
    "Comparison",
    "ConflictError",
    "ConversionStatus",
    "Dataset",
    "DatasetError",
    "DatasetInfo",
    "DatasetReport",
    "DatasetVersion",
    "ExportReport",
    "FolderInfo",
    "ForkedProcess",
    "FormatInfo",
    "GeneOverlap",
    "Inference",
    "InputError",
    "InputInfo",
    "PartReport",
    "PlanReport",
    "Preview",
    "QueryError",
    "ReadOnlyError",
    "RepairReport",
    "Report",
    "RuleEffect",
    "SLAFConverter",
    "Scan",
    "SelectionError",
    "SlafError",
    "StorageError",
    "TargetError",
    "TransformPreview",
    "VerificationFailed",
    "View",
    "aggregate",
    "annotate",
    "append",
    "compact",
    "concat",
    "convert",
    "copy",
    "diff",
    "discard_plan",
    "export",
    "formats",
    "gene_overlap",
    "gene_symbols",
    "head",
    "history",
    "infer",
    "info",
    "open",
    "part",
    "plan",
    "publish",
    "remove",
    "repair",
    "report",
    "scan",
    "schema",
    "standard_gene_ids",
    "standard_labels",
    "status",
    "transform",
    "verify",
]

_MODULES = {
    "slaf.conversion.aggregate": (
        "AggregateReport",
        "aggregate",
    ),
    "slaf.conversion.annotate": ("annotate",),
    "slaf.conversion.append": ("append",),
    "slaf.conversion.compact": (
        "CompactReport",
        "compact",
    ),
    "slaf.conversion.convert": ("convert",),
    "slaf.conversion.copy": ("copy",),
    "slaf.conversion.distributed": (
        "PartReport",
        "PlanReport",
        "discard_plan",
        "part",
        "plan",
        "publish",
    ),
    "slaf.conversion.preview": ("Preview",),
    "slaf.conversion.remove": ("remove",),
    "slaf.conversion.transform": (
        "RuleEffect",
        "TransformPreview",
        "transform",
    ),
    "slaf.converter": ("SLAFConverter",),
    "slaf.dataset.dataset": (
        "Dataset",
        "View",
        "open",
    ),
    "slaf.dataset.head": (
        "head",
        "schema",
    ),
    "slaf.dataset.history": (
        "DatasetVersion",
        "history",
    ),
    "slaf.dataset.info": (
        "DatasetInfo",
        "FolderInfo",
        "InputInfo",
        "info",
    ),
    "slaf.dataset.gene_overlap": ("GeneOverlap", "gene_overlap"),
    "slaf.dataset.inference": ("Inference", "infer"),
    "slaf.dataset.scan": (
        "Scan",
        "concat",
        "scan",
    ),
    "slaf.errors": (
        "ConflictError",
        "DatasetError",
        "ForkedProcess",
        "InputError",
        "QueryError",
        "ReadOnlyError",
        "SelectionError",
        "SlafError",
        "StorageError",
        "TargetError",
        "VerificationFailed",
    ),
    "slaf.repairs.repair": (
        "RepairReport",
        "repair",
    ),
    "slaf.reports.contents": ("DatasetReport",),
    "slaf.reports.report": ("report",),
    "slaf.runs.status": (
        "ConversionStatus",
        "status",
    ),
    "slaf.targets.export": (
        "ExportReport",
        "export",
    ),
    "slaf.targets.formats": ("FormatInfo", "formats"),
    "slaf.transforms.gene_ids": ("gene_symbols", "standard_gene_ids"),
    "slaf.transforms.labels": ("standard_labels",),
    "slaf.verification.diff": ("diff",),
    "slaf.verification.report": (
        "Comparison",
        "Report",
    ),
    "slaf.verification.verify": ("verify",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}
_RENAMED = {"open": "open_dataset"}


if not TYPE_CHECKING:  # else every name would be one of this module

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            return version("slaf")
        if name not in _HOMES:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(import_at_once(_HOMES[name]), _RENAMED.get(name, name))


def __dir__() -> list[str]:
    return __all__
