import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.statistics.pseudobulk import expressed_genes, log_cpm, sum_counts, tmm_factors


def test_sums_are_those_of_pandas_and_small_samples_are_left_out():
    rng = np.random.default_rng(0)
    counts = rng.poisson(1, (60, 7))
    units = pd.Series(np.repeat(["a", "b", "c"], [30, 27, 3]))
    cells = rng.random(60) < 0.8
    genes = pd.Index([f"g{i}" for i in range(7)])
    sums = sum_counts(sparse.csr_matrix(counts), genes, units, cells, 5)
    expected = pd.DataFrame(counts, columns=genes)[cells].groupby(units[cells]).sum().loc[["a", "b"]]
    np.testing.assert_array_equal(sums.to_numpy(), expected.to_numpy())
    assert list(sums.index) == ["a", "b"]


def test_depth_alone_needs_no_factor():
    counts = np.random.default_rng(1).poisson(50, 500)
    np.testing.assert_allclose(tmm_factors(np.stack([counts, 3 * counts, 10 * counts])), 1, atol=1e-9)


def test_a_few_genes_that_take_up_much_are_accounted_for():
    rng = np.random.default_rng(2)
    mean = rng.lognormal(4, 1, 1000)
    sums = rng.poisson(np.tile(mean, (6, 1))).astype(float)
    sums[3:, :50] *= 20
    effective = sums.sum(axis=1) * tmm_factors(sums)
    np.testing.assert_allclose(effective[3:].mean() / effective[:3].mean(), 1, atol=0.02)
    changes = log_cpm(sums)[3:].mean(axis=0) - log_cpm(sums)[:3].mean(axis=0)
    assert abs(np.median(changes[50:])) < 0.03
    np.testing.assert_allclose(np.median(changes[:50]), np.log2(20), atol=0.2)


def test_log_cpm_is_log2_of_the_rate_for_large_counts():
    sums = np.array([[1e6, 3e6], [2e6, 6e6]])
    np.testing.assert_allclose(log_cpm(sums), np.log2([[0.25e6, 0.75e6]] * 2), atol=1e-4)


def test_genes_need_counts_in_as_many_sums_as_the_smallest_category_has():
    sums = np.array([[20, 0, 4, 976], [20, 0, 4, 976], [0, 20, 4, 976], [0, 0, 4, 996]])
    assert expressed_genes(sums, 2).tolist() == [True, False, False, True]
    assert expressed_genes(sums, 1).tolist() == [True, True, False, True]
