"""Layouts of the tools that write matrices: which matrix of a folder stands for a sample.

Data only: a new tool is a new `Layout`. Names are regular expressions of whole names of children.
Where no layout says which matrix is meant, `slaf.sources.search` asks.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LAYOUTS", "Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a tool writes into one folder.

    Attributes
    ----------
    tool
        The tool, for messages.
    takes
        The names that may stand for a sample, the best first; below a child where there is a
        slash. "." is the folder itself. A group `sample` in it tells samples of one folder apart.
    folder
        The name of the folder, if that matters.
    needs
        Further names that show that the tool wrote the folder: one of them is there. ``{sample}``
        stands for the group.
    leaves
        Names that are left out as soon as something is taken: by name, what they are.
    is_exclusive
        Whether nothing else in the folder is an input, whatever its name.
    asks
        Whether several matches of one name are several forms of the same sample; the user has to
        name one of them.
    """

    tool: str
    takes: tuple[str, ...]
    folder: str = ""
    needs: tuple[str, ...] = ()
    leaves: tuple[tuple[str, str], ...] = ()
    is_exclusive: bool = False
    asks: bool = False


def _tenx(kind: str) -> str:
    """A matrix of Cell Ranger by any sample's name: GSM1_filtered_feature_bc_matrix."""
    return rf"(?P<sample>.*?)(?:sample_)?{kind}"


def _combined(folders: tuple[str, ...], *below: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in below for folder in folders)


_TENX_RESULTS = ("feature_bc_matrix", "peak_bc_matrix", "feature_cell_matrix")
_FILTERED = (
    *(_tenx(f"filtered_{name}{suffix}") for name in _TENX_RESULTS for suffix in (r"\.h5", "")),
    _tenx(r"filtered_gene_bc_matrices(?:_h5)?\.h5"),
    _tenx("filtered_gene_bc_matrices"),
)
_RAW = tuple(name.replace("filtered_", "raw_") for name in _FILTERED)
_TENX_LEAVES = (
    (r"{sample}(?:sample_)?raw_.*", "raw droplets or spots"),
    (r"{sample}(?:sample_)?filtered_.*", "another form of the filtered matrix"),
    (r"{sample}(?:sample_)?(?:molecule_info|feature_slice)\.h5", "molecules, not a matrix"),
)
_GENES_OF_STAR = ("Gene", "GeneFull", "GeneFull_Ex50pAS", "GeneFull_ExonOverIntron")
_STAR_FEATURES = (*_GENES_OF_STAR, "Transcript3p", "Velocyto", "SJ")

LAYOUTS: tuple[Layout, ...] = (
    # https://www.10xgenomics.com/support/software/cell-ranger/latest/analysis/outputs/cr-outputs-overview
    Layout("Cell Ranger", ("outs",), is_exclusive=True),
    Layout("Cell Ranger multi", ("per_sample_outs",), is_exclusive=True),
    # https://www.10xgenomics.com/support/software/space-ranger/latest/analysis/outputs/output-overview
    Layout("Visium HD", ("binned_outputs",), is_exclusive=True),
    Layout("Visium HD", (r"square_\d+um",), asks=True),
    # The file and the folder hold the same, the file is faster.
    Layout("Cell Ranger", _FILTERED, leaves=_TENX_LEAVES, is_exclusive=True),
    Layout("Cell Ranger", _RAW, leaves=_TENX_LEAVES),
    # Before version 3 each genome had a folder. Several genomes are not several samples: their
    # cells are the same.
    Layout("Cell Ranger 2", (r".+",), folder=r".*(?:filtered|raw)_gene_bc_matrices", asks=True),
    Layout(
        "Xenium",
        (r"cell_feature_matrix\.h5", "cell_feature_matrix"),
        leaves=((r"cell_feature_matrix.*", "another form of the same matrix"),),
        is_exclusive=True,
    ),
    # https://github.com/alexdobin/STAR/blob/master/docs/STARsolo.md
    Layout(
        "STARsolo",
        _combined(_STAR_FEATURES, "filtered", "raw"),
        leaves=tuple((name, "other features of the same cells") for name in _STAR_FEATURES),
    ),
    Layout(
        "STARsolo",
        ("filtered", "raw"),
        folder="|".join(_STAR_FEATURES),
        leaves=(("raw", "raw droplets"),),
    ),
    # https://cellbender.readthedocs.io/en/latest/usage/index.html#outputs
    Layout(
        "CellBender",
        (r"(?P<sample>.+)_filtered\.h5",),
        needs=(r"{sample}\.h5", r"{sample}_posterior\.h5", r"{sample}_cell_barcodes\.csv"),
        leaves=(
            (r"{sample}\.h5", "all droplets"),
            (r"{sample}_posterior\.h5", "a posterior, not a matrix"),
        ),
    ),
    Layout(
        "CellBender",
        (r"(?P<sample>.+)\.h5",),
        needs=(r"{sample}_posterior\.h5", r"{sample}_cell_barcodes\.csv"),
        leaves=((r"{sample}_posterior\.h5", "a posterior, not a matrix"),),
    ),
    # https://www.kallistobus.tools/kb_usage/kb_count
    Layout(
        "kb",
        ("counts_filtered", "counts_unfiltered"),
        leaves=((r"counts_(?:un)?filtered.*", "other droplets of the same sample"),),
    ),
    Layout("kb", (r"adata\.h5ad", "."), folder=r"counts_(?:un)?filtered.*", is_exclusive=True),
    # https://alevin-fry.readthedocs.io/en/latest/quant.html
    Layout(
        "alevin-fry",
        (".",),
        needs=(r"quants_mat\.mtx(?:\.gz)?",),
        leaves=((r"quants\.h5ad", "another form of the same matrix"),),
        is_exclusive=True,
    ),
    # https://support.parsebiosciences.com: output of split-pipe; all-sample holds all samples
    Layout(
        "Parse split-pipe",
        _combined(("all-sample", "all-well"), "DGE_filtered", "DGE_unfiltered"),
        is_exclusive=True,
    ),
    Layout(
        "Parse split-pipe",
        ("DGE_filtered", "DGE_unfiltered"),
        leaves=((r"DGE_(?:un)?filtered", "other droplets of the same sample"),),
    ),
    Layout(
        "Parse split-pipe",
        (".", r"anndata\.h5ad"),
        folder=r"DGE_(?:un)?filtered",
        is_exclusive=True,
    ),
)
