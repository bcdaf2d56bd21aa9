from __future__ import annotations

import time as clock
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scvi_downstream.pipelines.trajectory.count_regression import (
    fit_counts,
    fit_nested,
    natural_spline,
    weighted_quantile,
)
from scvi_downstream.pipelines.trajectory.gene_trends import fit_lineage, fit_trends, trend_curves
from scvi_downstream.runtime.errors import InputError

N_CELLS = 400
Planted = Any


def _counts(
    log_rates: np.ndarray, dispersion: float, seed: int = 0, size: float = 5000
) -> tuple[np.ndarray, np.ndarray]:
    """Negative-binomial counts and library sizes; rates are per 10,000."""
    random = np.random.default_rng(seed)
    library = random.lognormal(np.log(size), 0.4, len(log_rates))
    mean = np.exp(log_rates) * library[:, None] / 1e4
    noise = random.gamma(1 / dispersion, dispersion, mean.shape)
    return random.poisson(mean * noise), library


@pytest.fixture(scope="module")
def moving() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pseudotime, log rates, counts and library sizes of 60 genes: half of them move."""
    random = np.random.default_rng(1)
    pseudotime = random.beta(1.2, 1.5, N_CELLS)
    base, slope = random.normal(1, 1.2, 60), np.where(np.arange(60) < 30, random.normal(0, 2, 60), 0)
    bump = np.where(np.arange(60) < 30, random.normal(0, 1, 60), 0)
    log_rates = base + slope * (pseudotime[:, None] - 0.5) + bump * np.sin(np.pi * pseudotime[:, None])
    return pseudotime, log_rates, *_counts(log_rates, 0.3, seed=2)


def test_fits_are_those_of_statsmodels(moving: tuple[np.ndarray, ...]) -> None:
    from statsmodels.genmod import families
    from statsmodels.genmod.generalized_linear_model import GLM

    pseudotime, _, counts, library = moving
    weights = np.random.default_rng(0).uniform(0.3, 1, N_CELLS)
    design = np.column_stack([np.ones(N_CELLS), natural_spline(pseudotime, 5, weights).columns(pseudotime)])
    offset = np.log(library / 1e4)
    for alpha in (1e-4, 0.3, 1.5):
        fit = fit_counts(sparse.csc_matrix(counts[:, :8]), design, offset, weights, np.full(8, alpha))
        assert fit.converged.all()
        for gene in range(8):
            family = families.NegativeBinomial(alpha=alpha)
            other = GLM(counts[:, gene], design, family, offset=offset, freq_weights=weights).fit(tol=1e-12)
            np.testing.assert_allclose(design @ fit.coefficients[:, gene], design @ other.params, atol=0.01)
            np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance[gene])), other.bse, rtol=0.02)
            flat = GLM(counts[:, gene], design[:, :1], family, offset=offset, freq_weights=weights).fit()
            single = fit_counts(
                sparse.csc_matrix(counts[:, [gene]]), design[:, :1], offset, weights, np.full(1, alpha)
            )
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
    fit = fit_nested(sparse.csc_matrix(counts), design, 2, offset, ones)
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


def test_curves_and_intervals_hold_the_truth(moving: tuple[np.ndarray, ...]) -> None:
    pseudotime, log_rates, counts, library = moving
    genes = pd.Index([f"g{i}" for i in range(60)])
    trends = fit_lineage(sparse.csr_matrix(counts), genes, pseudotime, np.ones(N_CELLS), library)
    curves = trend_curves({"lineage 1": trends}, n_places=30)
    order = np.argsort(pseudotime)
    truth = np.array(
        [
            np.interp(rows["pseudotime"], pseudotime[order], np.exp(log_rates[order, int(str(gene)[1:])]))
            for gene, rows in curves.groupby("gene", sort=False, observed=True)
        ]
    ).ravel()
    inside = (curves["ci_lower"] <= truth) & (truth <= curves["ci_upper"])
    assert 0.92 < inside.mean() < 0.98
    assert curves["pseudotime"].between(*np.quantile(pseudotime, [0.005, 0.995])).all()
    np.testing.assert_allclose(trends.mean, counts.sum(axis=0) / library.sum() * 1e4)


def test_weights_choose_the_cells_of_a_lineage(moving: tuple[np.ndarray, ...]) -> None:
    """A cell of weight 0, or without pseudotime, is as good as absent; all weights halved move no curve."""
    pseudotime, _, counts, library = moving
    genes = pd.Index([f"g{i}" for i in range(60)])
    matrix = sparse.csr_matrix(counts)
    few = np.arange(N_CELLS) < 200
    alone = fit_lineage(matrix[few], genes, pseudotime[few], np.ones(200), library[few])
    times = pd.DataFrame({"a": np.where(few, pseudotime, np.nan), "b": pseudotime, "c": pseudotime})
    weights = pd.DataFrame({"a": 1.0, "b": np.where(few, 1.0, 0.0), "c": np.where(few, 0.5, 0.0)})
    both = fit_trends(matrix, genes, times, weights, library)
    for name in ("a", "b"):
        np.testing.assert_array_equal(both[name].fit.full.coefficients, alone.fit.full.coefficients)
        np.testing.assert_array_equal(both[name].fit.p, alone.fit.p)
    half = trend_curves({"c": both["c"]})
    whole = trend_curves({"b": both["b"]})
    assert set(half["gene"]) == set(whole["gene"])
    np.testing.assert_allclose(half["mean"], whole["mean"], rtol=0.05)
    widths = [np.log(each["ci_upper"] / each["ci_lower"]).median() for each in (half, whole)]
    assert widths[0] == pytest.approx(widths[1] * np.sqrt(2), rel=0.05)


def test_batches_are_told_apart_from_pseudotime() -> None:
    """A batch that doubles half of the genes, more frequent late, passes for change unless it is known."""
    random = np.random.default_rng(3)
    pseudotime = random.random(600)
    late = random.random(600) < 0.2 + 0.6 * pseudotime
    log_rates = random.normal(1.5, 0.8, 80) + 1.5 * late[:, None] * (np.arange(80) < 40)
    counts, library = _counts(log_rates, 0.2, seed=4)
    genes, ones = pd.Index([f"g{i}" for i in range(80)]), np.ones(600)
    matrix = sparse.csr_matrix(counts)
    blind = fit_lineage(matrix, genes, pseudotime, ones, library)
    aware = fit_lineage(
        matrix, genes, pseudotime, ones, library, batches=pd.Series(np.where(late, "late", "early"))
    )
    assert (blind.fit.p[:40] < 0.05).mean() > 0.8
    assert (aware.fit.p[:40] < 0.05).mean() < 0.2
    assert (aware.fit.p[40:] < 0.05).mean() < 0.2
    assert blind.batch_share is None
    assert aware.batch_share == pytest.approx(np.corrcoef(pseudotime, late)[0, 1] ** 2)


def test_what_cannot_be_fitted_is_said(moving: tuple[np.ndarray, ...]) -> None:
    pseudotime, _, counts, library = moving
    genes, matrix, ones = pd.Index([f"g{i}" for i in range(60)]), sparse.csr_matrix(counts), np.ones(N_CELLS)
    with pytest.raises(InputError, match="'lineage 1' holds 20 cells, too few"):
        fit_lineage(matrix, genes, pseudotime, (np.arange(N_CELLS) < 20).astype(float), library)
    with pytest.raises(InputError, match="pseudotime is the same"):
        fit_lineage(matrix, genes, np.zeros(N_CELLS), ones, library)
    with pytest.raises(InputError, match="no gene is in 10 cells"):
        fit_lineage(matrix * 0, genes, pseudotime, ones, library)
    steps = np.repeat(np.arange(8.0), 50)
    with pytest.raises(InputError, match="cannot be told apart"):
        fit_lineage(matrix, genes, steps, ones, library, batches=pd.Series(steps.astype(str)))
    with pytest.raises(InputError, match="must have the same lineages"):
        fit_trends(matrix, genes, pd.DataFrame({"a": pseudotime}), pd.DataFrame({"b": ones}), library)


def test_genes_absent_from_a_stretch_stay_finite() -> None:
    pseudotime = np.linspace(0, 1, 300)
    random = np.random.default_rng(0)
    counts = np.column_stack(
        [random.poisson(np.where(pseudotime > start, 4, 0)) for start in (0.3, 0.6, 0.9)]
    )
    trends = fit_lineage(
        sparse.csr_matrix(counts), pd.Index(list("abc")), pseudotime, np.ones(300), np.full(300, 1e4)
    )
    curves = trend_curves({"x": trends})
    assert trends.fit.full.converged.all()
    assert np.isfinite(curves[["mean", "ci_lower", "ci_upper"]].to_numpy()).all()
    assert (trends.fit.p < 1e-10).all()
    early = curves[(curves["pseudotime"] < 0.2) & (curves["gene"] == "b")]
    assert (early["mean"] < 0.1).all()


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


@pytest.mark.slow
def test_two_thousand_genes_take_seconds(planted: Callable[..., Planted]) -> None:
    random = np.random.default_rng(0)
    pseudotime = random.random(2000)
    log_rates = random.normal(0, 1.5, 2000) + random.normal(0, 1, 2000) * pseudotime[:, None]
    counts, library = _counts(log_rates, 0.4)
    start = clock.process_time()
    trends = fit_lineage(
        sparse.csr_matrix(counts), pd.Index(range(2000)).astype(str), pseudotime, np.ones(2000), library
    )
    assert clock.process_time() - start < 15
    assert trends.fit.full.converged.mean() > 0.999


@pytest.mark.slow
def test_embryo_time_of_worm_cells(real_data: Path) -> None:
    """Along the measured time of real embryos most genes change, and none along a permuted one."""
    file = real_data / "worm_embryo.h5ad"
    if not file.exists():
        pytest.skip(f"{file.name} is not in {real_data} (set SCVI_DOWNSTREAM_DATA)")
    import anndata

    cells = anndata.read_h5ad(file)
    library = np.asarray(cells.X.sum(axis=1)).ravel()
    chosen = np.argsort(-np.asarray(cells.X.sum(axis=0)).ravel())[:1500]
    matrix, time = cells.X[:, chosen], cells.obs["embryo_time"].to_numpy(float)
    ones, genes = np.ones(len(time)), cells.var_names[chosen]
    real = fit_lineage(matrix, genes, time, ones, library)
    shuffled = np.random.default_rng(0).permutation(time)
    permuted = fit_lineage(matrix, genes, shuffled, ones, library)
    assert (real.fit.p < 1e-3).mean() > 0.5
    assert (permuted.fit.p < 0.05).mean() < 0.1
    assert (permuted.fit.p < 1e-3).mean() < 0.01
