"""The posterior of effects: calibrated on planted ones, silent on noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_downstream.statistics.bayesian_expression import expected_fdr
from scvi_downstream.statistics.shrinkage import shrink

LEAST, N = 0.25, 1000


def _planted(rng, share, width, least=0.0):
    truth = rng.normal(0, 0.05, N)
    changed = rng.random(N) < share
    truth[changed] = rng.choice([-1, 1], changed.sum()) * (
        least + np.abs(rng.normal(0, width, changed.sum()))
    )
    errors = rng.lognormal(-1.5, 0.6, N)
    return truth, truth + rng.normal(0, errors), errors


@pytest.mark.parametrize(
    ("share", "width", "least"), [(0.1, 1.0, 0.0), (0.5, 0.5, 0.0), (0.1, 0.3, 0.8), (0.02, 2.0, 0.0)]
)
def test_calls_hold_the_expected_fdr_and_intervals_their_mass(share, width, least):
    false, called, covered = 0, 0, []
    for seed in range(12):
        truth, effects, errors = _planted(np.random.default_rng(seed), share, width, least)
        found = shrink(effects, errors, LEAST, 0.95)
        is_called = expected_fdr(found.probability) <= 0.05
        right = (np.abs(truth) > LEAST) & (np.sign(truth) == np.sign(found.mean))
        false, called = false + (is_called & ~right).sum(), called + is_called.sum()
        covered.append(((found.lower <= truth) & (truth <= found.upper)).mean())
    assert called > 50
    assert false / called < 0.05 + 3 * np.sqrt(0.05 * 0.95 / called)
    assert 0.93 < np.mean(covered) < 0.99


def test_noise_is_not_called():
    rng = np.random.default_rng(0)
    any_called = 0
    for _ in range(40):
        errors = rng.lognormal(-1, 0.6, N)
        found = shrink(rng.normal(0, errors), errors, LEAST, 0.95)
        any_called += (expected_fdr(found.probability) <= 0.05).any()
    assert any_called <= 8  # 40 sets at 5 %: more than 8 in one of 5000 series


@given(st.lists(st.tuples(st.floats(-8, 8), st.floats(0.01, 3)), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_posteriors_are_ordered_finite_and_mirror_images(pairs):
    effects, errors = np.array(pairs).T
    found, mirrored = shrink(effects, errors, LEAST, 0.95), shrink(-effects, errors, LEAST, 0.95)
    assert ((found.lower <= found.mean + 1e-2) & (found.mean <= found.upper + 1e-2)).all()
    assert ((found.probability >= 0) & (found.probability <= 1)).all()
    np.testing.assert_allclose(found.mean, -mirrored.mean, atol=1e-9)
    np.testing.assert_allclose(found.probability, mirrored.probability, atol=1e-9)


def test_what_was_not_measured_is_not_known():
    found = shrink(np.array([1.0, np.nan, 2.0]), np.array([0.1, 0.1, np.nan]), LEAST, 0.95)
    np.testing.assert_array_equal(np.isnan(found.probability), [False, True, True])
    assert np.isnan(shrink(np.full(2, np.nan), np.ones(2), LEAST, 0.95).mean).all()
