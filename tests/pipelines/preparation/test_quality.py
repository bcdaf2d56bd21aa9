from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.preparation.nodes import choose_cells_and_genes, measure_quality
from scvi_downstream.pipelines.preparation.options import CellFilters
from scvi_downstream.runtime.errors import InputError

PREFIXES = ("MT-", "mt-")


def test_metrics_are_those_of_scanpy(raw: ad.AnnData) -> None:
    import scanpy as sc

    quality = measure_quality(raw.X, raw.obs_names, raw.var_names, PREFIXES)
    raw.var["mt"] = raw.var_names.str.startswith("MT-")
    expected, _ = sc.pp.calculate_qc_metrics(raw, qc_vars=["mt"], percent_top=None, log1p=False)
    np.testing.assert_array_equal(quality["n_counts"], expected["total_counts"])
    np.testing.assert_array_equal(quality["n_genes"], expected["n_genes_by_counts"])
    np.testing.assert_allclose(quality["mitochondrial_percent"], expected["pct_counts_mt"], rtol=1e-5)


def test_no_mitochondrial_gene_is_no_zero_percent(raw: ad.AnnData) -> None:
    quality = measure_quality(raw.X, raw.obs_names, pd.Index([f"g{i}" for i in range(60)]), PREFIXES)
    assert quality["mitochondrial_percent"].isna().all()
    with pytest.raises(InputError, match="max_mitochondrial_percent is set, but no gene symbol begins with"):
        choose_cells_and_genes(raw.X, quality, CellFilters(max_mitochondrial_percent=5))


def test_mitochondrial_filter(raw: ad.AnnData) -> None:
    quality = measure_quality(raw.X, raw.obs_names, raw.var_names, PREFIXES)
    limit = float(quality["mitochondrial_percent"].median())
    kept = choose_cells_and_genes(raw.X, quality, CellFilters(max_mitochondrial_percent=limit))
    np.testing.assert_array_equal(kept.cells, quality["mitochondrial_percent"] <= limit)
    assert kept.filters["max_mitochondrial_percent"]["removed"] == kept.dropped["filtered_cells"]


def test_both_ends_of_a_filter_are_kept(raw: ad.AnnData) -> None:
    quality = measure_quality(raw.X, raw.obs_names, raw.var_names, PREFIXES)
    low, high = int(quality["n_genes"].min()), int(quality["n_genes"].max())
    kept = choose_cells_and_genes(raw.X, quality, CellFilters(min_genes=low, max_genes=high))
    assert kept.cells.all()


def test_cells_left_without_counts_by_the_gene_filter_are_dropped() -> None:
    from scipy import sparse

    counts = sparse.csr_matrix(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 5]], dtype=np.float32))
    quality = measure_quality(counts, pd.Index(list("abc")), pd.Index(["x", "y", "z"]), PREFIXES)
    kept = choose_cells_and_genes(counts, quality, CellFilters(min_cells_per_gene=2))
    assert kept.cells.tolist() == [True, True, False]
    assert kept.genes.tolist() == [True, True, False]
    assert kept.dropped["emptied_cells"] == 1
