"""`slaf info`: describe a dataset or an input on one screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slaf.options import INPUT_CHOICES, ConvertOptions
from slaf_cli import options
from slaf_cli.report import annotation_rows, in_bytes, left_out_rows, lines, print_json

if TYPE_CHECKING:
    from slaf import DatasetInfo, FolderInfo, GeneOverlap, Inference, InputInfo

__all__ = ["info"]

_MOST_COLUMNS = 12
_MOST_INPUTS = 20


@options.command(ConvertOptions, "matrix", *INPUT_CHOICES, "format", "storage_options")
def info(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="DATASET|INPUT...",
            help=f"A dataset, or inputs: {options.INPUT}; or a folder or pattern of inputs. "
            "Of several, also the genes that they have in common.",
            show_default=False,
        ),
    ],
    chosen: options.Chosen,
    *,
    infer: Annotated[
        bool,
        typer.Option(
            "--infer",
            help="List the columns that may hold perturbations, their controls, and symbols, "
            "and whether gene ids have versions. Nothing is changed.",
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Describe a dataset, or inputs.

    Inputs are described as a conversion would take them; of a folder also what is left out, and
    why. Values are not read.
    """
    from slaf.dataset.info import info as describe

    if infer:
        import slaf

        found = {target: slaf.infer(target, **chosen) for target in targets}
        if json:
            print_json({"inferred": {target: one.to_json() for target, one in found.items()}})
        else:
            typer.echo("\n\n".join(lines(_inferred(*pair)) for pair in found.items()))
        return
    described = [describe(target, **chosen) for target in targets]
    if len(described) == 1:
        if json:
            print_json(described[0].to_json())
        else:
            typer.echo(lines(_rows(described[0])))
        return
    from slaf.dataset.gene_overlap import gene_overlap

    overlap = gene_overlap(targets, **chosen)
    if json:
        listed = [one.to_json() for one in described]
        print_json({"kind": "several", "described": listed, "genes": overlap.to_json()})
        return
    for one in described:
        typer.echo(f"{lines(_rows(one))}\n")
    typer.echo(_overlap_text(overlap))


def _rows(described: DatasetInfo | InputInfo | FolderInfo) -> list[tuple[str, object]]:
    from slaf.dataset.info import DatasetInfo, InputInfo

    if isinstance(described, DatasetInfo):
        return _dataset_rows(described)
    return _input_rows(described) if isinstance(described, InputInfo) else _folder_rows(described)


def _inferred(target: str, found: Inference) -> list[tuple[str, object]]:
    """Candidates, and the option that makes use of them."""
    columns = [
        f"{one.column}: {one.n_labels:,} labels, controls: {', '.join(one.controls) or 'none'}"
        for one in found.perturbations
    ]
    versions = f"{found.n_versioned:,} ids have a version (slaf transform --standardize-genes)"
    return [
        ("input", target),
        ("perturbation", "\n".join(columns) or "no column"),
        ("symbols", ", ".join(found.symbols) or "no column"),
        ("gene ids", found.conflict or versions),
    ]


def _overlap_text(overlap: GeneOverlap) -> str:
    """Shared genes of each two, and their Jaccard index."""
    names = [str(name) for name in overlap.shared.index]
    shared, jaccard = overlap.shared.to_numpy(), overlap.jaccard.to_numpy()
    rows: list[tuple[str, object]] = [
        ("genes", f"{overlap.in_all:,} in all, {overlap.in_any:,} in any")
    ]
    for at, name in enumerate(names):
        for other, second in enumerate(names[at + 1 :], at + 1):
            number, index = shared[at, other], jaccard[at, other]
            rows.append(("", f"{name} and {second}: {number:,} shared, Jaccard {index:.3g}"))
    return lines(rows)


def _dataset_rows(dataset: DatasetInfo) -> list[tuple[str, object]]:
    nonzeros, expression = dataset.nonzeros, dataset.tables["expression"].bytes
    a_nonzero = f"; {expression / nonzeros:.4g} a nonzero in expression" if nonzeros else ""
    return [
        ("dataset", dataset.location),
        ("shape", f"{dataset.n_cells:,} cells × {dataset.n_genes:,} genes"),
        ("nonzeros", f"{dataset.nonzeros:,} ({100 * dataset.density:.4g}% of all)"),
        ("values", f"{dataset.value_type}{_statistics(dataset.statistics)}"),
        ("bytes", f"{dataset.bytes:,} on disk{a_nonzero}"),
        ("sources", "\n".join(map(_source, dataset.sources))),
        (
            "tables",
            "\n".join(
                f"{name} version {table.version}, {in_bytes(table.bytes)}"
                for name, table in dataset.tables.items()
            ),
        ),
        ("obs", _columns(dataset.obs)),
        ("var", _columns(dataset.var)),
        *annotation_rows(dataset.annotations),
        ("written", f"{dataset.last_updated} by {dataset.writer}"),
    ]


def _input_rows(described: InputInfo) -> list[tuple[str, object]]:
    return [
        ("input", described.location),
        ("format", described.format),
        ("matrix", f"{described.matrix} (of {', '.join(described.matrices)})"),
        ("shape", f"{described.n_cells:,} cells × {described.n_genes:,} genes"),
        ("values", f"{_entries(described)} of {described.dtype}, {described.size.layout}"),
        *([("reads", "\n".join(described.details))] if described.details else []),
        ("obs", _columns(described.obs)),
        ("var", _columns(described.var)),
        *annotation_rows(described.annotations),
        ("not converted", "\n".join(described.not_converted) or "nothing"),
        *left_out_rows(described.left_out),
    ]


def _folder_rows(described: FolderInfo) -> list[tuple[str, object]]:
    shown = [
        f"{one.location} ({one.format}): {one.n_cells:,} cells × {one.n_genes:,} genes"
        for one in described.inputs[:_MOST_INPUTS]
    ]
    if len(described.inputs) > _MOST_INPUTS:
        shown.append(f"and {len(described.inputs) - _MOST_INPUTS:,} more (--json lists them)")
    return [
        ("inputs", described.location),
        ("taken", "\n".join(shown)),
        ("cells", f"{sum(one.n_cells for one in described.inputs):,}"),
        *left_out_rows(described.left_out),
    ]


def _entries(described: InputInfo) -> str:
    return f"{'' if described.size.exact else 'about '}{described.size.entries:,}"


def _statistics(statistics: Mapping[str, float | None]) -> str:
    names = {
        "min_value": "least",
        "max_value": "greatest",
        "mean_value": "mean",
        "std_value": "deviation",
    }
    values = ((name, statistics.get(key)) for key, name in names.items())
    return "".join(f", {name} {value:.6g}" for name, value in values if value is not None)


def _source(source: Any) -> str:
    return (
        f"{source.uri} ({source.format}, {source.matrix}, {source.dtype}, {source.n_cells:,} cells)"
    )


def _columns(columns: Mapping[str, str]) -> str:
    listed = [f"{name} ({dtype})" for name, dtype in columns.items()]
    if len(listed) > _MOST_COLUMNS:
        more = len(listed) - _MOST_COLUMNS
        listed = [*listed[:_MOST_COLUMNS], f"and {more} more (--json lists them)"]
    return ", ".join(listed) or "no columns"
