"""The expected share of false calls is the mean of the posterior error probabilities that are called."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.statistics.bayesian_expression import expected_fdr


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_it_is_the_mean_error_of_all_at_least_as_probable(values: list[float]) -> None:
    probability = np.array(values)
    expected = [np.mean(1 - probability[probability >= p]) for p in probability]
    np.testing.assert_allclose(expected_fdr(probability), expected, atol=1e-12)


def test_it_holds_on_calibrated_calls() -> None:
    """Differences that are real as often as their probability says: the share of false calls is as expected."""
    rng = np.random.default_rng(0)
    probability = rng.beta(0.5, 0.5, size=20_000)
    real = rng.random(20_000) < probability
    called = expected_fdr(probability) <= 0.1
    assert abs((~real[called]).mean() - 0.1) < 0.01
