"""`slaf append`: add cells to a dataset."""

from __future__ import annotations

from slaf.options import AppendOptions
from slaf_cli import options
from slaf_cli.running import print_preview, watched

__all__ = ["append"]


@options.command(AppendOptions)
def append(
    inputs: options.Inputs,
    dataset: options.Dataset,
    chosen: options.Chosen,
    *,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Add the cells of inputs to a dataset.

    Genes are aligned by id. Until every cell is on disk, readers see DATASET as it was. An append
    that was stopped is finished by the same command.
    """
    import slaf

    if chosen.pop("dry_run"):
        print_preview(slaf.append(inputs, dataset, dry_run=True, **chosen), json=json)
        return
    with watched(dataset, chosen["storage_options"], quiet=quiet, json=json) as bar:
        slaf.append(inputs, dataset, dry_run=False, **chosen, progress=bar)
