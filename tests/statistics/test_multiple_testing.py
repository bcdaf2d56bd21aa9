from __future__ import annotations

import numpy as np

from scvi_downstream.statistics.testing import benjamini_hochberg


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
