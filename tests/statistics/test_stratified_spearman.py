import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from scvi_downstream.statistics.correlation import sparse_ranks, stratified_spearman


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=12))
def test_sparse_ranks_are_ranks(rows):
    dense = np.array(rows, dtype=float)
    shifts, squares, ties = sparse_ranks(sparse.csr_matrix(dense))
    ranks = stats.rankdata(dense, axis=0)
    zero_ranks = ((dense == 0).sum(axis=0) + 1) / 2
    np.testing.assert_allclose(shifts.toarray(), np.where(dense > 0, ranks - zero_ranks, 0))
    np.testing.assert_allclose(squares, ((ranks - ranks.mean(axis=0)) ** 2).sum(axis=0), atol=1e-9)
    sizes = [np.unique(column, return_counts=True)[1] for column in dense.T]
    np.testing.assert_array_equal(ties, [(size**3 - size).sum() for size in sizes])


def _counts(rng, n_cells=150, n_genes=30):
    return rng.poisson(0.8, (n_cells, n_genes)).astype(float)


def test_one_stratum_gives_spearman_of_scipy():
    rng = np.random.default_rng(0)
    counts = _counts(rng)
    covariates = pd.DataFrame({"number": rng.normal(size=150), "ties": rng.integers(0, 3, 150)})
    found = stratified_spearman(sparse.csr_matrix(counts), covariates, np.zeros(150, dtype=int))
    for name, table in found.items():
        reference = stats.spearmanr(np.column_stack([covariates[name], counts]))
        np.testing.assert_allclose(table["rho"], reference.statistic[0, 1:], rtol=1e-10)
        np.testing.assert_allclose(table["p"], reference.pvalue[0, 1:], atol=0.01)
        np.testing.assert_allclose(table["statistic"], table["rho"] * np.sqrt(149), rtol=1e-10)
        assert table["rho"].between(table["ci_lower"], table["ci_upper"]).all()


def test_the_p_value_is_that_of_permutations_within_strata():
    rng = np.random.default_rng(1)
    strata = np.repeat([0, 1, 2], [10, 25, 40])
    gene = rng.poisson(1 + strata)[:, None].astype(float)
    covariate = rng.normal(size=75) + strata + 0.25 * gene[:, 0]
    found = stratified_spearman(sparse.csr_matrix(gene), pd.DataFrame({"x": covariate}), strata)["x"].iloc[0]

    def centred(values):
        parts = [values[strata == code] for code in range(3)]
        return np.concatenate([(stats.rankdata(part) - (len(part) + 1) / 2) / len(part) for part in parts])

    fixed, moved = centred(gene[:, 0]), centred(covariate)
    np.testing.assert_allclose(found["rho"], fixed @ moved / np.sqrt((fixed @ fixed) * (moved @ moved)))
    permuted = [
        fixed @ np.concatenate([rng.permutation(moved[strata == code]) for code in range(3)])
        for _ in range(4000)
    ]
    np.testing.assert_allclose(found["statistic"], fixed @ moved / np.std(permuted), rtol=0.05)
    np.testing.assert_allclose(found["p"], np.mean(np.abs(permuted) >= fixed @ moved), atol=0.01)


def test_differences_between_samples_alone_give_uniform_p_values_and_planted_genes_lead():
    rng = np.random.default_rng(2)
    strata = np.repeat(np.arange(6), 60)
    counts = rng.poisson(np.exp(rng.normal(0, 0.7, (6, 400)))[strata]).astype(float)
    covariate = rng.normal(size=360) + 3 * strata
    within = covariate - 3 * strata
    counts[:, :5] += rng.poisson(np.exp(within))[:, None]
    found = stratified_spearman(sparse.csr_matrix(counts), pd.DataFrame({"x": covariate}), strata)["x"]
    assert stats.kstest(found["p"][5:], "uniform").pvalue > 0.01
    assert set(found["p"].nsmallest(5).index) == set(range(5))
    naive = stratified_spearman(
        sparse.csr_matrix(counts), pd.DataFrame({"x": covariate}), np.zeros(360, dtype=int)
    )
    assert (naive["x"]["p"][5:] < 0.05).mean() > 0.5


def test_strata_that_cannot_tell_do_not_count():
    rng = np.random.default_rng(3)
    strata = np.repeat(np.arange(10), 30)
    varies = strata == 0
    counts = rng.poisson(5, (300, 3)).astype(float)
    counts[varies, 0] = np.arange(30)
    counts[:, 2] *= varies
    covariates = pd.DataFrame({"one": np.where(varies, counts[:, 0], 4), "all": rng.normal(size=300)})
    found = stratified_spearman(sparse.csr_matrix(counts), covariates, strata)
    inside = stratified_spearman(sparse.csr_matrix(counts[varies]), covariates[varies], strata[varies])
    np.testing.assert_allclose(found["one"]["rho"].iloc[0], 1)
    pd.testing.assert_frame_equal(found["one"], inside["one"])
    pd.testing.assert_series_equal(found["all"].iloc[2], inside["all"].iloc[2])


def test_what_does_not_vary_has_no_p_value():
    found = stratified_spearman(
        sparse.csr_matrix(np.array([[0.0, 1], [0, 1], [0, 3], [0, 1]])),
        pd.DataFrame({"x": [1.0, 2, 3, 4], "constant": 1.0}),
        np.zeros(4, dtype=int),
    )
    assert found["x"]["p"].isna().tolist() == [True, False]
    assert found["constant"]["p"].isna().all()
