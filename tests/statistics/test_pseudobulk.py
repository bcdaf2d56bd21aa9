import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse, stats

from scvi_downstream.statistics.designs import SampleColumn
from scvi_downstream.statistics.pseudobulk import expressed_genes, log_cpm, sum_counts, test_sums, tmm_factors

test_sums.__test__ = False  # a test of statistics, not of pytest


def test_sums_are_those_of_pandas_and_small_samples_are_left_out():
    rng = np.random.default_rng(0)
    counts = rng.poisson(1, (60, 7))
    units = pd.Series(np.repeat(["a", "b", "c"], [30, 27, 3]))
    cells = rng.random(60) < 0.8
    genes = pd.Index([f"g{i}" for i in range(7)])
    sums = sum_counts(AnnData(sparse.csr_matrix(counts), var=pd.DataFrame(index=genes)), units, cells, 5)
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
    changes = np.diff(
        [log_cpm(sums, effective)[part].mean(axis=0) for part in (slice(3), slice(3, 6))], axis=0
    )[0]
    assert abs(np.median(changes[50:])) < 0.03
    np.testing.assert_allclose(np.median(changes[:50]), np.log2(20), atol=0.2)


def test_log_cpm_is_log2_of_the_rate_for_large_counts():
    sums = np.array([[1e6, 3e6], [2e6, 6e6]])
    np.testing.assert_allclose(log_cpm(sums, sums.sum(axis=1)), np.log2([[0.25e6, 0.75e6]] * 2), atol=1e-4)


def test_genes_need_counts_in_as_many_sums_as_the_smallest_category_has():
    sums = np.array([[20, 0, 4, 976], [20, 0, 4, 976], [0, 20, 4, 976], [0, 0, 4, 996]])
    assert expressed_genes(sums, 2).tolist() == [True, False, False, True]
    assert expressed_genes(sums, 1).tolist() == [True, True, False, True]


def _sums(rng, n_samples, ratio, effect=0.0, donor=0.2):
    """Sums of two conditions within donors, unequal, some ``ratio`` times larger; 100 genes change."""
    mean = rng.lognormal(1.5, 1.2, 1000)
    size = np.exp(rng.normal(0, 0.5, (n_samples, 1))) * np.where(rng.random((n_samples, 1)) < 0.5, ratio, 1)
    of_donor = np.repeat(rng.normal(0, donor, (n_samples // 2, 1000)), 2, axis=0)
    change = np.zeros((n_samples, 1000))
    change[1::2, :100] = effect * np.where(np.arange(100) % 2, 1, -1)
    dispersion = 0.1 + 1 / rng.chisquare(10, 1000)
    rates = (
        rng.gamma(1 / dispersion, dispersion, (n_samples, 1000)) * mean * size * np.exp(of_donor) * 2**change
    )
    names = [f"s{i}" for i in range(n_samples)]
    return pd.DataFrame(rng.poisson(rates), index=names, columns=[f"g{i}" for i in range(1000)]).astype(float)


def _column(sums, *, paired):
    n_samples = len(sums)
    values = pd.Series(pd.Categorical(["a", "b"] * (n_samples // 2)), index=sums.index)
    blocks = (
        pd.Series(np.repeat([f"d{i}" for i in range(n_samples // 2)], 2), index=sums.index)
        if paired
        else None
    )
    return SampleColumn("x", "sample", values, pd.Series(dtype=object), blocks, 5, 2)


@pytest.mark.thorough
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("ratio", [1, 10])
def test_null_p_values_are_uniform_even_with_unequal_sums(ratio, paired):
    rng = np.random.default_rng(ratio)
    tables = []
    for _ in range(8):
        sums = _sums(rng, 12, ratio, donor=0.2 if paired else 0.0)
        tables.append(test_sums(sums, _column(sums, paired=paired))["b vs a"])
    found = np.concatenate([table["p"] for table in tables])
    assert 0.035 < (found < 0.05).mean() < 0.06
    assert (found < 1e-3).mean() < 3e-3
    assert stats.kstest(found, "uniform").statistic < 0.03
    assert sum((table["p_adjusted"] < 0.05).sum() for table in tables) <= 8


@pytest.mark.thorough
def test_planted_effects_are_found_with_their_size_and_sign_and_more_of_them_by_precision():
    rng = np.random.default_rng(0)
    sums = _sums(rng, 12, 10, effect=1.5)
    table = test_sums(sums, _column(sums, paired=True))["b vs a"].set_index("gene")
    planted = table.index.intersection(sums.columns[:100])
    called = table["p_adjusted"] < 0.05
    assert called[planted].mean() > 0.45
    assert called.drop(planted).sum() <= 0.1 * called.sum()
    rising = planted[(sums.columns.get_indexer(planted) % 2) == 1]
    np.testing.assert_allclose(table.loc[rising, "effect"].median(), 1.5, atol=0.2)
    np.testing.assert_allclose(table.loc[planted.difference(rising), "effect"].median(), -1.5, atol=0.2)
    assert (table["error"] > 0).all()
    assert set(table["n_samples1"]) == set(table["n_samples2"]) == {6}


def test_nothing_is_tested_without_samples_or_counts_enough():
    sums = _sums(np.random.default_rng(0), 12, 1)
    assert test_sums(sums.iloc[:3], _column(sums, paired=True)) == {}
    assert test_sums(sums.iloc[:, :5], _column(sums, paired=True)) == {}
