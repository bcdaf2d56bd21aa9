"""Gene–gene correlations of observed and of generated counts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

_SCALE = 1e4


def most_variable_genes(counts: sparse.csr_matrix, n_genes: int) -> np.ndarray:
    """Positions of the genes whose log-normalised counts vary most.

    Parameters
    ----------
    counts
        ``(n_cells, n_all_genes)`` of training cells.
    n_genes
        How many; all where there are fewer.
    """
    total = np.maximum(np.asarray(counts.sum(axis=1), dtype=np.float64).ravel(), 1)
    logs = sparse.csr_matrix(sparse.diags(_SCALE / total) @ counts)
    logs.data = np.log1p(logs.data)
    mean = np.asarray(logs.mean(axis=0)).ravel()
    variance = np.asarray(logs.multiply(logs).mean(axis=0)).ravel() - mean**2
    return np.sort(np.argsort(-variance, kind="stable")[:n_genes])


@dataclass(eq=False)
class Correlations:
    """Cross-products of log-normalised counts of some genes, added up block by block.

    Attributes
    ----------
    genes
        ``(n_genes,)`` positions.
    products, sums
        ``(1 + n_samples, n_genes, n_genes)`` and ``(1 + n_samples, n_genes)``; the first is what was observed.
    n_cells
        Added so far.
    """

    genes: np.ndarray
    n_samples: int
    n_cells: int = 0
    products: np.ndarray = field(init=False)
    sums: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        n_genes = len(self.genes)
        self.products = np.zeros((1 + self.n_samples, n_genes, n_genes))
        self.sums = np.zeros((1 + self.n_samples, n_genes))

    def add(self, counts: np.ndarray, totals: np.ndarray) -> None:
        """Add a block of cells.

        Parameters
        ----------
        counts
            ``(1 + n_samples, n_cells, n_all_genes)``, the observed ones first.
        totals
            ``(1 + n_samples, n_cells)`` counts of all genes of each cell and draw.
        """
        scale = (_SCALE / np.maximum(totals, 1)).astype(np.float32)
        logs = np.log1p(counts[:, :, self.genes] * scale[:, :, None])
        self.n_cells += counts.shape[1]
        self.sums += logs.sum(axis=1)
        self.products += logs.transpose(0, 2, 1) @ logs

    def matrices(self) -> np.ndarray:
        """``(1 + n_samples, n_genes, n_genes)`` correlations; 0 where a gene does not vary."""
        mean = self.sums / self.n_cells
        covariance = self.products / self.n_cells - mean[:, :, None] * mean[:, None, :]
        variance = np.diagonal(covariance, axis1=1, axis2=2)
        varies = variance > 1e-6 * np.maximum(mean**2, 1)
        scale = np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1)), 0)
        return covariance * scale[:, :, None] * scale[:, None, :]

    def pairs(self) -> np.ndarray:
        """``(1 + n_samples, n_pairs)`` correlations above the diagonal, row by row."""
        above = np.triu_indices(len(self.genes), 1)
        return self.matrices()[:, above[0], above[1]]
