"""Weighted correlations are numpy's on the drawn cells, and their intervals cover what they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scvi_downstream.statistics.correlation import (
    bootstrap_weights,
    correlation_with_interval,
    weighted_correlation,
)


@given(st.integers(4, 40), st.integers(0, 2**32 - 1))
def test_a_weight_is_how_often_a_cell_is_drawn(n_cells: int, seed: int) -> None:
    weights = bootstrap_weights(n_cells, 6, seed)
    assert weights.shape == (6, n_cells)
    assert (weights.sum(axis=1) == n_cells).all()
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, n_cells, 2))
    found = weighted_correlation(x, y, weights)
    for sample, row in zip(weights, found, strict=True):
        drawn = np.repeat(np.arange(n_cells), sample.astype(int))
        if len(np.unique(drawn)) > 2:
            expected = [np.corrcoef(x[drawn, column], y[drawn, column])[0, 1] for column in range(2)]
            np.testing.assert_allclose(row, expected, atol=1e-6)


def test_large_means_do_not_cost_precision() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 50, 1))
    ones = np.ones((1, 50))
    expected = stats.pearsonr(x[:, 0], y[:, 0]).statistic
    assert weighted_correlation(x + 1e8, y - 1e8, ones)[0, 0] == pytest.approx(expected, abs=1e-6)


def test_what_does_not_vary_is_correlated_with_nothing() -> None:
    y = np.random.default_rng(0).normal(size=(30, 2))
    x = np.column_stack([np.full(30, 0.1), y[:, 1]])
    weights = bootstrap_weights(30, 50, 0)
    point, lower, upper = correlation_with_interval(x, y, weights)
    assert np.isnan([point[0], lower[0], upper[0]]).all()
    np.testing.assert_allclose([point[1], lower[1], upper[1]], 1.0)


def test_intervals_cover_the_true_correlation() -> None:
    """300 columns of 60 cells with a correlation of 0.6: 95 % intervals cover it in about 95 %."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, 300))
    y = 0.6 * x + 0.8 * rng.normal(size=(60, 300))
    _, lower, upper = correlation_with_interval(x, y, bootstrap_weights(60, 400, 0))
    assert 0.88 < ((lower < 0.6) & (upper > 0.6)).mean() < 0.98
