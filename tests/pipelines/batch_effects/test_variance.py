"""Shares of variance: those of statsmodels, 0 without effect, the planted ones with their interval."""

import numpy as np
import pytest
from scipy import sparse

from scvi_downstream.pipelines.batch_effects.variance import factors, moments, partition, shares


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
