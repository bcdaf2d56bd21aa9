"""Correlations with bootstrap intervals, of many columns at once."""

from __future__ import annotations

import numpy as np


def bootstrap_weights(n_cells: int, n_bootstrap: int, seed: int) -> np.ndarray:
    """How often each cell is drawn in each bootstrap sample: ``(n_bootstrap, n_cells)``, rows sum to ``n_cells``.

    Parameters
    ----------
    n_cells, n_bootstrap
        Cells to draw from, number of samples.
    seed
        Of the draws; the same weights for two methods make their difference a paired one.
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_cells, np.full(n_cells, 1 / n_cells), size=n_bootstrap).astype(np.float32)


def weighted_correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's r of each column of ``x`` with the same column of ``y``, for each row of weights.

    Parameters
    ----------
    x, y
        ``(n_cells, n_columns)``.
    weights
        ``(n_samples, n_cells)``, non-negative.

    Returns
    -------
    ``(n_samples, n_columns)``; NaN where either does not vary.
    """
    total = weights.sum(axis=1, keepdims=True, dtype=np.float64)
    x = np.asarray(x, dtype=np.float64) - np.mean(x, axis=0)
    y = np.asarray(y, dtype=np.float64) - np.mean(y, axis=0)
    weights = weights.astype(np.float64)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    covariance = weights @ (x * y) / total - mean_x * mean_y
    variance_x = weights @ (x * x) / total - mean_x**2
    variance_y = weights @ (y * y) / total - mean_y**2
    tiny_x, tiny_y = 1e-12 * (x * x).mean(axis=0), 1e-12 * (y * y).mean(axis=0)
    varies = (variance_x > tiny_x) & (variance_y > tiny_y)
    spread = np.sqrt(np.where(varies, variance_x * variance_y, 1.0))
    return np.where(varies, covariance / spread, np.nan)


def correlation_with_interval(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pearson's r of each column and its percentile interval over bootstrap samples.

    For Spearman's ρ give ranks; these are then held fixed over the samples, which is accurate for tens of cells on.

    Parameters
    ----------
    x, y
        ``(n_cells, n_columns)``.
    weights
        Of :func:`bootstrap_weights`.
    level
        Of the interval.

    Returns
    -------
    r, lower and upper end, each ``(n_columns,)``; NaN where a column does not vary.

    References
    ----------
    Efron (1979), doi:10.1214/aos/1176344552.
    """
    point = weighted_correlation(x, y, np.ones((1, len(x))))[0]
    samples = weighted_correlation(x, y, weights)
    lower, upper = np.full(point.shape, np.nan), np.full(point.shape, np.nan)
    known = np.isfinite(point) & np.isfinite(samples).any(axis=0)
    if known.any():
        tail = (1 - level) / 2
        lower[known], upper[known] = np.nanquantile(samples[:, known], [tail, 1 - tail], axis=0)
    return point, lower, upper
