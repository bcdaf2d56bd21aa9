from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, sparse, stats

from scvi_downstream.pipelines.predictive_checks.draws import (
    fit_dispersions,
    fit_rates,
    negative_binomial_draws,
    poisson_draws,
)


def test_planted_dispersions_are_found(overdispersed) -> None:
    known = overdispersed.reference.mean > 0.5
    ratio = np.log(overdispersed.fitted_theta / overdispersed.theta)[known]
    assert np.abs(np.median(ratio)) < 0.05
    assert np.quantile(np.abs(ratio), 0.9) < 0.35
    np.testing.assert_allclose(overdispersed.rates.shares[0], overdispersed.shares, rtol=0.5, atol=1e-4)


def test_dispersions_are_where_scipy_finds_the_maximum(overdispersed) -> None:
    fitted, rates = overdispersed.fitted, overdispersed.rates
    for gene in np.flatnonzero(overdispersed.reference.mean > 1)[:3]:
        observed = overdispersed.counts[fitted, gene].toarray().ravel()
        expected = rates.of(fitted)[:, gene]

        def loss(log_theta: float, observed=observed, expected=expected) -> float:
            theta = np.exp(log_theta)
            return -stats.nbinom.logpmf(observed, theta, theta / (theta + expected)).sum()

        best = optimize.minimize_scalar(loss, bounds=(-7, 9), method="bounded", options={"xatol": 1e-6}).x
        assert np.log(overdispersed.fitted_theta[gene]) == pytest.approx(best, abs=2e-3)


def test_poisson_counts_have_dispersions_without_effect(equidispersed) -> None:
    expressed = equidispersed.reference.mean > 1
    extra = equidispersed.reference.mean[expressed] / equidispersed.fitted_theta[expressed]
    assert np.median(extra) < 0.03


def test_batches_have_shares_of_their_own_and_none_is_zero() -> None:
    rng = np.random.default_rng(0)
    batch = np.repeat([0, 1], 300)
    mean = np.array([[2.0, 1.0, 7.0, 0.0], [4.0, 1.0, 5.0, 0.0]])
    counts = sparse.csr_matrix(rng.poisson(mean[batch]).astype(np.float32))
    fitted = np.flatnonzero(np.arange(600) % 10)
    rates = fit_rates(counts, batch, fitted)
    np.testing.assert_allclose(rates.shares[:, :3], mean[:, :3] / 10, rtol=0.15)
    assert (rates.shares[:, 3] > 0).all()
    assert rates.of(np.array([0, 599])).shape == (2, 4)
    assert np.isfinite(fit_dispersions(counts, rates, fitted)).all()


def test_draws_have_the_moments_of_their_law(overdispersed) -> None:
    cells = np.arange(5)
    mean = overdispersed.rates.of(cells)
    theta = np.full(200, 2.0)
    counts = negative_binomial_draws(overdispersed.rates, theta, 4000, 0)(cells)
    assert counts.shape == (4000, 5, 200)
    assert counts.dtype == np.float32
    np.testing.assert_allclose(counts.mean(axis=(0, 1)), mean.mean(axis=0), rtol=0.15)
    ratio = counts.var(axis=0) / (mean + mean**2 / 2)
    assert np.median(ratio) == pytest.approx(1, abs=0.02)
    equal = poisson_draws(overdispersed.rates, 4000, 0)(cells)
    assert np.median(equal.var(axis=0) / mean) == pytest.approx(1, abs=0.02)
