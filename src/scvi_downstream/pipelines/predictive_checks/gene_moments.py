"""Mean, zeros and spread of every gene: as observed, in every set of draws, and how far draws scatter."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

MEASURES = ("mean", "zeros", "spread")
"""Mean count; share of zeros; mean squared deviation of log(1 + count) from its mean in training cells."""


@dataclass(eq=False)
class GeneMoments:
    """Sums over cells, added up block by block.

    Cells are independent of each other given the model, so that the cumulants of a sum over cells are the sums of
    the cells' cumulants, and each of these is known from all draws of the cell: far better than from the sums of
    the few sets of draws.

    Attributes
    ----------
    center
        ``(n_genes,)`` mean of log(1 + count) in training cells.
    sums, squares, zeros
        ``(1 + n_samples, n_genes)``; the first row is what was observed, the others one set of draws each.
    observed, mean, variance, third
        ``(3, n_genes)`` of :data:`MEASURES`: observed sum, and the first three cumulants of the generated one.
    n_cells
        Added so far.
    """

    center: np.ndarray
    n_samples: int
    n_cells: int = 0
    sums: np.ndarray = field(init=False)
    squares: np.ndarray = field(init=False)
    zeros: np.ndarray = field(init=False)
    observed: np.ndarray = field(init=False)
    mean: np.ndarray = field(init=False)
    variance: np.ndarray = field(init=False)
    third: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        n_genes = len(self.center)
        self.sums, self.squares, self.zeros = np.zeros((3, 1 + self.n_samples, n_genes))
        self.observed, self.mean, self.variance, self.third = np.zeros((4, len(MEASURES), n_genes))

    def add(self, counts: np.ndarray, logs: np.ndarray) -> None:
        """Add a block of cells.

        Parameters
        ----------
        counts, logs
            ``(1 + n_samples, n_cells, n_genes)`` counts and log(1 + count), the observed ones first.
        """
        zero = counts == 0
        self.n_cells += counts.shape[1]
        self.sums += counts.sum(axis=1)
        self.squares += np.einsum("scg,scg->sg", counts, counts)
        self.zeros += zero.sum(axis=1)
        deviations = logs - self.center.astype(np.float32)
        np.square(deviations, out=deviations)
        for row, values in enumerate((counts, zero.astype(np.float32), deviations)):
            self.observed[row] += values[0].sum(axis=0)
            mean, variance, third = _cumulants(values[1:])
            self.mean[row] += mean.sum(axis=0, dtype=np.float64)
            self.variance[row] += variance.sum(axis=0, dtype=np.float64)
            self.third[row] += third.sum(axis=0, dtype=np.float64)


def _cumulants(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unbiased first three cumulants over draws (k-statistics), each ``(n_cells, n_genes)``."""
    n = len(draws)
    mean = draws.mean(axis=0)
    deviations = draws - mean
    powers = deviations * deviations
    second = powers.mean(axis=0) * (n / (n - 1))
    powers *= deviations
    return mean, second, powers.mean(axis=0) * (n * n / ((n - 1) * (n - 2)))
