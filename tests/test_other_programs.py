"""The page on scikit-allel and crispyx has a row for each of their functions."""

from __future__ import annotations

import re

import pytest

from tests.pages import ROOT

ALLEL = (
    *("store", "copy", "copy_table", "map_blocks", "reduce_axis", "amax", "amin", "asum"),
    *("count_nonzero", "compress", "take", "compress_table", "take_table", "subset"),
    *("concatenate_table", "concatenate", "binary_op", "eval_table", "ChunkedArrayWrapper"),
    *("ChunkedTableWrapper", "map_blocks_method", "eval", "query", "get_storage", "HDF5Storage"),
    *("HDF5MemStorage", "HDF5TmpStorage", "ZarrStorage", "ZarrMemStorage", "ZarrTmpStorage"),
)
CRISPYX = (
    *("is_dense_storage", "get_matrix_storage_format", "AnnData", "read_backed", "write_obs"),
    *("write_obsm_to_h5ad", "write_varm_to_h5ad", "write_uns_dict_to_h5ad", "write_var"),
    *("write_obsp_to_h5ad", "write_varp_to_h5ad", "resolve_data_path", "accepts_in_memory"),
    *("resolve_output_path", "read_h5ad_ondisk", "validate_format_mismatch_policy"),
    *("resolve_auto_format_mismatch_policy", "scratch_copy_bytes", "stream_on_fast_axis"),
    *("iter_matrix_chunks", "chunk_starts", "concat_h5ad", "convert_to_csc", "convert_to_csr"),
    *("compress_h5ad", "calculate_optimal_chunk_size", "calculate_optimal_gene_chunk_size"),
    *("calculate_wilcoxon_chunk_size", "calculate_nb_glm_chunk_size", "calculate_pca_chunk_size"),
    *("h5ad_data_bytes", "get_perturbation_slice", "load_obs", "load_var", "compute_overlap"),
    *("normalize_total_log1p", "normalize_total_block", "write_filtered_subset"),
    *("calculate_adaptive_qc_thresholds", "sort_by_perturbation", "needs_sorting_for_nbglm"),
    *("downsample_counts", "standardize_dataset", "standardise_gene_names"),
    *("normalise_perturbation_labels", "resolve_control_label", "detect_perturbation_column"),
    *("detect_gene_symbol_column", "ensure_gene_symbol_column", "infer_columns"),
    "OverlapResult",
)


@pytest.mark.parametrize("name", [*ALLEL, *CRISPYX])
def test_a_function_has_a_row(name: str) -> None:
    """The first column of the tables names each function."""
    page = (ROOT / "docs" / "reference" / "allel-crispyx.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("|")]
    assert any(re.search(rf"`{name}`", row) for row in rows)
