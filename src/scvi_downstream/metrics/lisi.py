"""Integration LISI in array operations: the numbers of scib-metrics without compiling."""

from __future__ import annotations

import numpy as np

_MOST_TRIES = 50
_TOLERANCE = 1e-5


def ilisi(indices: np.ndarray, distances: np.ndarray, batches: np.ndarray) -> float:
    """Median effective number of batches around a cell, as :func:`scib_metrics.ilisi_knn`.

    Parameters
    ----------
    indices, distances
        ``(n_cells, k)`` nearest neighbours, each cell itself included.
    batches
        ``(n_cells,)`` codes from 0; every code occurs.

    Returns
    -------
    0 where each neighbourhood holds one batch, 1 where it holds all in equal parts.

    References
    ----------
    Korsunsky et al. (2019), doi:10.1038/s41592-019-0619-0; Luecken et al. (2022),
    doi:10.1038/s41592-021-01336-8.
    """
    return median_batches(neighbor_weights(indices, distances), indices, batches)


def median_batches(weights: np.ndarray, indices: np.ndarray, batches: np.ndarray) -> float:
    """Score of neighbours whose weights are known; see :func:`ilisi`."""
    n_cells, n_batches = len(indices), int(batches.max()) + 1
    cells = np.arange(n_cells)[:, None] * n_batches + batches[indices]
    shares = np.bincount(cells.ravel(), weights=weights.ravel(), minlength=n_cells * n_batches)
    simpson = np.square(shares.reshape(n_cells, n_batches)).sum(axis=1)
    return float((np.median(1 / simpson) - 1) / (n_batches - 1))


def neighbor_weights(indices: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Gaussian-like weights of the neighbours with a perplexity of a third of their number, the cell's own 0.

    Parameters
    ----------
    indices, distances
        ``(n_cells, k)`` nearest neighbours, each cell itself included.

    Returns
    -------
    ``(n_cells, k)``; rows add to one.

    References
    ----------
    van der Maaten & Hinton (2008), https://jmlr.org/papers/v9/vandermaaten08a.html.
    """
    distances = distances.astype(np.float64)
    others = indices != np.arange(len(indices))[:, None]
    target = np.log(indices.shape[1] // 3)
    precision = np.ones((len(indices), 1))
    low, high = np.full_like(precision, -np.inf), np.full_like(precision, np.inf)
    for _ in range(_MOST_TRIES):
        weights, excess = _weigh(distances, others, precision, target)
        flat = excess > 0
        if (np.abs(excess) < _TOLERANCE).all():
            break
        low, high = np.where(flat, precision, low), np.where(flat, high, precision)
        halved = np.where(np.isinf(low), precision / 2, (low + high) / 2)
        moved = np.where(flat & np.isinf(high), precision * 2, halved)
        precision = np.where(np.abs(excess) < _TOLERANCE, precision, moved)
    return weights


def _weigh(
    distances: np.ndarray, others: np.ndarray, precision: np.ndarray, target: float
) -> tuple[np.ndarray, np.ndarray]:
    kernel = np.where(others, np.exp(-distances * precision), 0)
    total = kernel.sum(axis=1, keepdims=True)
    spread = np.where(total > 0, total, 1)
    weights = kernel / spread
    entropy = np.log(spread) + precision * (distances * weights).sum(axis=1, keepdims=True)
    return weights, entropy - target
