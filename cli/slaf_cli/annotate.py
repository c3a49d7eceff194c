"""`slaf annotate`: add, replace or drop columns, elements and layers of a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slaf.options import ConvertOptions
from slaf_cli import options
from slaf_cli.progress import Bar
from slaf_cli.report import print_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

__all__ = ["annotate"]

# Changed labels that are listed.
_SHOWN = 20


@options.command(ConvertOptions, "restart", *options.READING[1:])
def annotate(
    dataset: options.Dataset,
    chosen: options.Chosen,
    *,
    obs: Annotated[
        Path | None,
        typer.Option(
            "--obs",
            metavar="FILE",
            help="Columns of cells: a .csv, .tsv or .parquet file with the cell ids in its first "
            "column. Its columns decide bytes.",
            show_default=False,
        ),
    ] = None,
    var: Annotated[
        Path | None,
        typer.Option(
            "--var", metavar="FILE", help="The same for genes, by gene id.", show_default=False
        ),
    ] = None,
    from_anndata: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RESULT",
            help="An .h5ad file, or another input: everything in it but X and raw, by the ids of "
            "its cells and genes. What is new in it decides time and bytes.",
            show_default=False,
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on", metavar="COLUMN", help="The column of FILE with the ids.", show_default=False
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace what DATASET has with other values.")
    ] = False,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            "--drop",
            metavar="NAME",
            help="Drop obs:NAME, var:NAME, obsm:KEY, uns:KEY, layer:NAME, …. May be given several "
            "times.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Add standard labels of the perturbations in this column of obs, as categories.",
            show_default=False,
        ),
    ] = None,
    strip_prefix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Of --labels, take this off, as sg-; several times for several.",
            show_default=False,
        ),
    ] = None,
    strip_suffix: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="The same at the end, as _KO.", show_default=False),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL",
            help="Of --labels, give all controls (NTC, non-targeting, ctrl, …) this name.",
            show_default=False,
        ),
    ] = None,
    control_alias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="A further name of controls; several times for several.",
            show_default=False,
        ),
    ] = None,
    label_column: Annotated[
        str, typer.Option(metavar="COLUMN", help="The column that --labels adds.")
    ] = "perturbation",
    gene_ids: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Add this column of var: the gene ids, those of Ensembl without their version.",
            show_default=False,
        ),
    ] = None,
    symbols: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Add the column gene_symbol of var: by a .csv, .tsv or .parquet file with ids in "
            "its first column, with or without their version, and symbols in its second.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Add, replace or drop columns, elements and layers.

    Rows are put to the cells and genes of their ids; unknown and repeated ids are refused. Ids and
    the matrix never change. Only the tables that change are written; until all is on disk, readers
    see DATASET as it was. `slaf history` lists the version before, which stays until the next run.
    """
    if not (obs or var or from_anndata or drop or labels or gene_ids or symbols):
        msg = "nothing to do: give --obs, --var, --from, --labels, --gene-ids, --symbols or --drop"
        raise typer.BadParameter(msg)
    of_labels = (strip_prefix, strip_suffix, control, control_alias)
    if labels is None and any(of_labels):
        msg = "--strip-prefix, --strip-suffix, --control and --control-alias need --labels"
        raise typer.BadParameter(msg)
    if (labels and obs) or ((gene_ids or symbols) and var):
        msg = "give --labels without --obs, --gene-ids and --symbols without --var: call it twice"
        raise typer.BadParameter(msg)
    import slaf

    more: dict[str, Any] = {"obs": obs, "var": var}
    if labels or gene_ids or symbols:
        with slaf.open(dataset, storage_options=chosen.get("storage_options")) as opened:
            if labels:
                column = opened.obs_columns([labels])[labels]
                made = slaf.standard_labels(
                    column,
                    strip_prefix=strip_prefix or (),
                    strip_suffix=strip_suffix or (),
                    control=control,
                    aliases=control_alias or (),
                )
                more["obs"] = {label_column: made.array}
                _print_changes(column, made)
            if gene_ids or symbols:
                more["var"] = dict(_of_genes(opened.var_names.to_list(), gene_ids, symbols))
    with Bar(shown=not quiet) as bar:
        annotated = slaf.annotate(
            dataset,
            **more,
            from_anndata=from_anndata,
            drop=drop or (),
            on=on,
            replace=replace,
            **chosen,
            progress=bar,
        )
    published = annotated.published
    if json:
        print_json(
            {
                "dataset": str(annotated.location),
                "version": published.version,
                "annotated": list(published.annotated_names),
            }
        )
        return
    names = ", ".join(published.annotated_names)
    version = f"{annotated.location}: version {published.version}"
    typer.echo(f"{version}, annotated: {names or 'nothing'}")


def _print_changes(before: pd.Series[Any], after: pd.Series[Any]) -> None:
    """Each label that changes, and what it becomes."""
    pairs = dict(zip(before.astype(str), after.astype(str), strict=True))
    changed = [f"{old} -> {new}" for old, new in pairs.items() if old != new]
    more = f"\nand {len(changed) - _SHOWN:,} more" if len(changed) > _SHOWN else ""
    listed = "".join(f"\n{one}" for one in changed[:_SHOWN])
    typer.echo(f"{len(changed):,} of {len(pairs):,} labels change{listed}{more}", err=True)


def _of_genes(
    ids: Sequence[str], gene_ids: str | None, symbols: Path | None
) -> Iterator[tuple[str, list[str | None]]]:
    """The columns of var with standard ids, and with symbols."""
    import slaf
    from slaf.conversion.annotation_input import read_table

    if gene_ids is not None:
        yield gene_ids, list(slaf.standard_gene_ids(ids))
    if symbols is not None:
        table = read_table(symbols)
        if not len(table.columns):
            msg = f"{symbols}: it has no second column with symbols"
            raise typer.BadParameter(msg, param_hint="--symbols")
        known = table.iloc[:, 0].dropna()
        found = slaf.gene_symbols(ids, dict(zip(known.index, known.astype(str), strict=True)))
        n_found = len(found) - found.count(None)
        typer.echo(f"{n_found:,} of {len(ids):,} genes have a symbol", err=True)
        yield "gene_symbol", found
