"""slaf.aggregate: statistics of groups of cells, as a dataset or a file of another format."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from slaf.conversion.convert import convert
from slaf.dataset.scan import open_or_scan, scan
from slaf.runs.output_run import check_not_complete
from slaf.storage.location import Location
from slaf.storage.overlap import check_apart
from slaf.targets import FORMATS
from slaf.targets.export import export

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from slaf.dataset.dataset import View
    from slaf.dataset.reduce import Statistic
    from slaf.sources.base import Inputs

__all__ = ["AggregateReport", "aggregate"]


@dataclass(frozen=True, slots=True)
class AggregateReport:
    """The output of `slaf.aggregate`, and its shape.

    Attributes
    ----------
    output
        The path or URL.
    format
        The name of its format; "slaf" for a dataset.
    n_groups, n_genes
        Its shape.
    """

    output: str
    format: str
    n_groups: int
    n_genes: int

    def to_json(self) -> dict[str, Any]:
        """As `slaf aggregate --json` prints it."""
        return asdict(self)


def aggregate(
    dataset_or_inputs: View | Inputs,
    output: str | os.PathLike[str],
    *,
    by: str | Sequence[str],
    func: Statistic | Sequence[Statistic] = "sum",
    layer: str | None = None,
    ddof: int = 0,
    measured_only: bool = False,
    overwrite: bool = False,
    storage_options: Mapping[str, str] | None = None,
    input_storage_options: Mapping[str, str] | None = None,
    **options: Any,
) -> AggregateReport:
    """Write statistics of groups of cells: groups × genes, in memory that grows with these.

    `View.aggregate` gives the same in memory.

    Parameters
    ----------
    dataset_or_inputs
        A dataset, a view, or inputs as for `slaf.convert`.
    output
        A path or URL: by its suffix a file of a format that `slaf.export` writes, else a dataset.
    by, func, layer, ddof, measured_only
        As for `View.aggregate`.
    overwrite
        Whether to replace an output of the same format.
    storage_options
        Storage options of buckets, by the names of Lance and obstore.
    input_storage_options
        Those of the input's bucket; `storage_options` if None.
    options
        By keyword, the other fields of `slaf.options.ScanOptions`: how an input is read.

    Raises
    ------
    SelectionError
        If there is no such column, statistic or layer.
    ConflictError
        If the output exists, or is an input.
    StorageError
        If a disk or bucket fails.

    Examples
    --------
    >>> import anndata, numpy, pandas, slaf, tempfile
    >>> obs = pandas.DataFrame({"kind": ["b", "a", "b"]}, index=["1", "2", "3"])
    >>> adata = anndata.AnnData(numpy.eye(3), obs)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = slaf.aggregate(adata, f"{folder}/groups.h5ad", by="kind")
    >>> report.format, report.n_groups
    ('h5ad', 2)
    """
    reach = input_storage_options or storage_options
    is_exported = any(str(output).endswith(each.suffixes) for each in FORMATS if each.suffixes)
    if not is_exported:
        check_not_complete(Location.of(output, storage_options), overwrite=overwrite)
    with open_or_scan(dataset_or_inputs, storage_options=reach, **options) as view:
        check_apart(output, view.source.info.places)
        groups = view.aggregate(by, func, layer=layer, ddof=ddof, measured_only=measured_only)
    to = {"overwrite": overwrite, "storage_options": storage_options}
    if is_exported:
        with scan(groups) as found:
            report = export(found, output, **to)  # type: ignore[arg-type]
        return AggregateReport(report.output, report.format, *groups.shape)
    made = convert(groups, output, **to)  # type: ignore[call-overload]
    return AggregateReport(str(made.location), "slaf", *groups.shape)
