"""Counts without latent states: Poisson and negative binomial, with the library size and the batch given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from .model_draws import Draw

MOST_CELLS = 5000
_LOG_DISPERSION = (np.log(1e-3), np.log(1e4))
_STEPS = 16
_ENTRIES_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class Rates:
    """Expected counts, the cell's library size times the gene's share of its batch.

    Attributes
    ----------
    shares
        ``(n_batches, n_genes)``.
    library
        ``(n_cells,)`` counts of all cells.
    batch
        ``(n_cells,)`` codes of all cells.
    """

    shares: np.ndarray
    library: np.ndarray
    batch: np.ndarray

    def of(self, cells: np.ndarray) -> np.ndarray:
        """``(len(cells), n_genes)``."""
        return self.library[cells, None] * self.shares[self.batch[cells]]


def fit_rates(counts: sparse.csr_matrix, batch: np.ndarray, fitted: np.ndarray) -> Rates:
    """Maximum-likelihood shares of each gene in each batch; one cell's worth of the other batches is added to each.

    A gene without a count is given half a count in all training cells: what is impossible cannot be compared.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)`` of all cells.
    batch
        ``(n_cells,)`` codes.
    fitted
        Positions of the training cells.
    """
    library = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    own = counts[fitted]
    total = np.maximum(np.asarray(own.sum(axis=0), dtype=np.float64).ravel(), 0.5)
    share = total / library[fitted].sum()
    n_batches = int(batch.max()) + 1
    groups = sparse.csr_matrix(
        (np.ones(len(fitted)), (batch[fitted], np.arange(len(fitted)))), shape=(n_batches, len(fitted))
    )
    sums = np.asarray((groups @ own.astype(np.float64)).todense())
    exposure = groups @ library[fitted]
    if n_batches == 1:
        return Rates(share[None], library, batch)
    prior = np.median(library[fitted])
    return Rates((sums + prior * share) / (exposure + prior)[:, None], library, batch)


def fit_dispersions(counts: sparse.csr_matrix, rates: Rates, fitted: np.ndarray) -> np.ndarray:
    """Maximum-likelihood inverse dispersion θ of each gene, given its rates; the variance is μ + μ² / θ.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)`` of all cells.
    rates
        Of :func:`fit_rates`.
    fitted
        Positions of the cells to fit to.

    Returns
    -------
    ``(n_genes,)`` within 0.001 and 10,000, where a gene is as good as Poisson.
    """
    n_genes = counts.shape[1]
    at_once = max(1, _ENTRIES_AT_ONCE // len(fitted))
    own = counts[fitted].tocsc()
    theta = np.empty(n_genes)
    for start in range(0, n_genes, at_once):
        genes = slice(start, start + at_once)
        expected = rates.library[fitted, None] * rates.shares[:, genes][rates.batch[fitted]]
        theta[genes] = _bisect(own[:, genes].toarray().astype(np.float64), expected)
    return theta


def poisson_draws(rates: Rates, n_samples: int, seed: int) -> Draw:
    """Draws of Poisson counts."""
    rng = np.random.default_rng(seed)

    def draw(cells: np.ndarray) -> np.ndarray:
        expected = rates.of(cells)
        return rng.poisson(expected, size=(n_samples, *expected.shape)).astype(np.float32)

    return draw


def negative_binomial_draws(rates: Rates, theta: np.ndarray, n_samples: int, seed: int) -> Draw:
    """Draws of negative binomial counts, Poisson counts of a rate that is itself gamma-distributed."""
    rng = np.random.default_rng(seed)

    def draw(cells: np.ndarray) -> np.ndarray:
        expected = rates.of(cells)
        noise = rng.standard_gamma(np.broadcast_to(theta, (n_samples, *expected.shape)))
        return rng.poisson(noise * (expected / theta)).astype(np.float32)

    return draw


def _bisect(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Root of the score of log θ, which falls from positive to negative where there is one."""
    low = np.full(counts.shape[1], _LOG_DISPERSION[0])
    high = np.full(counts.shape[1], _LOG_DISPERSION[1])
    rows, columns = np.nonzero(counts)
    positive = counts[rows, columns]
    for _ in range(_STEPS):
        middle = (low + high) / 2
        rising = _score(counts, expected, columns, positive, np.exp(middle)) > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    return np.exp((low + high) / 2)


def _score(
    counts: np.ndarray,
    expected: np.ndarray,
    columns: np.ndarray,
    positive: np.ndarray,
    theta: np.ndarray,
) -> np.ndarray:
    """Derivative of the log-likelihood by θ; digamma terms vanish where the count is zero."""
    from scipy.special import digamma

    scale = theta + expected
    score = (1 + np.log(theta / scale) - (counts + theta) / scale).sum(axis=0)
    gained = digamma(positive + theta[columns]) - digamma(theta)[columns]
    return score + np.bincount(columns, gained, minlength=len(theta))
