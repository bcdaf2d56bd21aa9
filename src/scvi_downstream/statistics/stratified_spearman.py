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
        shifts, squares = sparse_ranks(expression[inside])
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
    reach = stats.norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / np.maximum(left - 2, 1))
    middle = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
    return {
        str(name): pd.DataFrame(
            {
                "rho": rho[:, i],
                "ci_lower": np.tanh(middle - reach)[:, i],
                "ci_upper": np.tanh(middle + reach)[:, i],
                "statistic": z[:, i],
                "p": 2 * stats.norm.sf(np.abs(z[:, i])),
            }
        )
        for i, name in enumerate(covariates.columns)
    }


def sparse_ranks(matrix: sparse.csr_matrix) -> tuple[sparse.csc_matrix, np.ndarray]:
    """Ranks of each column, ties averaged, without writing the zeros.

    Parameters
    ----------
    matrix
        ``(n_cells, n_genes)``, nothing below zero.

    Returns
    -------
    How far each entry's rank lies above that of the column's zeros (``n_cells`` × ``n_genes``), and the sum of
    squares of all ranks of each column about their mean.
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
    columns.data = ranks - zero_rank[of_entry]
    return columns, squares - n_cells * ((n_cells + 1) / 2) ** 2
