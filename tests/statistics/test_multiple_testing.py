from __future__ import annotations

import numpy as np
from scipy import stats

from scvi_downstream.statistics.testing import benjamini_hochberg, conformal_p


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
