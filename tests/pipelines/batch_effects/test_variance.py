"""Shares of variance and F tests of genes: those of statsmodels, nothing without effect, and what was planted."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scvi_downstream.pipelines.batch_effects.variance import (
    GENE_COLUMNS,
    factors,
    moments,
    nested_f,
    partition,
    rank_genes,
    shares,
)


def share_of(values, design, seed=0):
    return partition(values, design, seed=seed).set_index("source")


def test_r2_is_that_of_least_squares(simulate):
    points, design = simulate(200, batch_shift=2.0, skewed=True)
    model = factors(design)
    dense = model.columns.toarray()

    def adjusted(columns):
        x = dense[:, columns]
        fitted = x @ np.linalg.lstsq(x, points.astype(float), rcond=None)[0]
        r2 = 1 - np.square(points - fitted).sum() / np.square(points - points.mean(axis=0)).sum()
        return 1 - (1 - r2) * 199 / (200 - np.linalg.matrix_rank(x))

    batch, biology, both = map(adjusted, (model.with_batch, model.with_biology, model.with_both))
    expected = [both - biology, both - batch, batch + biology - both, 1 - both]
    found = shares(moments(model.columns, points), model, together=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    in_sparse = shares(moments(model.columns, sparse.csr_matrix(points)), model, together=True)
    np.testing.assert_allclose(in_sparse, found, atol=1e-9)
    assert found.sum() == pytest.approx(1)


def test_factors_without_effect_have_no_share_in_the_mean(simulate):
    found = np.array(
        [
            share_of(np.random.default_rng(seed).normal(size=(60, 4)), simulate(60, seed=seed)[1])["share"]
            for seed in range(40)
        ]
    )
    np.testing.assert_allclose(found.mean(axis=0), [0, 0, 0, 1], atol=0.012)


def test_planted_shares_are_found_and_overlap_is_shared(design_of):
    rng = np.random.default_rng(0)
    batches, labels = rng.integers(2, size=4000), rng.integers(2, size=4000)
    values = np.column_stack([2 * batches + 4 * labels + rng.normal(size=4000), rng.normal(size=4000)])
    apart = share_of(values, design_of(batches, labels))
    # variances 1, 4, 1 and 1: a seventh is batch, four sevenths label
    np.testing.assert_allclose(apart["share"], [1 / 7, 4 / 7, 0, 2 / 7], atol=0.02)
    assert (apart["low"] < apart["share"]).all()
    assert (apart["share"] < apart["high"]).all()
    confounded = share_of(values, design_of(labels, labels))
    np.testing.assert_allclose(confounded["share"][["batch", "biology"]], 0, atol=1e-9)
    assert confounded["share"]["shared"] > 0.5


def test_without_biology_the_batch_has_the_rest(design_of):
    rng = np.random.default_rng(0)
    batches = rng.integers(2, size=500)
    table = share_of(rng.normal(size=(500, 2)) + 2 * batches[:, None], design_of(batches))
    assert table["share"]["batch"] == pytest.approx(0.5, abs=0.05)
    assert table.loc[["biology", "shared"], "share"].isna().all()


def test_cells_of_unknown_biology_are_left_out(simulate):
    from dataclasses import replace

    points, design = simulate(120, batch_shift=2.0)
    known = np.arange(120) < 90
    beside = partition(points, replace(design, known=known), seed=0)
    alone = partition(points[:90], design.take(known), seed=0)
    assert beside.equals(alone)
    assert set(beside["n_cells"]) == {90}


@pytest.mark.slow
def test_intervals_cover_the_truth(design_of):
    total = 1 / 4 + 4 * 2 / 3 + 1
    truth = np.array([1 / 4, 4 * 2 / 3]) / total
    covered = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        batches, labels = rng.integers(2, size=400), rng.integers(3, size=400)
        values = (batches + 2 * labels)[:, None] + rng.normal(size=(400, 3))
        table = share_of(values, design_of(batches, labels), seed).loc[["batch", "biology"]]
        covered.append((table["low"] < truth) & (table["high"] > truth))
    assert (np.mean(covered, axis=0) > 0.91).all()


def rank(values, design, corrected=None):
    genes = pd.Index([f"g{i}" for i in range(values.shape[1])])
    table = rank_genes(sparse.csr_matrix(values), corrected, genes, design)
    return table.set_index("gene").loc[genes]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_f_and_p_are_those_of_type_two_anova(design_of):
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    rng = np.random.default_rng(0)
    batches, labels = rng.integers(3, size=150), rng.integers(4, size=150)
    batches[labels == 0] = 1
    values = rng.gamma(1.0, size=(150, 5)) + 0.2 * batches[:, None] + labels[:, None]
    table = rank(values, design_of(batches, labels))
    for gene, observed in zip(table.index, values.T, strict=True):
        frame = pd.DataFrame({"y": observed, "batch": batches, "label": labels})
        anova = anova_lm(ols("y ~ C(batch) + C(label)", frame).fit(), typ=2)
        assert table.loc[gene, "batch_f"] == pytest.approx(anova.loc["C(batch)", "F"], rel=1e-8)
        assert table.loc[gene, "batch_p"] == pytest.approx(anova.loc["C(batch)", "PR(>F)"], rel=1e-8)


def test_p_values_are_uniform_and_planted_genes_come_first(simulate):
    from scipy.stats import kstest

    _, design = simulate(200, skewed=True)
    rng = np.random.default_rng(1)
    labels = design.labels.astype("category").cat.codes.to_numpy()
    batches = design.batches.astype("category").cat.codes.to_numpy()
    values = rng.normal(size=(200, 800)) + labels[:, None]
    values[:, :8] += 1.5 * batches[:, None]
    table = rank(values, design)
    assert kstest(table["batch_p"].iloc[8:], "uniform").pvalue > 0.01
    assert (table["batch_p_adjusted"].iloc[:8] < 0.05).all()
    assert (table["batch_p_adjusted"].iloc[8:] < 0.05).mean() < 0.02
    assert table["batch_variance"].iloc[8:].mean() == pytest.approx(0, abs=2e-3)
    assert set(table["batch_unit"]) == {"cell"}
    first = rank_genes(sparse.csr_matrix(values), None, table.index, design)
    assert set(first["gene"].head(8)) == {f"g{i}" for i in range(8)}
    assert list(first.columns) == list(GENE_COLUMNS)
    assert first["batch_variance"].is_monotonic_decreasing


def test_samples_are_the_replicates_where_a_batch_has_several(design_of):
    from scipy.stats import f_oneway, kstest

    rng = np.random.default_rng(2)
    samples = np.repeat(np.arange(8), 40)
    batches, labels = samples % 2, rng.integers(2, size=320)
    of_sample = rng.normal(size=(8, 500))
    values = of_sample[samples] + 2 * labels[:, None] + rng.normal(size=(320, 500))
    design = design_of(batches, labels, samples)
    table = rank(values, design)
    assert set(table["batch_unit"]) == {"sample"}
    assert kstest(table["batch_p"], "uniform").pvalue > 0.01
    on_cells = rank(values, design_of(batches, labels))
    assert (on_cells["batch_p"] < 0.05).mean() > 0.4, "cells of a sample are no replicates"

    plain = rng.normal(size=(320, 3)) + of_sample[samples, :3]
    one_label = rank(plain, design_of(batches, np.zeros(320, dtype=int), samples))
    means = pd.DataFrame(plain).groupby(samples).mean().to_numpy()
    expected = f_oneway(means[::2], means[1::2])
    np.testing.assert_allclose(one_label["batch_p"], expected.pvalue, rtol=1e-8)


def test_samples_that_are_batches_or_cross_them_leave_cells(design_of):
    values = np.random.default_rng(0).normal(size=(80, 2))
    batches, labels = np.arange(80) % 2, np.arange(80) // 2 % 2
    for samples in (batches, np.arange(80) % 3):
        assert set(rank(values, design_of(batches, labels, samples))["batch_unit"]) == {"cell"}


def test_a_constant_gene_and_confounded_batches_have_no_test(design_of):
    values = np.random.default_rng(0).normal(size=(60, 2))
    values[:, 1] = 0
    batches = np.arange(60) % 2
    table = rank(values, design_of(batches, np.arange(60) // 2 % 2), corrected=values.astype(np.float32))
    assert np.isfinite(
        table.loc["g0", ["batch_variance", "batch_p", "batch_variance_corrected"]].astype(float)
    ).all()
    assert table.loc["g1", ["batch_variance", "batch_p", "batch_variance_corrected"]].isna().all()
    assert rank(values, design_of(batches, batches))["batch_p"].isna().all()
    model = factors(design_of(batches, batches))
    assert np.isnan(nested_f(moments(model.columns, values), model.with_biology, model.with_both)[0]).all()


@pytest.mark.parametrize("per_cell", [1, 2])
def test_the_condition_costs_degrees_of_freedom_on_samples(design_of, per_cell):
    from dataclasses import replace

    n_batches = 3 if per_cell == 1 else 2
    n_samples = n_batches * 2 * per_cell
    rng = np.random.default_rng(per_cell)
    samples = np.repeat(np.arange(n_samples), 30)
    batches, condition = samples % n_batches, samples // n_batches % 2
    labels = rng.integers(2, size=len(samples))
    values = rng.normal(size=(n_samples, 3000))[samples] + rng.normal(size=(len(samples), 3000))
    values += 2 * condition[:, None] + 3 * labels[:, None]
    design = design_of(batches, labels, samples)
    biology = design.biology + pd.Series(condition.astype(str), index=design.cells)
    table = rank(values, replace(design, biology=biology))
    assert set(table["batch_unit"]) == {"sample"}
    assert (table["batch_p"] < 0.05).mean() == pytest.approx(0.05, abs=0.015)


def test_without_samples_left_there_is_no_test(design_of):
    samples = np.repeat(np.arange(3), 20)
    values = np.random.default_rng(0).normal(size=(60, 2))
    table = rank(values, design_of(np.minimum(samples, 1), (samples > 1).astype(int), samples))
    assert set(table["batch_unit"]) == {"sample"}
    assert table["batch_p"].isna().all()
