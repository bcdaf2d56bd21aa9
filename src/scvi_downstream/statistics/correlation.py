"""Spearman's correlation of many sparse columns with a covariate, within strata."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

CONSTANT = 1e-6
"""Of ranks divided by their number, any that differ have a sum of squares of at least 1/8."""


def stratified_spearman(
    expression: sparse.csr_matrix, covariates: pd.DataFrame, strata: np.ndarray
) -> dict[str, pd.DataFrame]:
    """Rank correlation of each column of ``expression`` with each covariate, differences between strata left out.

    Ranks are taken within each stratum, divided by its size and centred, so that every cell counts the same; a
    stratum in which the gene or the covariate is constant does not count. The p-value is that of the normal
    distribution with the exact variance over all permutations within strata; with one stratum ``rho`` is
    Spearman's and ``statistic`` is ``rho * sqrt(n - 1)``, with two-valued covariates the test is van Elteren's.

    Parameters
    ----------
    expression
        ``(n_cells, n_genes)``, nothing below zero.
    covariates
        ``n_cells`` rows of finite numbers.
    strata
        ``n_cells`` integer codes.

    Returns
    -------
    Covariate → one row a gene: ``rho``, ``ci_lower``, ``ci_upper`` (95 %, Fisher's transform), ``statistic``
    (standard normal), ``p``; NaN where the gene or the covariate does not vary within any stratum.

    References
    ----------
    van Elteren (1960); variance of the confidence interval: Bonett & Wright (2000), doi:10.1007/BF02294183.
    """
    from scipy import stats

    n_genes, n_covariates = expression.shape[1], covariates.shape[1]
    products = np.zeros((n_genes, n_covariates))
    variance = np.zeros((n_genes, n_covariates))
    gene_squares, covariate_squares, left = (np.zeros((n_genes, n_covariates)) for _ in range(3))
    codes, sizes = np.unique(strata, return_counts=True)
    for code, size in zip(codes, sizes, strict=True):
        if size < 2:
            continue
        inside = np.flatnonzero(strata == code)
        ranks = stats.rankdata(covariates.to_numpy(dtype=np.float64)[inside], axis=0)
        centred = (ranks - (size + 1) / 2) / size
        shifts, squares, _ = sparse_ranks(expression[inside])
        squares = squares / size**2
        squares[squares < CONSTANT] = 0
        own = (centred**2).sum(axis=0)
        products += (shifts.T @ centred) / size
        variance += np.outer(squares, own) / (size - 1)
        gene_squares += np.outer(squares, own > 0)
        covariate_squares += np.outer(squares > 0, own)
        left += np.outer(squares > 0, own > 0) * (size - 1)
    scale = np.sqrt(gene_squares * covariate_squares)
    rho = np.divide(products, scale, out=np.full(scale.shape, np.nan), where=scale > 0)
    z = np.divide(products, np.sqrt(variance), out=np.full(scale.shape, np.nan), where=variance > 0)
    low, high = fisher_interval(rho, np.sqrt((1 + rho**2 / 2) / np.maximum(left - 2, 1)))
    return {
        str(name): pd.DataFrame(
            {
                "rho": rho[:, i],
                "ci_lower": low[:, i],
                "ci_upper": high[:, i],
                "statistic": z[:, i],
                "p": 2 * stats.norm.sf(np.abs(z[:, i])),
            }
        )
        for i, name in enumerate(covariates.columns)
    }


def ranks_within(columns: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Ranks of ``(n_cells, n)`` values in each stratum, centred and divided by its size: every cell counts the same.

    ``strata`` are ``(n_cells,)`` codes. With one stratum a correlation of these is Spearman's.
    """
    from scipy.stats import rankdata

    ranks = np.empty(columns.shape)
    sizes = np.unique(strata, return_counts=True)[1]
    for cells in np.split(np.argsort(strata, kind="stable"), np.cumsum(sizes)[:-1]):
        ranks[cells] = (rankdata(columns[cells], axis=0) - (len(cells) + 1) / 2) / len(cells)
    return ranks


def fisher_z(rho: np.ndarray | float) -> np.ndarray:
    """Fisher's transform of correlations, those of ±1 kept finite."""
    return np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))


def fisher_interval(rho: np.ndarray | float, error: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95 % interval of correlations whose Fisher transforms have these standard errors."""
    from scipy import stats

    middle, reach = fisher_z(rho), stats.norm.ppf(0.975) * error
    return np.tanh(middle - reach), np.tanh(middle + reach)


def sparse_ranks(matrix: sparse.spmatrix) -> tuple[sparse.csc_matrix, np.ndarray, np.ndarray]:
    """Ranks of each column, ties averaged, without writing the zeros.

    Parameters
    ----------
    matrix
        ``(n_cells, n_genes)``, nothing below zero.

    Returns
    -------
    How far each entry's rank lies above that of the column's zeros (``n_cells`` × ``n_genes``); the sum of
    squares of all ranks of each column about their mean; the sum of ``t³ - t`` over its ties of ``t`` cells.
    """
    columns = sparse.csc_matrix(matrix, copy=True)
    columns.eliminate_zeros()
    n_cells, n_genes = columns.shape
    stored = np.diff(columns.indptr)
    of_entry = np.repeat(np.arange(n_genes), stored)
    order = np.lexsort((columns.data, of_entry))
    values, sorted_columns = columns.data[order], of_entry[order]
    starts = np.r_[True, (np.diff(values) != 0) | (np.diff(sorted_columns) != 0)][: len(values)]
    tie = np.cumsum(starts) - 1
    position = np.arange(len(values)) - columns.indptr[sorted_columns] + 1
    tie_size = np.bincount(tie) if len(tie) else np.zeros(0)
    average = np.bincount(tie, weights=position) / tie_size if len(tie) else np.zeros(0)
    zeros = n_cells - stored
    ranks = np.empty(len(values))
    ranks[order] = average[tie] + zeros[sorted_columns]
    zero_rank = (zeros + 1) / 2
    squares = np.bincount(of_entry, weights=ranks**2, minlength=n_genes) + zeros * zero_rank**2
    of_tie = sorted_columns[starts]
    tied = np.bincount(of_tie, tie_size.astype(float) ** 3 - tie_size, minlength=n_genes)
    columns.data = ranks - zero_rank[of_entry]
    ties = tied + zeros.astype(float) ** 3 - zeros
    return columns, squares - n_cells * ((n_cells + 1) / 2) ** 2, ties


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
    return rng.multinomial(n_cells, np.full(n_cells, 1 / n_cells), size=n_bootstrap).astype(np.int32)


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
    samples[:, ~np.isfinite(point)] = np.nan
    return point, *percentile_interval(samples, level)


def percentile_interval(samples: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval of each column of ``(n_samples, n_columns)``; NaN where all samples are NaN."""
    ends = np.full((2, samples.shape[1]), np.nan)
    known = np.isfinite(samples).any(axis=0)
    if known.any():
        tail = (1 - level) / 2
        ends[:, known] = np.nanquantile(samples[:, known], [tail, 1 - tail], axis=0)
    return ends[0], ends[1]
