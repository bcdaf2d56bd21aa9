"""A cell of an unknown batch: a bound for any weights, exact for the best ones, not lifted by lucky draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from scvi_downstream.pipelines.cross_validation.held_out import batch_weights, log_mean, mixture_bound

BOUNDS = arrays(np.float64, (4, 3), elements=st.floats(-800, -1))


@given(BOUNDS, BOUNDS)
def test_any_weights_give_a_bound_and_the_best_reach_it(bounds: np.ndarray, others: np.ndarray) -> None:
    exact = log_mean(bounds)
    assert (mixture_bound(bounds, batch_weights(others)) <= exact + 1e-9).all()
    np.testing.assert_allclose(mixture_bound(bounds, batch_weights(bounds)), exact, rtol=1e-10)
    np.testing.assert_allclose(batch_weights(others).sum(axis=0), 1)


def test_one_batch_and_equal_batches_change_nothing() -> None:
    bounds = np.array([[-5.0, -7.0]])
    np.testing.assert_allclose(mixture_bound(bounds, batch_weights(bounds)), bounds[0])
    same = np.repeat(bounds, 6, axis=0)
    np.testing.assert_allclose(mixture_bound(same, batch_weights(same)), bounds[0])


def test_a_cell_that_one_batch_explains_pays_for_the_choice() -> None:
    bounds = np.array([[-400.0], [-900.0], [-900.0]])
    assert mixture_bound(bounds, batch_weights(bounds))[0] == pytest.approx(-400 - np.log(3))


def test_noise_of_draws_lifts_a_log_mean_but_not_the_bound() -> None:
    rng = np.random.default_rng(0)
    truth = np.full((8, 20_000), -300.0)
    for_weights, bounds = (truth + rng.normal(0, 3, truth.shape) for _ in range(2))
    assert log_mean(bounds).mean() > -300 + 1
    bound = mixture_bound(bounds, batch_weights(for_weights))
    assert bound.mean() < -300 + 3 * bound.std() / np.sqrt(bound.size)


def test_equals_the_density_of_a_normal_mixture() -> None:
    x, means = np.linspace(-4, 9, 50), np.array([[0.0], [2.0], [5.0]])
    log_p = stats.norm(means, 1).logpdf(x)
    exact = np.log(stats.norm(means, 1).pdf(x).mean(axis=0))
    np.testing.assert_allclose(mixture_bound(log_p, batch_weights(log_p)), exact, rtol=1e-9)
