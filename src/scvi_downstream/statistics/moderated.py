"""Linear models of many responses on few samples, with variances that learn from one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

CONFIDENCE = 0.95
_RESPONSES_AT_ONCE = 500
SMALLEST_VARIANCE = 1e-5  # of the median: a response that is constant by chance is not infinitely certain


@dataclass(frozen=True, eq=False)
class LinearFit:
    """Ordinary least squares of ``n_responses`` on one design.

    Attributes
    ----------
    coefficients
        ``(n_coefficients, n_responses)``.
    covariance
        ``(n_coefficients, n_coefficients)``, to be multiplied by a response's variance; with weights one for each
        response, ``(n_responses, n_tested, n_tested)``.
    variances
        ``(n_responses,)`` residual variances; with weights those of an observation of weight 1.
    df
        Residual degrees of freedom.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    variances: np.ndarray
    df: int


@dataclass(frozen=True, eq=False)
class Variances:
    """Variances to test with.

    Attributes
    ----------
    values
        ``(n_responses,)``.
    df
        Degrees of freedom of each of them.
    prior
        ``(n_responses,)`` variances expected before the response is seen; NaN without a prior.
    prior_df
        Degrees of freedom that the prior is worth: 0 without one, ∞ when all variances are alike.
    """

    values: np.ndarray
    df: float
    prior: np.ndarray
    prior_df: float


def fit_linear(responses: np.ndarray, design: np.ndarray) -> LinearFit:
    """Least squares of every response.

    Parameters
    ----------
    responses
        ``(n_samples, n_responses)``.
    design
        ``(n_samples, n_coefficients)`` of full column rank, fewer columns than rows.
    """
    q, r = np.linalg.qr(design)
    inverse = np.linalg.inv(r)
    coefficients = inverse @ (q.T @ responses)
    residuals = responses - design @ coefficients
    df = design.shape[0] - design.shape[1]
    return LinearFit(coefficients, inverse @ inverse.T, (residuals**2).sum(axis=0) / df, df)


def fit_weighted(responses: np.ndarray, design: np.ndarray, weights: np.ndarray, n_tested: int) -> LinearFit:
    """Weighted least squares of every response.

    Parameters
    ----------
    responses, design
        As of :func:`fit_linear`.
    weights
        ``(n_samples, n_responses)``, positive: inverse variances of the observations, up to a factor.
    n_tested
        Coefficients whose covariance is kept, the first ones of the design: with many blocks all of them take
        gigabytes.
    """
    n_responses = responses.shape[1]
    coefficients = np.empty((design.shape[1], n_responses))
    covariance = np.empty((n_responses, n_tested, n_tested))
    for start in range(0, n_responses, _RESPONSES_AT_ONCE):
        part = slice(start, start + _RESPONSES_AT_ONCE)
        weighted = weights[:, part].T[:, :, None] * design
        inverse = np.linalg.inv(design.T @ weighted)
        factors = (inverse, weighted, responses[:, part])
        coefficients[:, part] = np.einsum("rij,rnj,nr->ir", *factors, optimize=True)
        covariance[part] = inverse[:, :n_tested, :n_tested]
    df = design.shape[0] - design.shape[1]
    variances = (weights * (responses - design @ coefficients) ** 2).sum(axis=0) / df
    return LinearFit(coefficients, covariance, variances, df)


def variances_along(fit: LinearFit, covariate: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Variances that the trend of the fit's own, over ``(n_responses,)`` ``covariate``, has ``at`` other values of it.

    Beyond the smallest and largest of the covariate the trend is level.
    """
    observed = np.maximum(fit.variances, SMALLEST_VARIANCE * np.median(fit.variances))
    knots = _knots(covariate)
    if not observed.max() > 0 or len(knots) < 2:
        return np.ones(at.shape)
    trend = np.linalg.lstsq(_spline(covariate, knots), np.log(observed), rcond=None)[0]
    inside = np.clip(at, knots[0], knots[-1]).ravel()
    return np.exp(_spline(inside, knots) @ trend).reshape(at.shape)


def own_variances(fit: LinearFit) -> Variances:
    """Every response's own residual variance: the ordinary t and F tests."""
    return Variances(fit.variances, fit.df, np.full(len(fit.variances), np.nan), 0.0)


def moderate(
    fit: LinearFit, trend: np.ndarray | None = None, n_independent: float | None = None
) -> Variances:
    """Empirical-Bayes variances: each response's own, drawn towards what the others suggest.

    Parameters
    ----------
    fit
        Of at least 3 responses; with fewer there is nothing to learn from, and their own variances return.
    trend
        ``(n_responses,)`` covariate, such as mean expression, along which the prior variance changes smoothly;
        ``None``: one prior variance for all.
    n_independent
        Responses that the data are worth: no variance has more than so many times the residual degrees of
        freedom. ``None``: all of them, as in limma.

    References
    ----------
    Smyth (2004), doi:10.2202/1544-6115.1027; with a trend: Law et al. (2014), doi:10.1186/gb-2014-15-2-r29.
    """
    observed = fit.variances
    if len(observed) < 3 or not np.median(observed) > 0:
        return own_variances(fit)
    floored = np.maximum(observed, SMALLEST_VARIANCE * np.median(observed))
    prior, prior_df = _prior(floored, fit.df, trend)
    values = prior if np.isinf(prior_df) else (prior_df * prior + fit.df * observed) / (prior_df + fit.df)
    pooled = fit.df * max(len(observed) if n_independent is None else n_independent, 1)
    return Variances(values, min(fit.df + prior_df, pooled), prior, prior_df)


def t_tests(fit: LinearFit, variances: Variances, coefficient: int) -> pd.DataFrame:
    """Two-sided tests that one coefficient is zero.

    Returns
    -------
    One row a response: ``effect``, its standard ``error``, ``ci_lower``, ``ci_upper`` (95 %), ``statistic`` (t),
    ``p``; NaN p where the variance is zero.
    """
    from scipy import stats

    effect = fit.coefficients[coefficient]
    error = np.sqrt(variances.values * fit.covariance[..., coefficient, coefficient])
    t = np.divide(effect, error, out=np.full(effect.shape, np.nan), where=error > 0)
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, variances.df) * error
    p = 2 * stats.t.sf(np.abs(t), variances.df)
    table = pd.DataFrame({"effect": effect, "error": error, "ci_lower": effect - reach})
    return table.assign(ci_upper=effect + reach, statistic=t, p=p)


def f_tests(fit: LinearFit, variances: Variances, coefficients: list[int]) -> pd.DataFrame:
    """Tests that several coefficients are all zero.

    Returns
    -------
    One row a response: ``statistic`` (F), ``p``; NaN where the variance is zero.
    """
    from scipy import stats

    effects = fit.coefficients[coefficients]
    inverse = np.linalg.inv(fit.covariance[(..., *np.ix_(coefficients, coefficients))])
    explained = np.einsum("ir,rij,jr->r" if inverse.ndim > 2 else "ir,ij,jr->r", effects, inverse, effects)
    explained /= len(coefficients)
    undefined, positive = np.full(explained.shape, np.nan), variances.values > 0
    f = np.divide(explained, variances.values, out=undefined, where=positive)
    return pd.DataFrame({"statistic": f, "p": stats.f.sf(f, len(coefficients), variances.df)})


def _prior(variances: np.ndarray, df: int, trend: np.ndarray | None) -> tuple[np.ndarray, float]:
    """Prior variances and their degrees of freedom, by the moments of the log-variances."""
    from scipy.special import digamma, polygamma

    log_variances = np.log(variances) - digamma(df / 2) + np.log(df / 2)
    basis = np.ones((len(variances), 1)) if trend is None else _spline(trend, _knots(trend))
    expected = basis @ np.linalg.lstsq(basis, log_variances, rcond=None)[0]
    left = len(variances) - np.linalg.matrix_rank(basis)
    excess = ((log_variances - expected) ** 2).sum() / left - polygamma(1, df / 2)
    if excess > 0:
        half = _inverse_trigamma(excess)
        return np.exp(expected + digamma(half) - np.log(half)), 2 * half
    alike = np.full(len(variances), variances.mean()) if trend is None else np.exp(expected)
    return alike, np.inf


def _inverse_trigamma(value: float) -> float:
    """The ``x`` with ``trigamma(x) = value``, by Newton's steps on ``1 / trigamma``, which is convex."""
    from scipy.special import polygamma

    if value > 1e7:
        return 1 / np.sqrt(value)
    if value < 1e-6:
        return 1 / value
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = polygamma(1, x)
        step = trigamma * (1 - trigamma / value) / polygamma(2, x)
        x += step
        if -step / x < 1e-10:
            break
    return float(x)


def _knots(covariate: np.ndarray) -> np.ndarray:
    """Quantiles, up to 4 of them."""
    n = len(covariate)
    return np.unique(np.quantile(covariate, np.linspace(0, 1, 1 + (n >= 3) + (n >= 6) + (n >= 30))))


def _spline(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Basis of the natural cubic splines with these knots, constant included."""
    constant = np.ones((len(x), 1))
    return constant if len(knots) < 2 else np.hstack([constant, natural_spline_columns(x, knots)])


def natural_spline_columns(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Basis of the natural cubic splines without the constant: ``(n, n_knots - 1)``, linear beyond the outermost knots.

    ``x`` are ``(n,)`` numbers, ``knots`` at least two different ones in ascending order.
    """
    width = np.ptp(knots)
    x, knots = (np.asarray(x, dtype=np.float64) - knots[0]) / width, (knots - knots[0]) / width

    def beyond(knot: float) -> np.ndarray:
        return (np.maximum(x - knot, 0) ** 3 - np.maximum(x - knots[-1], 0) ** 3) / (knots[-1] - knot)

    curved = [beyond(knot) - beyond(knots[-2]) for knot in knots[:-2]]
    return np.column_stack([x, *curved])
