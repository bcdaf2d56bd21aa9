"""Integration LISI in array operations: the numbers of scib-metrics without compiling."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scvi_downstream.metrics.weighted import ratio

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
    n_batches = int(batches.max()) + 1
    return float((np.median(effective_groups(weights, indices, batches)) - 1) / (n_batches - 1))


def effective_groups(weights: np.ndarray, indices: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Inverse Simpson index of the groups around each cell: ``(n_cells,)``, from 1 to the number of groups.

    Parameters
    ----------
    weights, indices
        ``(n_cells, k)``, of :func:`neighbor_weights` and the neighbours that they belong to.
    groups
        ``(n_cells,)`` codes from 0.
    """
    simpson = np.square(_shares(weights, indices, groups)).sum(axis=1)
    return ratio(np.ones(len(indices)), simpson)


def effective_groups_influence(
    weights: np.ndarray, indices: np.ndarray, groups: np.ndarray
) -> sparse.csr_array:
    """Derivative of each cell's :func:`effective_groups` by how often each neighbour counts.

    The parameters are those of :func:`effective_groups`.

    Returns
    -------
    ``(n_cells, n_cells)``, a row for each cell; rows add to 0.
    """
    shares = _shares(weights, indices, groups)
    simpson = np.square(shares).sum(axis=1, keepdims=True)
    beyond = np.take_along_axis(shares, groups[indices], axis=1) - simpson
    slopes = -2 * weights * beyond * np.square(ratio(np.ones_like(simpson), simpson))
    n_cells, k = indices.shape
    return sparse.csr_array(
        (slopes.ravel(), indices.ravel(), np.arange(0, n_cells * k + 1, k)), shape=(n_cells, n_cells)
    )


def _shares(weights: np.ndarray, indices: np.ndarray, groups: np.ndarray) -> np.ndarray:
    n_cells, n_groups = len(indices), int(groups.max()) + 1
    places = np.arange(n_cells)[:, None] * n_groups + groups[indices]
    shares = np.bincount(places.ravel(), weights=weights.ravel(), minlength=n_cells * n_groups)
    return shares.reshape(n_cells, n_groups)


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
