from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scvi_downstream.cells.expression import symbols_of
from scvi_downstream.pipelines.preparation import genes
from scvi_downstream.pipelines.preparation.genes import (
    G2M_GENES,
    RENAMED,
    S_GENES,
    SPANS,
    find_genes,
    find_highly_variable,
    find_symbols,
    mean_and_variance,
    score_cell_cycle,
    with_symbols,
)
from scvi_downstream.runtime.errors import InputError

IDENTIFIERS = ["ENSG00000198888", "ENSG00000198763.3", "ENSMUSG00000064341"]


def test_names_that_are_symbols_need_no_column() -> None:
    var = pd.DataFrame({"gene_name": ["x", "y"]}, index=["CD3E", "MS4A1"])
    assert find_symbols(var, None) is None
    assert symbols_of(with_symbols(var, None)).tolist() == ["CD3E", "MS4A1"]


@pytest.mark.parametrize("column", ["symbol", "gene_symbols", "Gene_Name", "feature_name", "gene_short_name"])
def test_a_column_of_symbols_is_found_beside_identifiers(column: str) -> None:
    var = pd.DataFrame({"chromosome": "MT", column: ["MT-ND1", None, "mt-Nd1"]}, index=IDENTIFIERS)
    symbols = find_symbols(var, None)
    assert symbols is not None
    assert symbols.tolist() == ["MT-ND1", "ENSG00000198763.3", "mt-Nd1"]


def test_worm_identifiers_are_known() -> None:
    var = pd.DataFrame({"gene_short_name": ["hlh-16"]}, index=["WBGene00001960"])
    assert with_symbols(var, None)["symbol"].tolist() == ["hlh-16"]


def test_named_column_wins_and_must_exist() -> None:
    var = pd.DataFrame({"mine": ["a", "b"]}, index=["CD3E", "MS4A1"])
    assert symbols_of(with_symbols(var, "mine")).tolist() == ["a", "b"]
    with pytest.raises(
        InputError, match=r"preparation\.gene_symbols 'mne' is not a column of var; the closest is 'mine'"
    ):
        find_symbols(var, "mne")


@pytest.mark.thorough
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


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32 - 1), n_cells=st.integers(2, 40), clip=st.booleans(), chunk=st.integers(1, 200)
)
@settings(deadline=None)
def test_moments_are_those_of_dense_counts(seed: int, n_cells: int, clip: bool, chunk: int) -> None:
    random = np.random.default_rng(seed)
    dense = random.poisson(1.0, size=(n_cells, 12)).astype(np.float32)
    highest = random.uniform(0, 3, size=12) if clip else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(genes, "CHUNK_VALUES", chunk)
        found = genes._moments(sparse.csr_matrix(dense), highest)
    clipped = dense.astype(np.float64) if highest is None else np.minimum(dense.astype(np.float64), highest)
    np.testing.assert_allclose(found, [clipped.sum(axis=0), np.square(clipped).sum(axis=0)], rtol=1e-12)


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


N_CELLS = 90
PHASES = np.repeat(["G1", "S", "G2M"], N_CELLS // 3)


def _cells(genes: list[str]) -> ad.AnnData:
    random = np.random.default_rng(0)
    means = np.full((N_CELLS, len(genes)), 1.0)
    for phase, cycling in (("S", S_GENES), ("G2M", G2M_GENES)):
        inside = np.isin([gene.upper() for gene in genes], [*cycling, *RENAMED.values()])
        means[np.ix_(phase == PHASES, inside)] = 4.0
    counts = random.poisson(means)
    cells = pd.DataFrame(index=[f"cell{i}" for i in range(N_CELLS)])
    return ad.AnnData(sparse.csr_matrix(counts, dtype=np.float32), obs=cells, var=pd.DataFrame(index=genes))


BACKGROUND = [f"GENE{i}" for i in range(300)]


def test_the_lists_are_complete() -> None:
    assert (len(set(S_GENES)), len(set(G2M_GENES))) == (43, 54)
    assert not set(S_GENES) & set(G2M_GENES)


@pytest.mark.slow
def test_scores_are_those_of_scanpy_and_find_the_phases() -> None:
    import scanpy as sc

    counts = _cells([*S_GENES[:20], *G2M_GENES[:25], *BACKGROUND])
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    scores = score_cell_cycle(counts, seed=3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert scores["phase"].cat.categories.tolist() == ["G1", "S", "G2M"]
    cycling = PHASES != "G1"
    assert (scores["phase"].astype(str).to_numpy() == PHASES)[cycling].all()
    expected = counts.copy()
    sc.pp.normalize_total(expected, target_sum=1e4)
    sc.pp.log1p(expected)
    sc.tl.score_genes_cell_cycle(
        expected, s_genes=list(S_GENES[:20]), g2m_genes=list(G2M_GENES[:25]), random_state=3
    )
    np.testing.assert_allclose(scores["S_score"], expected.obs["S_score"], atol=1e-5)
    np.testing.assert_allclose(scores["G2M_score"], expected.obs["G2M_score"], atol=1e-5)
    pd.testing.assert_frame_equal(scores, score_cell_cycle(counts, seed=3))


@pytest.mark.slow
def test_symbols_of_mouse_and_beside_identifiers_are_found() -> None:
    mouse = [name.title() for name in [*S_GENES[:12], *G2M_GENES[:12]]]
    human = score_cell_cycle(_cells([*S_GENES[:12], *G2M_GENES[:12], *BACKGROUND]), 0)
    counts = _cells([*mouse, *BACKGROUND])
    pd.testing.assert_frame_equal(score_cell_cycle(counts, 0), human)
    counts.var["symbol"] = counts.var_names.to_numpy()
    counts.var_names = [f"ENSMUSG{i:011d}" for i in range(counts.n_vars)]
    assert score_cell_cycle(counts, 0)["phase"].notna().all()


def test_renamed_genes_are_found_once() -> None:
    var = pd.DataFrame(index=["CENPU", "JPT1", "HN1", "PIMREG", "PCNA", "pcna"])
    assert find_genes(var, S_GENES).tolist() == [4, 0]
    assert find_genes(var, G2M_GENES).tolist() == [3, 2]


@pytest.mark.parametrize(
    ("genes", "obs", "said"),
    [
        ([*S_GENES[:9], *G2M_GENES], {}, "9 of 43 S genes and 54 of 54 G2/M genes found"),
        ([*S_GENES, *G2M_GENES], {"G2M_score": 0.0, "phase": "G1"}, "G2M_score, phase of obs used"),
    ],
)
def test_nothing_is_computed_without_genes_or_when_it_is_there(
    genes: list[str], obs: dict[str, object], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    counts = _cells([*genes, *BACKGROUND])
    counts.obs = counts.obs.assign(**obs)
    with caplog.at_level(logging.INFO):
        scores = score_cell_cycle(counts, 0)
    assert scores.shape == (N_CELLS, 0)
    assert scores.index.equals(counts.obs_names)
    assert said in caplog.text
