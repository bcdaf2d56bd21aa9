from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scvi_downstream.pipelines.preparation import genes
from scvi_downstream.pipelines.preparation.genes import (
    SPANS,
    find_highly_variable,
    mean_and_variance,
)


@pytest.mark.parametrize("n_top_genes", [100, 300, 5000])
@pytest.mark.parametrize("batch_key", ["batch", None])
def test_same_genes_and_ranks_as_scanpy(
    pbmc_counts: ad.AnnData, batch_key: str | None, n_top_genes: int
) -> None:
    import scanpy as sc

    batch = pbmc_counts.obs[batch_key] if batch_key else None
    found = find_highly_variable(pbmc_counts.X, pbmc_counts.var_names, batch, n_top_genes)
    expected = sc.pp.highly_variable_genes(
        ad.AnnData(pbmc_counts.X, obs=pbmc_counts.obs[["batch"]], var=pbmc_counts.var[[]]),
        flavor="seurat_v3",
        n_top_genes=min(n_top_genes, pbmc_counts.n_vars),
        batch_key=batch_key,
        inplace=False,
    )
    assert found.genes["highly_variable"].tolist() == expected["highly_variable"].tolist()
    np.testing.assert_array_equal(found.genes["highly_variable_rank"], expected["highly_variable_rank"])
    np.testing.assert_allclose(found.genes["variances_norm"], expected["variances_norm"], rtol=1e-6)
    assert found.warnings == ()
    assert "span" not in found.method


def test_mean_and_variance_are_those_of_numpy(raw: ad.AnnData) -> None:
    computed = mean_and_variance(raw.X)
    dense = raw.X.toarray().astype(np.float64)
    np.testing.assert_allclose(computed["means"], dense.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(computed["variances"], dense.var(axis=0, ddof=1), rtol=1e-5)


def test_genes_planted_as_variable_are_found() -> None:
    random = np.random.default_rng(3)
    means = random.gamma(2, 2, size=400) + 0.5
    values = random.poisson(means, size=(300, 400))
    planted = np.arange(0, 400, 20)
    values[:, planted] = random.negative_binomial(0.5, 0.5 / (0.5 + means[planted]), size=(300, 20))
    batch = pd.Series(np.repeat(["a", "b"], 150))
    found = find_highly_variable(
        sparse.csr_matrix(values.astype(np.float32)), pd.RangeIndex(400).astype(str), batch, 20
    )
    assert set(np.flatnonzero(found.genes["highly_variable"])) == set(planted)


def fail_for(monkeypatch: pytest.MonkeyPatch, fails: object) -> None:
    original = genes.normalized_variances
    monkeypatch.setattr(
        genes,
        "normalized_variances",
        lambda counts, batch, span: None if fails(counts, span) else original(counts, batch, span),  # type: ignore[operator]
    )


def test_wider_span_where_the_fit_fails(pbmc_counts: ad.AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_for(monkeypatch, lambda counts, span: counts.shape[0] > 90 and span < SPANS[1])
    found = find_highly_variable(pbmc_counts.X, pbmc_counts.var_names, pbmc_counts.obs["batch"], 100)
    assert "loess span 0.3 (5 of 8 fits), 0.5 (3 of 8 fits)" in found.method
    assert found.genes["highly_variable"].sum() == 100
    assert found.warnings == ()


def test_batches_of_few_cells_are_left_out_and_named(pbmc_counts: ad.AnnData) -> None:
    batch = pd.Series(["tiny"] + ["large"] * 699)
    found = find_highly_variable(pbmc_counts.X, pbmc_counts.var_names, batch, 100)
    alone = find_highly_variable(pbmc_counts.X[1:], pbmc_counts.var_names, batch[1:], 100)
    assert "batch 'tiny'" in found.warnings[0]
    assert "without 1 batch" in found.method
    assert found.genes["highly_variable"].tolist() == alone.genes["highly_variable"].tolist()


def test_all_cells_together_where_no_batch_can_be_fitted(
    pbmc_counts: ad.AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = find_highly_variable(pbmc_counts.X, pbmc_counts.var_names, None, 100)
    fail_for(monkeypatch, lambda counts, span: counts.shape[0] < 700)
    found = find_highly_variable(pbmc_counts.X, pbmc_counts.var_names, pbmc_counts.obs["batch"], 100)
    pd.testing.assert_frame_equal(found.genes, together.genes)
    assert "over all cells together because no batch alone could be fitted" in found.method


def test_variance_over_mean_as_last_resort(pbmc_counts: ad.AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_for(monkeypatch, lambda counts, span: True)
    found = find_highly_variable(pbmc_counts.X, pbmc_counts.var_names, pbmc_counts.obs["batch"], 100)
    ratio = found.genes["variances"] / found.genes["means"]
    assert set(ratio.nlargest(100).index) == set(found.genes.index[found.genes["highly_variable"]])
    assert found.genes["variances_norm"].isna().all()
    assert "variance over mean" in found.method
    assert found.warnings


def test_hardly_any_cells_and_genes_do_not_crash() -> None:
    values = np.random.default_rng(0).poisson(1, size=(6, 10)) + 1
    found = find_highly_variable(
        sparse.csr_matrix(values.astype(np.float32)),
        pd.RangeIndex(10).astype(str),
        pd.Series(["a"] * 3 + ["b"] * 3),
        4,
    )
    assert found.genes["highly_variable"].sum() == 4
