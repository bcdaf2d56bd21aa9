from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scvi_downstream.pipelines.trajectory.count_regression import (
    Observations,
    fit_counts,
    fit_nested,
    natural_spline,
    weighted_quantile,
)

from .conftest import N_TREND_CELLS as N_CELLS


def test_fits_are_those_of_statsmodels(moving: tuple[np.ndarray, ...]) -> None:
    from statsmodels.genmod import families
    from statsmodels.genmod.generalized_linear_model import GLM

    pseudotime, _, counts, library = moving
    weights = np.random.default_rng(0).uniform(0.3, 1, N_CELLS)
    design = np.column_stack([np.ones(N_CELLS), natural_spline(pseudotime, 5, weights).columns(pseudotime)])
    offset, some = np.log(library / 1e4), sparse.csc_matrix(counts[:, :8])
    for alpha in (1e-4, 0.3, 1.5):
        fit = fit_counts(Observations(some, design, offset, weights), np.full(8, alpha))
        assert fit.converged.all()
        for gene in range(8):
            family = families.NegativeBinomial(alpha=alpha)
            other = GLM(counts[:, gene], design, family, offset=offset, freq_weights=weights).fit(tol=1e-12)
            np.testing.assert_allclose(design @ fit.coefficients[:, gene], design @ other.params, atol=0.01)
            np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance[gene])), other.bse, rtol=0.02)
            flat = GLM(counts[:, gene], design[:, :1], family, offset=offset, freq_weights=weights).fit()
            flat_design = Observations(some[:, [gene]], design[:, :1], offset, weights)
            single = fit_counts(flat_design, np.full(1, alpha))
            ratio = single.deviance[0] - fit.deviance[gene]
            assert ratio == pytest.approx(flat.deviance - other.deviance, rel=1e-3, abs=1e-3)


def test_the_statistic_is_the_score_test_of_statsmodels(moving: tuple[np.ndarray, ...]) -> None:
    """Up to the quasi-dispersion, which is the mean squared residual of the smaller model."""
    from statsmodels.genmod import families
    from statsmodels.genmod.generalized_linear_model import GLM

    pseudotime, _, counts, library = moving
    covariate = np.random.default_rng(5).normal(size=N_CELLS)
    spline = natural_spline(pseudotime, 4).columns(pseudotime)
    design = np.column_stack([np.ones(N_CELLS), covariate, spline])
    offset, ones = np.log(library / 1e4), np.ones(N_CELLS)
    fit = fit_nested(Observations(sparse.csc_matrix(counts), design, offset, ones), 2)
    for gene in (0, 10, 30, 59):
        family = families.NegativeBinomial(alpha=fit.dispersion[gene])
        small = GLM(counts[:, gene], design[:, :2], family, offset=offset).fit(tol=1e-12)
        model = GLM(counts[:, gene], design[:, :2], family, offset=offset)
        model.scaletype = 1.0
        model.fit(tol=1e-12)
        statistic, *_ = model.score_test(small.params, exog_extra=spline, observed=False)
        mu, alpha = small.fittedvalues, fit.dispersion[gene]
        phi = (((counts[:, gene] - mu) / (1 + alpha * mu)) ** 2).sum() / (mu / (1 + alpha * mu)).sum()
        assert fit.statistic[gene] * phi == pytest.approx(float(np.squeeze(statistic)), rel=0.01)


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 7), st.integers(0, 1000))
def test_splines_are_natural_and_standardised(n_knots: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, weights = random.gamma(2, 3, 80), random.uniform(0.1, 1, 80)
    spline = natural_spline(x, n_knots, weights)
    columns = spline.columns(x)
    assert columns.shape == (80, n_knots - 1)
    moments = (columns * weights[:, None]).T @ columns / weights.sum()
    np.testing.assert_allclose(moments, np.eye(n_knots - 1), atol=1e-8)
    np.testing.assert_allclose(weights @ columns / weights.sum(), 0, atol=1e-8)
    beyond = spline.columns(spline.knots[-1] + np.array([0.0, 1.0, 2.0, 3.0]))
    np.testing.assert_allclose(np.diff(beyond, 2, axis=0), 0, atol=1e-6)
    inside = np.linspace(spline.knots[0], spline.knots[-1], 40)
    target = np.column_stack([np.ones(40), inside])
    basis = np.column_stack([np.ones(40), spline.columns(inside)])
    np.testing.assert_allclose(basis @ np.linalg.lstsq(basis, target, rcond=None)[0], target, atol=1e-6)


def test_splines_span_those_of_scipy() -> None:
    """Any natural cubic spline through its knots is in the span."""
    from scipy.interpolate import CubicSpline

    x = np.random.default_rng(0).random(200)
    spline = natural_spline(x, 6)
    places = np.linspace(spline.knots[0], spline.knots[-1], 100)
    target = CubicSpline(spline.knots, [0.0, 2.0, -1.0, 3.0, 0.5, 1.0], bc_type="natural")(places)
    basis = np.column_stack([np.ones(100), spline.columns(places)])
    np.testing.assert_allclose(basis @ np.linalg.lstsq(basis, target, rcond=None)[0], target, atol=1e-8)


def test_weighted_quantiles_count_a_cell_by_its_weight() -> None:
    values = np.array([3.0, 1.0, 2.0])
    assert weighted_quantile(values, np.array([0.5]), np.ones(3)) == [2.0]
    heavy = weighted_quantile(values, np.array([0.5]), np.array([100.0, 1.0, 1.0]))
    assert heavy[0] > 2.9
