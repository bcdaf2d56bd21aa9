import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scvi_downstream.pipelines.predictive_checks.evidence import quantiles, tail_probabilities


@given(st.floats(-3, 3), st.floats(-4, 6))
def test_tails_are_those_of_scipys_pearson_type_three(skewness: float, z: float) -> None:
    skewness = np.sign(skewness or 1) * max(abs(skewness), 0.05)
    below, above = tail_probabilities(np.array([z]), np.array([skewness]))
    law = stats.pearson3(skewness)
    assert below[0] == pytest.approx(law.cdf(z), rel=1e-6, abs=1e-12)
    assert above[0] == pytest.approx(law.sf(z), rel=1e-6, abs=1e-12)


def test_without_skewness_they_are_normal() -> None:
    z = np.linspace(-4, 4, 9)
    below, above = tail_probabilities(z, np.zeros(9))
    np.testing.assert_allclose(below, stats.norm.cdf(z), rtol=0.03)
    np.testing.assert_allclose(above, stats.norm.sf(z), rtol=0.03)


@pytest.mark.parametrize("probability", [0.025, 0.5, 0.975])
def test_quantiles_undo_the_probabilities(probability: float) -> None:
    skewness = np.array([-2.0, -0.3, 0.0, 0.4, 2.5])
    below, _ = tail_probabilities(quantiles(probability, skewness), skewness)
    np.testing.assert_allclose(below, probability, rtol=1e-6)
