"""Negative-binomial regression of all genes at once on one design."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from scvi_downstream.progress import Progress

BLOCK_VALUES = 2**22
MAX_ITERATIONS = 50
TOLERANCE = 1e-9
HALVINGS = 12
LARGEST_LOG_MEAN = 30.0
PRIOR_PRECISION = 0.01
"""Of every coefficient but the first: a standard deviation of 10 on the log scale keeps genes that are absent from a
stretch of pseudotime finite, and moves no other."""
SMALLEST_DISPERSION = 1e-4


@dataclass(frozen=True, eq=False)
class CountFit:
    """Regressions of ``n_genes`` on ``n_coefficients``.

    Attributes
    ----------
    coefficients
        ``(n_coefficients, n_genes)`` natural logarithm.
    covariance
        ``(n_genes, n_coefficients, n_coefficients)`` inverse information, for a quasi-dispersion of 1.
    deviance
        ``(n_genes,)`` -2 log-likelihood up to a constant of the gene.
    converged
        ``(n_genes,)``.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    deviance: np.ndarray
    converged: np.ndarray


def fit_counts(
    counts: sparse.csc_matrix,
    design: np.ndarray,
    offset: np.ndarray,
    weights: np.ndarray,
    dispersion: np.ndarray,
) -> CountFit:
    """Weighted maximum likelihood with a log link and given dispersions, by Fisher scoring.

    Parameters
    ----------
    counts, design, offset, weights
        ``(n_cells, n_genes)`` raw counts, ``(n_cells, n_coefficients)`` with ones first, ``(n_cells,)`` natural
        logarithm of what counts are relative to, and ``(n_cells,)`` in (0, 1].
    dispersion
        ``(n_genes,)``, at least 0.0001; as good as Poisson there.
    """
    n_cells, n_genes = counts.shape
    size = max(1, BLOCK_VALUES // n_cells)
    progress = Progress("negative-binomial regressions", n_genes)
    parts = []
    for start in range(0, n_genes, size):
        block = counts[:, start : start + size].toarray().astype(np.float64)
        parts.append(_Block(block, design, offset, weights, dispersion[start : start + size]).fit())
        progress.advance(block.shape[1])
    coefficients, covariance, deviance, converged = zip(*parts, strict=True)
    return CountFit(
        np.concatenate(coefficients, axis=1),
        np.concatenate(covariance),
        np.concatenate(deviance),
        np.concatenate(converged),
    )


def fitted_means(
    counts: sparse.csc_matrix, design: np.ndarray, offset: np.ndarray, coefficients: np.ndarray
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Counts and fitted means of some genes at a time, cells × genes."""
    n_cells, n_genes = counts.shape
    size = max(1, BLOCK_VALUES // n_cells)
    for start in range(0, n_genes, size):
        genes = slice(start, start + size)
        log_mean = offset[:, None] + design @ coefficients[:, genes]
        yield genes, counts[:, genes].toarray(), np.exp(np.minimum(log_mean, LARGEST_LOG_MEAN))


class _Block:
    """Genes that are fitted together; all matrices are cells × genes."""

    def __init__(
        self, y: np.ndarray, design: np.ndarray, offset: np.ndarray, weights: np.ndarray, alpha: np.ndarray
    ) -> None:
        self.y, self.design, self.offset, self.weights, self.alpha = (
            y,
            design,
            offset,
            weights[:, None],
            alpha,
        )
        n_coefficients = design.shape[1]
        self.rows, self.columns = np.triu_indices(n_coefficients)
        self.products = np.ascontiguousarray((design[:, self.rows] * design[:, self.columns]).T)
        self.prior = np.full(n_coefficients, PRIOR_PRECISION)
        self.prior[0] = 0

    def fit(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        beta = np.zeros((self.design.shape[1], self.y.shape[1]))
        exposure = float((self.weights[:, 0] * np.exp(self.offset)).sum())
        beta[0] = np.log((self.weights * self.y).sum(axis=0) / exposure)
        genes = np.arange(self.y.shape[1])
        y, mu = self.y, self._mean(beta)
        loss = self._loss(y, mu, beta, genes)
        for _ in range(MAX_ITERATIONS):
            score, information = self._derivatives(y, mu, beta[:, genes], genes)
            step = np.linalg.solve(information, score.T[..., None])[..., 0].T
            moved, mu, new = self._descend(y, beta[:, genes], step, loss[genes], genes)
            done = loss[genes] - new <= TOLERANCE * (np.abs(new) + 1)
            beta[:, genes], loss[genes] = moved, np.minimum(new, loss[genes])
            if done.all():
                genes = genes[:0]
                break
            if done.any():
                genes, y, mu = genes[~done], y[:, ~done], mu[:, ~done]
        everything = np.arange(self.y.shape[1])
        mu = self._mean(beta)
        _, information = self._derivatives(self.y, mu, beta, everything)
        deviance = loss - self.prior @ beta**2
        return beta, np.linalg.inv(information), deviance, ~np.isin(everything, genes)

    def _mean(self, beta: np.ndarray) -> np.ndarray:
        return np.exp(np.minimum(self.offset[:, None] + self.design @ beta, LARGEST_LOG_MEAN))

    def _loss(self, y: np.ndarray, mu: np.ndarray, beta: np.ndarray, genes: np.ndarray) -> np.ndarray:
        """-2 log-likelihood, penalised; what does not depend on ``beta`` is left out."""
        alpha = self.alpha[genes]
        terms = y * np.log(np.maximum(mu, 1e-300)) - (y + 1 / alpha) * np.log1p(alpha * mu)
        return -2 * (self.weights[:, 0] @ terms) + self.prior @ beta**2

    def _derivatives(
        self, y: np.ndarray, mu: np.ndarray, beta: np.ndarray, genes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        shared = self.weights / (1 + self.alpha[genes] * mu)
        score = self.design.T @ (shared * (y - mu)) - self.prior[:, None] * beta
        information = np.empty((len(genes), len(self.prior), len(self.prior)))
        upper = (self.products @ (shared * mu)).T
        information[:, self.rows, self.columns] = information[:, self.columns, self.rows] = upper
        return score, information + np.diag(self.prior + 1e-12)

    def _descend(
        self, y: np.ndarray, beta: np.ndarray, step: np.ndarray, loss: np.ndarray, genes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The step, halved for the genes whose loss would rise."""
        moved = beta + step
        mu = self._mean(moved)
        new = self._loss(y, mu, moved, genes)
        for _ in range(HALVINGS):
            worse = np.flatnonzero(~(new <= loss + TOLERANCE * (np.abs(loss) + 1)))
            if not len(worse):
                break
            step[:, worse] /= 2
            moved[:, worse] = beta[:, worse] + step[:, worse]
            mu[:, worse] = self._mean(moved[:, worse])
            new[worse] = self._loss(y[:, worse], mu[:, worse], moved[:, worse], genes[worse])
        return moved, mu, new
