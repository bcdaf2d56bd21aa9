from __future__ import annotations

import numpy as np
from scipy import stats

from scvi_downstream.statistics.testing import benjamini_hochberg, conformal_p, storey_q


def test_equal_to_statsmodels_on_what_was_tested() -> None:
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(0).uniform(size=(20, 3)) ** 2
    p[4, 1] = np.nan
    adjusted = benjamini_hochberg(p)
    tested = np.isfinite(p)
    assert np.isnan(adjusted[4, 1])
    np.testing.assert_allclose(adjusted[tested], multipletests(p[tested], method="fdr_bh")[1])


def test_nothing_tested_gives_nothing() -> None:
    assert np.isnan(benjamini_hochberg(np.array([np.nan]))).all()
    assert benjamini_hochberg(np.array([])).shape == (0,)


def test_conformal_p_is_uniform_for_exchangeable_scores() -> None:
    rng = np.random.default_rng(0)
    p = np.concatenate([conformal_p(scores[:99], scores[99:]) for scores in rng.normal(size=(500, 100))])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert p.min() >= 0.01
    np.testing.assert_allclose(
        conformal_p(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 9.0])), [1, 0.75, 0.25]
    )


def test_q_values_use_the_share_of_effects_and_hold_the_rate() -> None:
    rng = np.random.default_rng(0)
    false, called, by_p = 0, 0, 0
    for _ in range(20):
        changes = np.arange(1000) < 400
        p = 2 * stats.norm.sf(np.abs(rng.normal(3.0 * changes, 1)))
        q = storey_q(p)
        false, called = false + (q[~changes] <= 0.1).sum(), called + (q <= 0.1).sum()
        by_p += (benjamini_hochberg(p) <= 0.1).sum()
    assert called > 1.03 * by_p
    assert false / called < 0.1 + 3 * np.sqrt(0.1 * 0.9 / called)


def test_q_values_of_noise_are_adjusted_p_values_or_nearly() -> None:
    p = np.random.default_rng(1).uniform(size=500)
    ratio = storey_q(p) / benjamini_hochberg(p)
    assert 0.85 < ratio[0] <= 1
    np.testing.assert_allclose(ratio, ratio[0])
    assert np.isnan(storey_q(np.array([np.nan, 0.01]))).tolist() == [True, False]
    assert np.isnan(storey_q(np.full(2, np.nan))).all()
