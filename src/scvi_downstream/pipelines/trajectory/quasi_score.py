"""Tests of nested negative-binomial regressions that hold for sparse genes: quasi-score tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from scvi_downstream.statistics.moderated import LinearFit, moderate

from .negative_binomial import SMALLEST_DISPERSION, CountFit, fit_counts, fitted_means

GENES_PER_BIN = 50
MOST_BINS = 20


@dataclass(frozen=True, eq=False)
class NestedFit:
    """A model, and the test of those of its columns that a smaller model leaves out.

    Attributes
    ----------
    full
        Fit of all columns.
    dispersion
        ``(n_genes,)`` of the negative binomial: the trend over means.
    quasi_dispersion
        ``(n_genes,)`` factor of the variance that is the gene's own, moderated.
    df
        Degrees of freedom of ``quasi_dispersion``.
    statistic, p
        ``(n_genes,)`` quasi-score χ² and its p-value.
    n_tested
        Degrees of freedom of the statistic.
    """

    full: CountFit
    dispersion: np.ndarray
    quasi_dispersion: np.ndarray
    df: float
    statistic: np.ndarray
    p: np.ndarray
    n_tested: int


def fit_nested(
    counts: sparse.csc_matrix, design: np.ndarray, n_kept: int, offset: np.ndarray, weights: np.ndarray
) -> NestedFit:
    r"""Fit a design, and test whether its last columns matter.

    The variance of a count is :math:`\phi_g (\mu + \alpha \mu^2)`: :math:`\alpha` follows the mean over genes,
    :math:`\phi_g` is the gene's own. The test is Rao's, with :math:`\phi_g` from the residuals of the smaller model:
    likelihood-ratio and Wald tests call sparse genes far too often, as a curve that bends round a few cells leaves
    too small residuals. Intervals take :math:`\phi_g` of the full model, drawn towards that of genes of alike means.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)`` raw counts, each gene with at least one.
    design
        ``(n_cells, n_coefficients)`` of full rank, ones first.
    n_kept
        Columns that the smaller model keeps: the first ones.
    offset
        ``(n_cells,)`` natural logarithm of what counts are relative to.
    weights
        ``(n_cells,)`` in (0, 1]: how much of a cell counts.

    References
    ----------
    Rao (1948), doi:10.1017/S0305004100023987; quasi-likelihood of counts: Lund et al. (2012),
    doi:10.1515/1544-6115.1826; moderation: Smyth (2004), doi:10.2202/1544-6115.1027.
    """
    from scipy import stats

    own = _moment_dispersion(counts, design, offset, weights)
    log_mean = np.log(np.asarray(counts.T @ weights).ravel() / weights.sum())
    dispersion = _trend(own, log_mean)
    full = fit_counts(counts, design, offset, weights, dispersion)
    small = fit_counts(counts, design[:, :n_kept], offset, weights, dispersion)
    df = max(round(weights.sum()) - design.shape[1], 1)
    nothing = np.empty((0, 0))
    phi = _quasi_dispersion(counts, design, offset, weights, dispersion, full) * weights.sum() / df
    variances = moderate(LinearFit(nothing, nothing, phi, df), trend=log_mean)
    statistic = _score_statistic(counts, design, n_kept, offset, weights, dispersion, small)
    n_tested = design.shape[1] - n_kept
    p = stats.chi2.sf(statistic, n_tested)
    return NestedFit(full, dispersion, variances.values, variances.df, statistic, p, n_tested)


def _quasi_dispersion(
    counts: sparse.csc_matrix,
    design: np.ndarray,
    offset: np.ndarray,
    weights: np.ndarray,
    dispersion: np.ndarray,
    fit: CountFit,
) -> np.ndarray:
    """How much larger squared residuals are than expected, a cell counting by its information.

    Pearson's statistic would let one count where next to none is expected decide.
    """
    phi = np.empty(counts.shape[1])
    for genes, y, mu in fitted_means(counts, design, offset, fit.coefficients):
        shrink = 1 / (1 + dispersion[genes] * mu)
        phi[genes] = (weights @ ((y - mu) * shrink) ** 2) / (weights @ (mu * shrink))
    return phi


def _score_statistic(
    counts: sparse.csc_matrix,
    design: np.ndarray,
    n_kept: int,
    offset: np.ndarray,
    weights: np.ndarray,
    dispersion: np.ndarray,
    small: CountFit,
) -> np.ndarray:
    """Rao's statistic of the columns that the small model leaves out, ``(n_genes,)``."""
    n_coefficients = design.shape[1]
    rows, columns = np.triu_indices(n_coefficients)
    products = np.ascontiguousarray((design[:, rows] * design[:, columns]).T)

    def square(by_pair: np.ndarray) -> np.ndarray:
        matrices = np.empty((by_pair.shape[1], n_coefficients, n_coefficients))
        matrices[:, rows, columns] = matrices[:, columns, rows] = by_pair.T
        return matrices

    statistic = np.empty(counts.shape[1])
    squared = weights[:, None] ** 2
    for genes, y, mu in fitted_means(counts, design[:, :n_kept], offset, small.coefficients):
        shrink = 1 / (1 + dispersion[genes] * mu)
        residuals = (y - mu) * shrink
        phi = (squared * residuals**2).sum(axis=0) / (squared * mu * shrink).sum(axis=0)
        information = square(products @ (weights[:, None] * mu * shrink))
        variance = square(products @ (squared * mu * shrink))
        kept, tested = slice(None, n_kept), slice(n_kept, None)
        explained = np.linalg.solve(information[:, kept, kept], information[:, kept, tested])
        left = np.concatenate([-explained.transpose(0, 2, 1), _identities(explained)], axis=2)
        score = np.einsum("gij,jg->gi", left, design.T @ (weights[:, None] * residuals))
        spread = left @ variance @ left.transpose(0, 2, 1)
        solved = np.linalg.solve(spread, score[..., None])[..., 0]
        statistic[genes] = np.einsum("gi,gi->g", score, solved) / phi
    return statistic


def _identities(explained: np.ndarray) -> np.ndarray:
    n_genes, _, n_tested = explained.shape
    return np.broadcast_to(np.eye(n_tested), (n_genes, n_tested, n_tested))


def _moment_dispersion(
    counts: sparse.csc_matrix, design: np.ndarray, offset: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Each gene's own dispersion by moments about its Poisson fit; below 0 where counts vary less than Poisson's."""
    n_genes = counts.shape[1]
    poisson = fit_counts(counts, design, offset, weights, np.full(n_genes, SMALLEST_DISPERSION))
    total = weights.sum()
    lost = total / max(total - design.shape[1], 1)
    dispersion = np.empty(n_genes)
    for genes, y, mu in fitted_means(counts, design, offset, poisson.coefficients):
        dispersion[genes] = (lost * (weights @ (y - mu) ** 2) - weights @ mu) / (weights @ mu**2)
    return dispersion


def _trend(dispersion: np.ndarray, log_mean: np.ndarray) -> np.ndarray:
    """Median dispersion of genes of alike means, with straight lines between."""
    n_bins = int(np.clip(len(dispersion) // GENES_PER_BIN, 1, MOST_BINS))
    bins = np.array_split(np.argsort(log_mean, kind="stable"), n_bins)
    middles = [float(np.median(log_mean[each])) for each in bins]
    medians = [float(np.median(dispersion[each])) for each in bins]
    return np.maximum(np.interp(log_mean, middles, medians), SMALLEST_DISPERSION)
